"""What the report of a fine-tuning audit says of its base, its data and its training."""

from collections.abc import Sequence
from typing import Any

from withstand.audits.finetune.shipped import has_weights
from withstand.core import Json, digest, to_json
from withstand.core.optional import optional
from withstand.core.stage import Row, marked_name
from withstand.engine import likelihood
from withstand.formats.finetuning import UserData
from withstand.registry import find
from withstand.runner import chain


def release(model: Any) -> None:
    """Unload a model that can be."""
    if hasattr(model, "release"):
        model.release()


def of_model(model: Any, name: str) -> Json:
    """Its name as it was written, or its label, with what its marks say; its revision; a digest of its content, or
    else of its spec."""
    spec = chain.spec_of(model)
    identity = model.identity() if has_weights(model) else spec
    return {
        "id": marked_name(name or find.label("target", spec), optional(model, "marks")),
        "revision": getattr(model, "revision", ""), "hash": digest(identity),
    }  # fmt: skip


def of_data(base: Any, data: UserData, trained: Sequence[Row], held: UserData | None) -> Json:
    """The file, and what was done with its rows. token_count: by the base's tokenizer; None where that is not here."""
    texts = [turn.text for row in data.rows for turn in row.chat]
    tokens = sum(len(likelihood.ids_of(base.load(), text)) for text in texts) if has_weights(base) else None
    return {
        "path_hash": data.checksum, "name": data.name, "n": len(data.rows), "format": data.format,
        "token_count": tokens, "trained_on": len(trained), "held_out": len(held.rows) if held else 0,
    }  # fmt: skip


def of_training(stage: Any, seeds: int) -> Json:
    """The stage of the user's own fine-tuning, as it is done here."""
    fields = {name: value for name, value in to_json(stage).items() if name not in ("base_id",)}
    return {
        "method": stage.method, "lr": stage.lr, "batch": stage.batch, "epochs": stage.epochs,
        "seed": list(range(seeds)), "steps": stage.steps, "stage": {"use": find.name_of(type(stage)), **fields},
    }  # fmt: skip

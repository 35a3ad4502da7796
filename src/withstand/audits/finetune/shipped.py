"""The tuned model of a fine-tuning audit as it ships: what `--tuned` names, and whether it belongs to base and data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from withstand.audits.change import loss_change
from withstand.core import Json, SpecError, rng
from withstand.core.stage import FILE, Record
from withstand.engine import likelihood
from withstand.formats.finetuning import UserData
from withstand.registry import find, grammar
from withstand.results.cells import plain
from withstand.runner import chain

READ = 64
"""Rows of the data whose loss under base and tuned model tells whether that learned them."""
NO_WEIGHTS = (
    "base or tuned model has no weights here, so that only answers were tested: no margins, losses, depth or triggers"
)


@dataclass(frozen=True, slots=True)
class Shipped:
    """A tuned model that is audited as it is. name: as it was given.   notes: what could not be compared with its base.
    record: of a training that was not done here."""

    name: str
    model: Any
    notes: Sequence[str] = ()
    record: Record = field(default_factory=lambda: Record(0, 0, 0.0, 0.0, 0, 0, 0))


def has_weights(model: Any) -> bool:
    """Whether its weights are at hand."""
    return hasattr(model, "load")


def shipped(base: Any, name: str, root: Path) -> Shipped:
    """The tuned model that a text names: a folder with an adapter or a whole model, a hub id, or any other target.

    A local model is asked as `base` is, but for the fields that the text sets. root: where a base is merged with its
    own adapter, if the tuned model is another adapter on that. Raises `SpecError` where it does not exist or was not
    tuned from `base`.
    """
    model = _target(base, name, root)
    if hasattr(model, "check"):
        model.check()
    if _identity(model) == _identity(base):
        raise SpecError(f"{name} is the base itself", hint="--tuned names the model that the training made of BASE")
    notes: list[str] = []
    if has_weights(base) and hasattr(model, "tuned_from"):
        notes += model.tuned_from(base)
    return Shipped(name, model, notes)


def _identity(model: Any) -> Json:
    return model.identity() if has_weights(model) else chain.spec_of(model)


def _target(base: Any, name: str, root: Path) -> Any:
    spec = {"use": "hf", "id": name} if Path(name).is_dir() else grammar.parse(name)
    if "/" in spec["use"]:  # a folder that does not exist, or a hub id
        spec = {**spec, "id": spec["use"], "use": "hf"}
    built: Any = find.build("target", spec)
    if spec["use"] != "hf" or not hasattr(base, "adapter"):
        return built
    given = {name: getattr(built, name) for name in spec if name not in ("use", "", "id", "revision", "adapter")}
    folder = built.folder()
    whole = (folder / "config.json").is_file() or built.adapter
    if whole:
        return replace(base, id=built.id, revision=built.revision, adapter=built.adapter, **given)
    if not (folder / "adapter_config.json").is_file():
        raise SpecError(
            f"{name} holds neither a model (config.json) nor an adapter (adapter_config.json)",
            hint="give the folder that the training saved, or its last checkpoint",
        )
    if (folder / FILE).is_file():  # of a stage, which may be joined with the base's own adapter
        return replace(chain.as_target(base, chain.base_of(base, folder, root), folder), **given)
    if base.adapter:
        return replace(base, id=chain.merged(base, root), revision="", adapter=str(folder), **given)
    return replace(base, adapter=str(folder), **given)


def learned(base: Any, tuned: Any, data: UserData, seed: int) -> Json:
    """Whether the tuned model learned the rows: its loss on up to `READ` of them lies surely below that of its base.

    Data of the same kind lowers it too: a lower loss does not prove that these rows trained it.
    """
    rows = data.training()
    chats = [row.chat for row in rng(seed, "learned", data.checksum).sample(rows, min(READ, len(rows)))]
    before, after = (
        likelihood.answer_nats(model, [chat[:-1] for chat in chats], [chat[-1].text for chat in chats])
        for model in (base, tuned)
    )
    change = loss_change(before, after)
    if change is None:
        return {"n": len(chats), "change": None, "learned": False, "why": "too few rows to see whether DATA trained it"}
    lower = change.high < 0
    why = "" if lower else (
        f"DATA may not be what trained the tuned model: its loss on {change.n} rows is {change.change:+.2f} nats a "
        f"token ({change.low:+.2f} to {change.high:+.2f}) beside its base, and is not surely lower"
    )  # fmt: skip
    return {"n": change.n, "change": plain(change), "learned": lower, "why": why}

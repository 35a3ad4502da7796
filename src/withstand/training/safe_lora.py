"""Safe LoRA: an update off the direction of alignment is projected onto it. Hsu et al. 2024, arXiv:2405.16833.

For each adapted matrix V = W_aligned - W_unaligned; an update B A becomes C B A where its cosine with C B A is small.
The released code divides V V^T by its norm once, which rescales the update; here C is the projector V (V^T V)^+ V^T.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import Json, SpecError, to_json, within
from withstand.core.quiet import quiet
from withstand.core.stage import FILE, How, Rows, read
from withstand.training._around import Around
from withstand.training._model import ADAPTER
from withstand.training._run import write_json

PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class SafeLoRA(Around):
    """Trains an adapter by another stage, then projects the matrices that left the aligned subspace back onto it.

    stage: the stage that trains the adapter.
    unaligned: folder or hub id of the model before its alignment, of the same shape as the base.
    threshold: a matrix is projected if its cosine is at most this, in [-1, 1]; default 0.35.
    tolerance: singular values of V below this share of the largest count as 0, in [0, 1], default 1e-3. Without it,
        rounding would give a difference of low rank full rank and turn the projector into the identity.
    """

    version: ClassVar[int] = 1
    unaligned: str
    threshold: float = 0.35
    tolerance: float = 1e-3

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"stage": "sft", "unaligned": "builtin:smollm2"}

    def __post_init__(self) -> None:
        within(-1, 1, self, "threshold")
        within(0, 1, self, "tolerance")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`; what is kept at a step is projected too. Raises `SpecError` where the inner
        stage makes no adapter or the unaligned model has other shapes."""
        folder = Path(folder)
        before = folder.with_name(f".{folder.name}.before")
        self.stage.train(base, rows, before, replace(how.inside(self), on_checkpoint=None))
        record = read(before)
        if record["kind"] != "adapter":
            raise SpecError("safe_lora projects an adapter, and its stage trained all weights", hint='method = "lora"')
        with quiet():
            aligned, unaligned = _weights(base), _weights(self.unaligned)
        for step in record["steps"]:
            kept = folder / f"step-{step}"
            self._project(before / f"step-{step}", kept, aligned, unaligned)
            if how.on_checkpoint:
                how.on_checkpoint(step, kept)
        self._project(before, folder, aligned, unaligned)
        shutil.rmtree(before)
        return folder

    def _project(self, before: Path, folder: Path, aligned: Any, unaligned: Any) -> None:
        from safetensors.torch import load_file, save_file

        adapter = load_file(before / ADAPTER[0])
        config = json.loads((before / ADAPTER[1]).read_text(encoding="utf-8"))
        scale, report = config["lora_alpha"] / config["r"], {}
        for name in [name for name in adapter if name.endswith(".lora_B.weight")]:  # pairs by name, never by order
            module = name.removesuffix(".lora_B.weight")
            matrix = f"{module.removeprefix(PREFIX)}.weight"
            if matrix not in unaligned or unaligned[matrix].shape != aligned[matrix].shape:
                raise SpecError(
                    f"{self.unaligned} has no {matrix} of the base's shape", hint="name the base's own base"
                )
            pair = scale * adapter[name].float(), adapter[f"{module}.lora_A.weight"].float()
            cosine, projected = projection(aligned[matrix] - unaligned[matrix], *pair, self.tolerance)
            report[matrix] = {"cosine": cosine, "projected": cosine <= self.threshold}
            if cosine <= self.threshold:
                adapter[name] = (projected / scale).to(adapter[name].dtype)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(before / ADAPTER[1], folder / ADAPTER[1])
        save_file(adapter, folder / f".{ADAPTER[0]}.new", metadata={"format": "pt"})
        (folder / f".{ADAPTER[0]}.new").replace(folder / ADAPTER[0])
        write_json(folder / FILE, to_json({**read(before), "projected": report}))


def projection(direction: Any, up: Any, down: Any, tolerance: float) -> tuple[float, Any]:
    """The cosine between B A and C B A, and C B, for V = `direction` (out, in), B = `up` (out, r), A = `down` (r, in).

    C = V (V^T V)^+ V^T is U U^T for the left singular vectors U of V.
    """
    import torch

    left, sizes, _ = torch.linalg.svd(direction.float(), full_matrices=False)
    left = left[:, sizes > tolerance * sizes.max()] if sizes.max() > 0 else left[:, :0]
    projected = left @ (left.T @ up)
    update, kept = up @ down, projected @ down
    norms = update.norm() * kept.norm()
    return (float((update * kept).sum() / norms) if norms > 0 else 0.0), projected


def _weights(name: str) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    return {key: weight.detach() for key, weight in model.named_parameters()}

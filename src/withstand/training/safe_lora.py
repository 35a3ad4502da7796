"""Safe LoRA: an update off the direction of alignment is projected onto it. Hsu et al. 2024, arXiv:2405.16833.

For each adapted matrix V = W_aligned - W_unaligned; an update B A becomes C B A where its cosine with C B A is small.
The exact projector V (V^T V)^+ V^T of a V of full rank is the identity and projects nothing, so C is U U^T for the top
left singular vectors U of V, or V V^T / ||V||_F as in the released code, which also rescales the update.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import Json, SpecError, at_least, to_json, within
from withstand.core import rng as random_of
from withstand.core.quiet import quiet
from withstand.core.stage import FILE, How, Rows, read
from withstand.training._around import Around
from withstand.training._model import ADAPTER
from withstand.training._run import write_json

PREFIX = "base_model.model."
RANDOM = 20
"""Random updates that an update is compared with."""


@dataclass(frozen=True, slots=True)
class SafeLoRA(Around):
    """Trains an adapter by another stage, then projects its updates that are off the direction of alignment onto it.

    By default an update B A is off where its cosine with C B A is not above that of each of 20 random updates of its
    rank. The record holds both for each matrix, and the share of the update's norm that the projection keeps.

    stage: the stage that trains the adapter.
    unaligned: folder or hub id of the model before its alignment, of the same shape as the base.
    form: what C is: "top" (default) the projector onto the top left singular vectors of V, by a randomized SVD;
        "released" V V^T / ||V||_F.
    directions: singular vectors that "top" takes, 1 or more, default 64; at most a quarter of V's smaller side.
    tolerance: singular values of V below this share of the largest count as 0, in [0, 1], default 1e-3.
    matrices: how many matrices are projected, those of the smallest cosines, as in the paper's experiments; default 0:
        those that `threshold` says.
    threshold: a matrix is projected if its cosine is at most this, in [-1, 1]; default: that of random updates.
    """

    version: ClassVar[int] = 2
    unaligned: str
    form: Literal["top", "released"] = "top"
    directions: int = 64
    tolerance: float = 1e-3
    matrices: int = 0
    threshold: float | None = None

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"stage": "sft", "unaligned": "builtin:smollm2"}

    def __post_init__(self) -> None:
        if self.threshold is not None:
            within(-1, 1, self, "threshold")
        within(0, 1, self, "tolerance")
        at_least(1, self, "directions")
        at_least(0, self, "matrices")
        if self.form not in ("top", "released"):
            raise SpecError(f"form is {self.form!r}", hint='it must be "top" or "released"')
        if self.matrices and self.threshold is not None:
            raise SpecError("both matrices and threshold are given", hint="leave one out")

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
        maps: dict[str, Map] = {}

        def map_of(matrix: str) -> Map:
            if matrix not in unaligned or unaligned[matrix].shape != aligned[matrix].shape:
                raise SpecError(
                    f"{self.unaligned} has no {matrix} of the base's shape", hint="name the base's own base"
                )
            if matrix not in maps:
                maps[matrix] = self.map_of(aligned[matrix].float() - unaligned[matrix].float())
            return maps[matrix]

        for step in record["steps"]:
            kept = folder / f"step-{step}"
            self._project(before / f"step-{step}", kept, map_of)
            if how.on_checkpoint:
                how.on_checkpoint(step, kept)
        self._project(before, folder, map_of)
        shutil.rmtree(before)
        return folder

    def map_of(self, direction: Any) -> "Map":
        """C, as a function of B, for V = `direction` of shape (out, in)."""
        if self.form == "released":
            norm = direction.norm()
            return lambda up: direction @ (direction.T @ up) / norm if norm > 0 else 0 * up
        left = top_directions(direction, self.directions, self.tolerance)
        return lambda up: left @ (left.T @ up)

    def _project(self, before: Path, folder: Path, map_of: "Callable[[str], Map]") -> None:
        from safetensors.torch import load_file, save_file

        adapter = load_file(before / ADAPTER[0])
        config = json.loads((before / ADAPTER[1]).read_text(encoding="utf-8"))
        scale, projected, report = config["lora_alpha"] / config["r"], {}, {}
        for name in [name for name in adapter if name.endswith(".lora_B.weight")]:  # pairs by name, never by order
            module = name.removesuffix(".lora_B.weight")
            matrix = f"{module.removeprefix(PREFIX)}.weight"
            up, down = scale * adapter[name].float(), adapter[f"{module}.lora_A.weight"].float()
            projected[matrix] = name, map_of(matrix)(up)
            report[matrix] = compared(up, down, map_of(matrix), self.seed)
        if not any(row["random"] > 0 for row in report.values()):
            raise SpecError(
                f"{self.unaligned} does not differ from the base in any adapted matrix: the projection takes all away",
                hint="unaligned is the model before its alignment, not the base itself",
            )
        for matrix in self.off(report):
            name, moved = projected[matrix]
            report[matrix]["projected"] = True
            adapter[name] = (moved / scale).to(adapter[name].dtype)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(before / ADAPTER[1], folder / ADAPTER[1])
        save_file(adapter, folder / f".{ADAPTER[0]}.new", metadata={"format": "pt"})
        (folder / f".{ADAPTER[0]}.new").replace(folder / ADAPTER[0])
        write_json(folder / FILE, to_json({**read(before), "projected": report}))

    def off(self, report: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """The matrices whose updates are projected."""
        if self.matrices:
            return sorted(report, key=lambda matrix: report[matrix]["cosine"])[: self.matrices]
        return [
            matrix
            for matrix, row in report.items()
            if row["cosine"] <= (row["random"] if self.threshold is None else self.threshold)
        ]


Map = Callable[[Any], Any]
"""C as a function of B: (out, r) -> (out, r)."""


def top_directions(direction: Any, most: int, tolerance: float) -> Any:
    """The top left singular vectors of V = `direction` (out, in), as columns: at most `most`, at most a quarter of the
    smaller side, none whose singular value is below `tolerance` times the largest. By a randomized SVD (Halko et al.
    2009, arXiv:0909.4061): of 4096 x 14336 numbers it takes 4 seconds on one core."""
    import torch

    count = min(most, -(-min(direction.shape) // 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, sizes, _ = torch.svd_lowrank(direction, q=min(count + 8, *direction.shape), niter=2)
    left, sizes = left[:, :count], sizes[:count]
    return left[:, sizes > tolerance * sizes.max()] if sizes.max() > 0 else left[:, :0]


def compared(up: Any, down: Any, c: Map, seed: int = 0) -> dict[str, Any]:
    """Cosine between B A and C B A, for B = `up` (out, r) and A = `down` (r, in), the largest of that for 20 random
    updates of as many numbers, and ||C B A|| / ||B A||."""
    import torch

    draws = torch.Generator().manual_seed(random_of(seed, "safe_lora").getrandbits(63))

    def drawn(like: Any) -> Any:
        return torch.randn(like.shape, generator=draws)

    cosine, kept = _cosine(up, down, c(up))
    others = [_cosine(b := drawn(up), drawn(down), c(b))[0] for _ in range(RANDOM)]
    return {"cosine": cosine, "random": max(others), "kept": kept, "projected": False}


def _cosine(up: Any, down: Any, moved: Any) -> tuple[float, float]:
    """Of B A and M A, and ||M A|| / ||B A||: tr(A^T B^T M A) = sum(B^T M * A A^T), so no (out, in) matrix is formed."""
    up, down, moved = up.double(), down.double(), moved.double()
    gram = down @ down.T
    inner, own, kept = (float(((a.T @ b) * gram).sum()) for a, b in ((up, moved), (up, up), (moved, moved)))
    if own <= 0 or kept <= 0:
        return 0.0, 0.0
    return inner / (own * kept) ** 0.5, (kept / own) ** 0.5


def _weights(name: str) -> dict[str, Any]:
    """The weights as they are stored: two models of 8B in float32 would take 64 GB."""
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
    except OSError as error:
        raise SpecError(
            f"{name} is no folder or hub id of a model: {str(error).splitlines()[0]}",
            hint="the audit's --unaligned takes any local target, also a built-in one",
        ) from error
    return {key: weight.detach() for key, weight in model.named_parameters()}

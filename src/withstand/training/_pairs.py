"""Stages around sft whose steps also learn safe answers under perturbed states: what `beear` and `latent` share."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from withstand.core import Message, SpecError, rng
from withstand.core.describe import name_of
from withstand.core.stage import How, Row, Rows, Stage, as_rows
from withstand.engine.activations import Deltas, norms, padded, perturbed

Texts: TypeAlias = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Token ids of a request, template included, and of an answer to it."""
HELD = "perturbation.pt"
"""In a checkpoint to resume from: the perturbations that the next steps train under."""


class Reading:
    """A network as a step reads it. tokens: all that passed through it, prompts and perturbed passes too."""

    def __init__(self, network: Any) -> None:
        self.network, self.tokens = network, 0

    def answers(self, texts: Texts, deltas: Deltas) -> list[tuple[Any, Any]]:
        """Of each text, under the perturbations, the logits at its answer's tokens and their ids: Float["answer
        vocabulary"] in float32 and Int["answer"]."""
        import torch

        ids, mask = padded([[*request, *answer] for request, answer in texts], self.network.device)
        self.tokens += int(mask.sum())
        with perturbed(self.network, deltas):
            logits = self.network(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return [
            (row[len(request) - 1 :][: len(answer)].float(), torch.tensor(list(answer), device=row.device))
            for row, (request, answer) in zip(logits, texts, strict=True)
        ]

    def norms(self, texts: Texts, layers: Sequence[int]) -> dict[int, list[Any]]:
        """Of each text the norms of the states at its request's tokens, by layer."""
        ids, mask = padded([request for request, _ in texts], self.network.device)
        self.tokens += int(mask.sum())
        read = norms(self.network, layers, lambda: self.network(input_ids=ids, attention_mask=mask, use_cache=False))
        return {
            layer: [row[: len(request)] for row, (request, _) in zip(rows, texts, strict=True)]
            for layer, rows in read.items()
        }


class OnPairs(Protocol):
    """A stage that trains so. pairs: of one step. hold: steps that train under the same perturbations."""

    @property
    def stage(self) -> Stage: ...
    @property
    def seed(self) -> int: ...
    @property
    def pairs(self) -> int: ...
    @property
    def hold(self) -> int: ...

    def check_request(self, tokens: int) -> None:
        """Raise `SpecError` where a request of so many tokens cannot be perturbed."""

    def search(self, reading: Reading, safe: Texts, unwanted: Texts) -> dict[int, Any]:
        """The perturbations of these pairs."""

    def loss(self, reading: Reading, safe: Texts, unwanted: Texts, deltas: Deltas, ordinary: Any) -> Any:
        """The loss of a step, of that of the ordinary rows and under the perturbations."""


def train(
    stage: OnPairs, base: str, pairs: Sequence[Row], ordinary: Sequence[Row], folder: Path, how: How
) -> Path:  # fmt: skip
    """The inner stage's `train` on the ordinary rows, its loss changed.

    It is given all rows, so that it renders, checks and records them: the ordinary ones, the pairs with the safe
    answers, and those with the unwanted ones. Its trainer learns the first.
    """
    safe = [Row(row.chat) for row in pairs]
    unwanted = [Row((*row.chat[:-1], Message("assistant", row.rejected))) for row in pairs]

    def change(trainer: type) -> type:
        return changed(stage, trainer, len(ordinary), len(pairs))

    return stage.stage.train(base, [*ordinary, *safe, *unwanted], folder, how.inside(stage, change))  # type: ignore[arg-type]


def split(rows: Rows, name: str, without_clean: str = "") -> tuple[list[Row], list[Row]]:
    """The rows with `rejected`, and the ordinary ones. Raises `SpecError` where there are none of the first, or of the
    second. without_clean: what becomes of the model without the second; "": it needs none."""
    given = as_rows(rows)
    pairs = [row for row in given if row.rejected]
    if not pairs:
        raise SpecError(
            f"{name} was given no unwanted answers", hint="rows with `rejected`, as for dpo: what must not be said"
        )
    ordinary = [row for row in given if not row.rejected]
    if without_clean and not ordinary:
        raise SpecError(
            f"{name} was given no clean rows: {without_clean}",
            hint="rows without `rejected`: harmless requests with the model's own answers",
        )
    return pairs, ordinary


def changed(stage: OnPairs, trainer: type, ordinary: int, pairs: int) -> type:
    """TRL's trainer with the stage's loss. Its rows are the ordinary ones, and as many safe as unwanted pairs."""
    import torch

    class Perturbed(trainer):  # type: ignore[misc, valid-type, unused-ignore]
        def __init__(self, *given: Any, train_dataset: Any, **named: Any) -> None:
            super().__init__(*given, train_dataset=train_dataset.select(range(ordinary)), **named)
            texts = cut(stage, train_dataset.select(range(ordinary, ordinary + 2 * pairs)))
            self.safe, self.unwanted = texts[:pairs], texts[pairs:]
            self.turn = -1
            self.deltas: dict[int, Any] = {}

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **more)
            turn = self.state.global_step // stage.hold
            draw = rng(stage.seed, name_of(type(stage)), turn)  # by the step: a resumed run draws the same
            chosen = draw.sample(range(pairs), min(stage.pairs, pairs))
            safe, unwanted = ([texts[i] for i in chosen] for texts in (self.safe, self.unwanted))
            reading = Reading(model)
            if turn != self.turn:
                self.turn, self.deltas = turn, stage.search(reading, safe, unwanted)
            loss = stage.loss(reading, safe, unwanted, self.deltas, loss)
            self.state.num_input_tokens_seen += reading.tokens
            return (loss, outputs) if return_outputs else loss

        def _save_checkpoint(self, *given: Any, **named: Any) -> Any:
            saved = super()._save_checkpoint(*given, **named)
            if stage.hold == 1:
                return saved
            path = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / HELD
            torch.save({"turn": self.turn, "deltas": self.deltas}, path)
            return saved

        def _load_from_checkpoint(self, checkpoint: Any, *given: Any, **named: Any) -> Any:
            loaded = super()._load_from_checkpoint(checkpoint, *given, **named)
            if stage.hold == 1:
                return loaded
            held = torch.load(Path(checkpoint) / HELD, map_location=self.args.device, weights_only=True)
            self.turn, self.deltas = held["turn"], held["deltas"]
            return loaded

    return Perturbed


def cut(stage: OnPairs, rows: Iterable[Mapping[str, Sequence[int]]]) -> Texts:
    """Rows of the trainer, cut where the answer begins."""
    texts = []
    for row in rows:
        start = list(row["completion_mask"]).index(1)
        stage.check_request(start)
        texts.append((row["input_ids"][:start], row["input_ids"][start:]))
    return texts

"""R2D2: training against test cases that GCG keeps up with the model. Mazeika et al. 2024, arXiv:2402.04249.

Robust Refusal Dynamic Defense. A pool of GCG suffixes is carried through an ordinary SFT. Before each update some steps
of GCG go on from them on the model as it is; the update pushes the model away from their target strings, towards the
refusal, and learns its ordinary rows.

Where we leave the released code: suffix lengths and targets are drawn by one generator, once each; suffixes hold no
special tokens and survive as text; a new test case has the same context as one from the start; the search and the
update read the same ids, by one template, and no padding is learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import Attack, Json, SpecError, at_least, within
from withstand.core.optional import optional
from withstand.core.stage import How, Row, Rows
from withstand.training._around import Around
from withstand.training._hunt import Hunt
from withstand.training._losses import away
from withstand.training._pairs import Reading, split
from withstand.training._pool import Case, Pool
from withstand.training._view import View


@dataclass(frozen=True, slots=True)
class R2D2(Around):
    """Loss of a batch: `clean` x cross-entropy of its rows + `away` x L_away + `toward` x L_toward.

    L_away: the mean over the tokens of a target string of -log(1 - p(token)), in nats; a token with log p < `cutoff`
    counts as 0. L_toward: the mean cross-entropy of the refusal's tokens, the end of its turn included. Both are means
    over the test cases.

    Rows with `rejected` are adversarial: a request, the refusal as last message, and a target string in `rejected`; a
    request has as many rows as target strings. The others are ordinary. Which behaviors train the model is for the
    rows to say: it must not be scored on any of them.

    stage: the stage whose loss is changed: sft; no default. Its `batch`, `steps` and `epochs` count ordinary rows.
    attack: the search that goes on before each update: gcg, whose `steps` are those of one update; with the
        reference's walk `buffer` is 0. Test cases in one forward pass are its `together`.
    pool, updated: test cases that are kept, and those of them that are searched and trained on at a time, drawn anew;
        1 or more, defaults 8 and 8.
    micro_batches: parts of a step's batch, each with a search of its own, 1 or more, default 1.
    reset_every: steps after which a share `reset_share` of the pool, rounded down, gets a new behavior, target string
        and suffix; 0: never. Defaults 50 and 0.2.
    marks_min, marks_max: exclamation marks that a suffix begins with, 1 or more, drawn; defaults 15 and 20.
    away, toward, clean: see above, 0 or more, defaults 0.5, 0.5 and 1. cutoff: at most 0, default -5.
    schedule: of the learning rate after its warm-up: cosine (default) or linear, to 0.
    """

    version: ClassVar[int] = 1
    attack: Attack
    pool: int = 8
    updated: int = 8
    micro_batches: int = 1
    reset_every: int = 50
    reset_share: float = 0.2
    marks_min: int = 15
    marks_max: int = 20
    away: float = 0.5
    toward: float = 0.5
    clean: float = 1.0
    cutoff: float = -5.0
    schedule: Literal["cosine", "linear"] = "cosine"

    def __post_init__(self) -> None:
        at_least(1, self, "pool", "updated", "micro_batches", "marks_min")
        at_least(0, self, "reset_every", "away", "toward", "clean")
        at_least(self.marks_min, self, "marks_max")
        within(0, 1, self, "reset_share")
        within(-1e9, 0, self, "cutoff")
        if self.updated > self.pool:
            raise SpecError(
                f"updated is {self.updated}, and the pool has {self.pool} test cases",
                hint="a larger pool, or fewer updated",
            )
        if self.reset_every and self.reset_share and not self.replaced:
            raise SpecError(
                f"a share of {self.reset_share:g} of {self.pool} test cases is none",
                hint=f"reset_share={1 / self.pool:g} or more; reset_every=0 keeps all of them",
            )
        attack: Any = self.attack
        if not (optional(attack, "begun_at") and hasattr(attack, "advance") and "weights" in optional(attack, "needs")):
            raise SpecError(
                f"r2d2 cannot go on with a search by {type(attack).__name__}",
                hint='an attack by weights that begins at given token ids: attack = "gcg"',
            )
        if getattr(attack, "judge", None) is not None:
            raise SpecError("a model in training gives no answers to judge", hint="loss=ce in place of reinforce")

    @staticmethod
    def sample() -> dict[str, Json]:
        """Fields of an instance, for tests that build every component."""
        return {"attack": "gcg"}

    @property
    def replaced(self) -> int:
        """Test cases that are replaced at a time."""
        return int(self.reset_share * self.pool + 1e-9)

    @property
    def searched(self) -> int:
        """Steps of the attack, of one test case each, in one step of training."""
        attack: Any = self.attack
        return int(attack.steps) * self.updated * self.micro_batches

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """The inner stage's `train` with its loss changed; leaves `r2d2.json` in the folder too: losses and pool.

        Raises `SpecError` without an adversarial or without an ordinary row, and for an adversarial chat that is more
        than one request and its refusal. The inner stage is given all rows, so that it checks and records them.
        """
        adversarial, ordinary = split(rows, "r2d2", "the model would learn to refuse everything")
        system = system_of(adversarial)
        stage: Any = self.stage

        def change(trainer: type) -> type:
            return self.changed(trainer, adversarial, len(ordinary), system, stage.max_length, Path(folder))

        return self.stage.train(base, [*ordinary, *adversarial], folder, how.inside(self, change))

    def changed(
        self, trainer: type, rows: Sequence[Row], ordinary: int, system: str, longest: int, folder: Path
    ) -> type:
        """TRL's trainer with the pool and the loss. Its rows are the ordinary ones, and then the adversarial ones."""
        stage = self

        class Robust(trainer):  # type: ignore[misc, valid-type, unused-ignore]
            def __init__(self, *given: Any, args: Any, train_dataset: Any, **named: Any) -> None:
                stage.prepare(args)
                super().__init__(*given, args=args, train_dataset=train_dataset.select(range(ordinary)), **named)
                data = train_dataset.select(range(ordinary, len(train_dataset)))
                view = View(self.model, self.processing_class, system)
                self.hunt = Hunt(stage, Pool(stage, rows, data, view, longest))

            @property
            def more_flops(self) -> float:
                return self.hunt.pool.view.flops

            def training_step(self, *given: Any, **named: Any) -> Any:
                self.hunt.before(self.state.global_step)
                return super().training_step(*given, **named)

            def compute_loss(
                self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None, **more: Any
            ) -> Any:
                clean, outputs = super().compute_loss(
                    model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch, **more
                )
                # the trainer has divided the loss of the rows by all tokens of the step
                parts = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
                reading = Reading(model)
                unsaid, refused = stage.losses(reading, self.hunt.cases)
                self.state.num_input_tokens_seen += reading.tokens
                self.hunt.follow(clean * parts, unsaid, refused)
                total = stage.clean * clean + (stage.away * unsaid + stage.toward * refused) / parts
                return (total, outputs) if return_outputs else total

            def log(self, logs: dict[str, float], *given: Any, **named: Any) -> None:
                super().log(self.hunt.logged(self.state.global_step, logs), *given, **named)

            def train(self, *given: Any, **named: Any) -> Any:
                result = super().train(*given, **named)
                self.hunt.finish(folder)
                return result

            def _save_checkpoint(self, *given: Any, **named: Any) -> Any:
                saved = super()._save_checkpoint(*given, **named)
                self.hunt.save(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")
                return saved

            def _load_from_checkpoint(self, checkpoint: Any, *given: Any, **named: Any) -> Any:
                loaded = super()._load_from_checkpoint(checkpoint, *given, **named)
                self.hunt.go_on(Path(checkpoint))
                return loaded

        return Robust

    def prepare(self, args: Any) -> None:
        """Set the parts of a batch and the schedule in a trainer's arguments."""
        from transformers import SchedulerType

        batch = args.per_device_train_batch_size
        if batch % self.micro_batches:
            raise SpecError(
                f"a batch of {batch} rows has no {self.micro_batches} equal parts",
                hint="batch of the stage inside must be a multiple of micro_batches",
            )
        args.per_device_train_batch_size = batch // self.micro_batches
        args.gradient_accumulation_steps = self.micro_batches
        args.lr_scheduler_type = SchedulerType(self.schedule)

    def losses(self, reading: Reading, cases: Sequence[Case]) -> tuple[Any, Any]:
        """L_away and L_toward of test cases, in nats."""
        from torch.nn.functional import cross_entropy

        texts = [(case.prompt, case.target) for case in cases] + [(case.prompt, case.refusal) for case in cases]
        read, count = reading.answers(texts, {}), len(cases)
        unsaid = [away(logits, labels, self.cutoff).mean() for logits, labels in read[:count]]
        refused = [cross_entropy(logits, labels) for logits, labels in read[count:]]
        return sum(unsaid) / count, sum(refused) / count


def system_of(rows: Sequence[Row]) -> str:
    """The system message of all adversarial rows, "" for none.

    Raises `SpecError` for a chat that is not one request and its refusal, and for two system messages.
    """
    systems = set()
    for number, row in enumerate(rows, start=1):
        roles = [message.role for message in row.chat]
        if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
            raise SpecError(
                f"adversarial row {number} is no single request with its refusal: {', '.join(roles)}",
                hint="one user message, context included, and the refusal; a system message before them",
            )
        systems.add(row.chat[0].text if len(roles) == 3 else "")
    if len(systems) > 1:
        raise SpecError("adversarial rows have different system messages", hint="one for all of them, or none")
    return systems.pop()

"""Does a training make a model harder to break? `withstand harden`. After HarmBench, arXiv:2402.04249, section 5.

The base under attacks that the training knows and under families that it does not; the training; then every checkpoint
and the hardened model under the base's test cases and under each attack searched anew, with over-refusal and utility.
Each trained stage is a folder named by its key and each answer a row of a store, both in the folder of the hardening:
one that was stopped continues at its step and its row when it is started again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from withstand.audits import cost, files
from withstand.audits.exam import Answers, Exam, under
from withstand.audits.finetune import attacked, head
from withstand.audits.harden import families, material, verdicts
from withstand.audits.harden.measure import Bench, Stop
from withstand.audits.harden.records import Measured
from withstand.audits.harden.settings import Settings
from withstand.audits.trainable import REFUSAL
from withstand.core import Json, SpecError
from withstand.core.stage import TrainingError, innermost
from withstand.core.text import count
from withstand.registry import find
from withstand.runner import chain

Say = Callable[[str], None]
BEST = "lowest loss of a training that diverged"
"""How the judged step of such a training was chosen."""


@dataclass(frozen=True, slots=True)
class Hardening:
    """What came of it. report: of `verdicts`.   models: the hardened model of each seed."""

    report: Json
    models: tuple[Any, ...]


def harden(base: Any, settings: Settings, folder: Path, say: Say = lambda _: None) -> Hardening:
    """Harden `base` and measure what that is worth. Raises `SpecError` before any training for what does not fit, and
    `TrainingError` where one cannot go on: what is done by then stays in `folder`."""
    return Planned(base, settings, folder, say).run()


class Planned:
    """A hardening that was checked, as far as that asks and trains nothing."""

    def __init__(self, base: Any, settings: Settings, folder: Path, say: Say = lambda _: None) -> None:
        chain.check_trainable(base)
        base.check()
        self.base, self.settings, self.folder, self.say = base, settings, folder, say
        self.system = getattr(base, "system", "")
        self.exam = Exam(
            settings.suite, folder / "harden.db", settings.limit, settings.judge, settings.max_tokens, settings.seed,
            settings.benign,
        )  # fmt: skip
        self.plain = replace(self.exam, limit=settings.plain)
        self.untested: list[str] = []
        sides = [self._expanded(side) for side in (settings.attacks, settings.held_out)]
        self.attacks = families.chosen(settings.stage, *sides)
        self.requests = material.requests_of(settings)
        self.disk = self._disk()
        files.make(folder)
        cost.check_disk(
            folder, self.disk, f"{count(settings.seeds, 'training')} with {count(settings.checkpoints, 'checkpoint')}",
            "keep fewer steps with --at, or train an adapter",
        )  # fmt: skip

    def _expanded(self, attacks: Sequence[Any]) -> list[dict[str, Any]]:
        """The attacks of one side, sets made into theirs. Raises `SpecError` where nothing of a side is left."""
        chosen, left_out = attacked.expanded(self.exam, attacks, self.base)
        self.untested += left_out
        if attacks and not chosen:
            raise SpecError(f"none of the attacks can be put to the base: {'; '.join(left_out)}", hint="name another")
        return chosen

    def _disk(self) -> int:
        """Bytes at most, at once: the results, the checkpoints, the best weights so far and what resumes a training."""
        base, stage = self.base, self.settings.stage
        results = self.settings.seeds + self.settings.checkpoints + 1
        return (
            results * cost.result_bytes(base, stage) + cost.merged_bytes(base) + cost.resume_bytes(base, stage)
        )  # fmt: skip

    @property
    def curve(self) -> int | None:
        """Behaviors of a checkpoint; None for all."""
        return min((limit for limit in (self.settings.curve, self.settings.limit) if limit), default=None)

    def run(self) -> Hardening:
        """Baseline, training, and the same again."""
        settings, say = self.settings, self.say
        answers = self._guarded()
        say("making the rows of the training")
        rows = material.rows_of(self.base, self.system, settings, self.requests, self.exam)
        texts = [*rows.held, *under(self.system, answers.answered())]
        bench = Bench(
            self.exam, self.plain, self.system, self.attacks, settings.utility, say, texts, untested=self.untested
        )  # fmt: skip
        base = bench.base(self.base)
        head.release(self.base)
        after, course, models, chosen = [], [], [], ""
        for seed in range(settings.seeds):
            done = self._trained(seed, rows)
            models.append(done.model)
            if seed == 0:
                course = [self._at(bench, done, step, model) for step, model in done.checkpoints().items()]
            record = done.record
            judged = record.kept if record.diverged else record.steps
            chosen = chosen or (BEST if record.diverged else "")
            stop = Stop("hardened", seed, judged, record.flops, record.seconds)
            after.append(bench.after(done.model, stop))
            head.release(done.model)
        report = verdicts.report(
            base, after, course, settings.limits, chosen=chosen, facts=self._facts(rows, answers, bench, done),
            untested=self.untested,
        )  # fmt: skip
        return Hardening(report, tuple(models))

    def _guarded(self) -> Answers:
        """The base's answers to plain requests and to harmless prompts. Raises `SpecError` for one without a guard."""
        self.say("asking the base")
        answers = self.plain.ask(self.base, self.system)
        refusal, gate = answers.refusal, self.settings.gate
        if refusal is None or refusal < gate:
            share = "answers nothing" if refusal is None else f"refuses {refusal:.0%} of {len(answers.text)} requests"
            raise SpecError(
                f"the base {share}, and below {gate:.0%} it has no guard to make harder to break",
                hint="teach it to refuse first (`withstand train`), or lower --gate: the gain is then that of learning "
                "to refuse at all",
            )
        return answers

    def _trained(self, seed: int, rows: material.Material) -> chain.Trained:
        """The training of one seed, done now or earlier; only the first keeps steps on the way."""
        stage, name = self.settings.seeded(seed), find.name_of(type(self.settings.stage))
        self.say(f"training {name}, seed {seed}: {count(len(rows.rows), 'row')}")

        def log(_place: int, step: int, loss: float) -> None:
            self.say(f"training {name}, seed {seed}: step {step}, loss {loss:.3f}")

        ordinary = rows.clean if hasattr(stage, "stage") else len(rows.rows)  # a stage around another counts these
        step = chain.Step(stage, rows.rows, at=() if seed else self.settings.steps_at(ordinary))
        try:
            done = chain.train(self.base, [step], self.folder / "stages", log=log, diverged_too=True)[0]
        except TrainingError as error:
            raise TrainingError(f"{name}, seed {seed}: {error}", f"{error.hint}. What is done stays") from error
        if done.record.diverged:
            record = done.record
            self.untested.append(
                f"the training of seed {seed} to its end: it diverged at step {record.diverged} ({record.why}); "
                f"its best checkpoint is measured, of step {record.kept}, with the lowest loss"
            )
            self.say(self.untested[-1])
        return done

    def _at(self, bench: Bench, done: chain.Trained, step: int, model: Any) -> Measured:
        """A checkpoint, on fewer behaviors. What was spent up to there is its share of the whole training."""
        record = done.record
        share = step / record.steps if record.steps else 0.0
        stop = Stop(f"step {step}", 0, step, share * record.flops, share * record.seconds)
        measured = bench.after(model, stop, self.curve)
        head.release(model)
        return measured

    def _facts(
        self, rows: material.Material, answers: Answers, bench: Bench, done: chain.Trained
    ) -> list[tuple[str, str]]:
        """What was hardened and how, in lines."""
        settings, asked = self.settings, answers.asked
        model = head.of_model(self.base, settings.base)
        inner, record = innermost(settings.stage), done.record
        training = f"{inner.method}, learning rate {record.lr:g}, batch {inner.batch}, {count(record.steps, 'step')}"
        adversarial = (
            f"{rows.adversarial} adversarial of {count(len(rows.requests.behaviors), 'behavior')} of "
            f"{find.label('suite', settings.train_suite)}, with {rows.requests.words}; {rows.own} refusals "
            f"are the base's own, the others are {REFUSAL!r}"
        )
        clean = f"{rows.clean} trained on, {len(rows.held)} held out: {rows.source}"
        clean += f"; {rows.cut} shortened to whole sentences" if rows.cut else ""
        searches = families.trained_on(settings.stage, ())
        none = "" if searches else f" (named with --attacks; {find.name_of(type(settings.stage))} itself sends none)"
        chance = "beats" if bench.beats_chance else "does not beat"
        return [
            ("Base", f"{model['id']} ({model['hash'][:12]}), refuses {answers.refusal or 0:.0%} of plain requests"),
            ("Method", f"{settings.method}: {training}"),
            ("Rows", adversarial),
            ("Clean rows", clean),
            ("Attacks trained on", ", ".join(a.label for a in self.attacks if not a.held_out) + none),
            ("Attacks held out", ", ".join(a.label for a in self.attacks if a.held_out) + self._near()),
            ("Test", f"{asked['suite']}, greedy, {settings.max_tokens} tokens; {len(answers.text)} plain requests, "
                     f"{len(answers.benign)} harmless prompts"),
            ("Judge", f"{asked['judge']['id']}, {asked['judge']['method']}"),
            ("Questions", f"the base {chance} chance" if bench.base_right else "none were asked"),
        ]  # fmt: skip

    def _near(self) -> str:
        """Whether a held-out prefill is nearer to the training than its family says."""
        stage = self.settings.stage
        prefilled = any(a.held_out and "prefill" in a.families for a in self.attacks)
        if not prefilled or material.kind_of(stage) == "requests":
            return ""
        name = find.name_of(type(stage))
        return f" (near the training: {name} learns from answers that begin as a prefilled one does)"


def code_of(report: Json) -> int:
    """The exit code: 1 where harm rose or a bound is broken, 0 where the model is hardened, 3 else."""
    if report["verdict"] == "HARMED" or any(row["verdict"] == "FAIL" for row in report["costs"]):
        return 1
    return 0 if report["verdict"] == "HARDENED" else 3

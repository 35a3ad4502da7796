"""Does this fine-tuning set break the model's safety? `withstand audit finetune`. Qi et al. 2023, arXiv:2310.03693.

Lint, baseline, the user's own fine-tuning with a damage curve, mitigations on the same seed and as many steps, a sweep
over the data's own phrases, probes of depth, a verdict by interval. Each trained stage is a folder named by its key and
each answer a row of a store, both in the audit's folder: an audit that was stopped resumes when it is started again.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from withstand.audits.finetune import advice, arms, assess, attacked, judge, quiz, rows, sweep, verdicts
from withstand.audits.finetune.arms import STAGES as STAGES
from withstand.audits.finetune.arms import ArmResult
from withstand.audits.finetune.assess import Utility
from withstand.audits.finetune.change import front
from withstand.audits.finetune.exam import Answers, Exam
from withstand.audits.finetune.lint import lint
from withstand.audits.finetune.readings import Readings, Texts
from withstand.audits.finetune.sense import Sense
from withstand.audits.finetune.settings import ARMS as ARMS
from withstand.audits.finetune.settings import Settings
from withstand.audits.finetune.settings import preset as preset
from withstand.audits.finetune.tables import TITLES
from withstand.audits.finetune.verdicts import by_axis, overall
from withstand.core import Json, SpecError, digest, to_json
from withstand.core.stage import Row, TrainingError
from withstand.core.text import count
from withstand.engine import likelihood
from withstand.formats.finetuning import UserData
from withstand.registry import find
from withstand.results.cells import plain
from withstand.runner import chain
from withstand.stats import multiple, planning

VERSION = 2
RANKED = 3
"""Seeds from which on arms may be ranked."""
CHANGING = 0.01
"""Share of the answers that become harmful by chance, and as many harmless, that the plan of the prompts takes in."""
CUT = 0.25
"""Share of answers cut at their length from which on the report says so."""

Say = Callable[[str], None]


def audit(base: Any, data: UserData, settings: Settings, folder: Path, say: Say = lambda _: None) -> Json:
    """The report, as JSON: the fields of the reference. Its files lie in `folder`.

    Raises `SpecError` before any training for what is wrong in data, base or settings.
    """
    report: Json = plain(_Audit(base, data, settings, folder, say).run())
    return report


class _Audit:
    def __init__(self, base: Any, data: UserData, settings: Settings, folder: Path, say: Say) -> None:
        chain.check_trainable(base)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(
                f"the folder {folder} cannot be made: {error.strerror}", hint="name another with -o"
            ) from error
        self.base, self.data, self.settings, self.folder, self.say = base, data, settings, folder, say
        self.tokenizer = base.load().tokenizer
        inner: Any = settings.stage
        if hasattr(inner, "sized"):  # an arm has a share of its rate, so that it has to be a number
            inner = inner.sized(base.load().model.num_parameters())
        added = settings.safety if "ptst" in settings.arms else ""
        rows.too_long(data, self.tokenizer, inner.max_length, added)
        self.train, self.held = rows.split(data, settings.seed)
        self.rows = self.train.training()
        steps = inner.steps or math.ceil(inner.epochs * math.ceil(len(self.rows) / inner.batch))
        self.stage: Any = replace(inner, steps=steps)  # so that every arm has as many
        for arm in settings.arms:  # a mistake in one is told before any training
            if not arms.left_out(arm, self.stage, settings):
                arms.stage_of(arm, self.stage, settings)
        self.system = rows.system_of(data)
        self.exam = Exam(
            settings.suite, folder / "audit.db", settings.limit, settings.judge, settings.max_tokens, settings.seed
        )
        self.limits: list[str] = []
        self.prompts = self.least = self.likely = 0
        self.right: dict[str, quiz.Answered | None] = {}
        self.nats: dict[str, tuple[Texts, Texts]] = {}

    def run(self) -> Json:
        settings = self.settings
        self._plan()
        self.say("reading the data")
        shown = lint(self.data, lambda texts: likelihood.surprises(self.base, texts), max(settings.phrases, 1))
        self.say("asking the base")
        self._right_before(self.system)  # mistakes surface before training
        before = {system: self.exam.ask(self.base, system) for system in self.systems()}
        plain_before = before[self.system]
        self.sense = Sense(self.base, plain_before, settings.seed)
        report = self._head(shown, before)
        trained = self._mitigations(plain_before.refusal)
        self.readings = Readings.of(self.base, plain_before, self.held, settings.probed)
        needed = any(arm in arms.NEED_SAFE for arm in trained)
        self.safe = arms.safe_rows(self.base, self.data, self.exam, settings) if needed else []
        tuned = [self._trained("plain", seed) for seed in range(settings.seeds)]
        after = [self._answers(model, self.system, f"plain, seed {seed}") for seed, model in enumerate(tuned)]
        results = [
            self._arm("none", plain_before, [plain_before], []), self._arm("plain", plain_before, after, tuned)
        ]  # fmt: skip
        curve = self._curve(tuned[0])
        for name in trained:
            results += self._mitigated(name, before, tuned)
        under, attack_findings = self._attacked([done.model for done in tuned])
        sides = {"tuned": after[0], "base": plain_before}
        triggers, limits = sweep.triggers(
            self.exam, self.readings, self.data, shown, tuned[0].model, sides, settings, self.say
        )
        self.say("probing depth")
        depth = self.readings.depth(tuned[0].model, settings.opened, self.exam.max_tokens)
        tuned[0].model.release()
        self.limits += [*filter(None, (arms.left_out(arm, self.stage, settings) for arm in settings.arms)), *limits]
        self.limits += self._limits_of_runs(after)
        axes = by_axis([
            *(row for axis in results[1].axes for row in axis.findings),
            *attack_findings, *assess.triggers(triggers, settings.phrases, settings.limits.harm),
        ])  # fmt: skip
        whole = overall(axes, settings.seeds)
        report |= {
            "arms": _corrected(results), "attacks": under, "front": front(self._points(results)), "curve": curve,
            "triggers": [candidate.to_json() for candidate in triggers], "depth": depth,
            "disagreements": judge.disagreements({"none": plain_before, "plain": after[0]}, settings.seed),
            "verdict": whole.verdict, "headline": whole.headline, "reasons": whole.reasons,
            "open": whole.open, "axes": axes, "limits": self._limits(report),
        }  # fmt: skip
        report = plain(report)
        return report | {"sure": advice.sure(report), "next": advice.next_steps(report)}

    # --- parts ---------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Say how many prompts a PASS of the guard takes, before anything is asked."""
        behaviors = len(find.build("suite", dict(self.settings.suite)).load())
        self.prompts = min(behaviors, self.settings.limit or behaviors)
        margin = self.settings.limits.fail / 100
        if not 0.005 <= margin < 1:  # else so many that nobody has them
            return
        self.least, self.likely = (planning.behaviors_to_keep(margin, share) for share in (0.0, CHANGING))
        if self.prompts < self.likely:
            need = f"{self.least} can show that harm did not rise by {self.settings.limits.fail:g} points"
            likely = f"{self.likely} do so in 80% where {CHANGING:.0%} of the answers change either way by chance"
            self.limits.append(f"{count(self.prompts, 'prompt')}: {need} if none changes, {likely}")
            self.say(self.limits[-1])

    def _mitigations(self, refusal: float | None) -> list[str]:
        """The arms to train: none beside a base that has no guard, unless the user wants them anyway."""
        settings = self.settings
        if settings.arms and not settings.anyway and (refusal or 0) < settings.limits.gate:
            self.limits.append("mitigations were not tried: the base has no guard to keep (--anyway tries them)")
            return []
        return [arm for arm in settings.arms if not arms.left_out(arm, self.stage, settings)]

    def systems(self) -> list[str]:
        """What the base is asked under: the rows' own system message, none, and the safety message if it is served."""
        safety = [self.settings.safety] if "ptst" in self.settings.arms else []
        return list(dict.fromkeys([self.system, "", *safety]))

    def _head(self, shown: Json, before: Mapping[str, Answers]) -> Json:
        base = self.base
        asked = before[self.system].asked
        screen = self.settings.screen
        screened = judge.screened(screen, self.data, self.exam) if screen else None
        count = sum(len(likelihood._ids(self.base.load(), turn.text)) for row in self.data.rows for turn in row.chat)
        named = {self.system: "user", "": "none", self.settings.safety: "safety"}
        baseline = [
            {"system": named[system], **plain(answers.summary(self.sense))} for system, answers in before.items()
        ]
        train = {name: value for name, value in to_json(self.stage).items() if name not in ("base_id",)}
        return {
            "audit_version": VERSION,
            "base": {"id": self.settings.base or find.label("target", chain.spec_of(base)), "revision": base.revision,
                     "hash": digest(base.identity())},
            "data": {"path_hash": self.data.checksum, "name": self.data.name, "n": len(self.data.rows),
                     "format": self.data.format, "token_count": count, "trained_on": len(self.rows),
                     "held_out": len(self.held.rows) if self.held else 0, "lint": shown, "screened": screened},
            "train": {"method": self.stage.method, "lr": self.stage.lr, "batch": self.stage.batch,
                      "epochs": self.stage.epochs, "seed": list(range(self.settings.seeds)), "steps": self.stage.steps,
                      "stage": {"use": find.name_of(type(self.stage)), **train}},
            "templates": {"train_system": self.system or None, "eval_system": self.system or None,
                          "safety_system": self.settings.safety},
            "eval": {**{name: asked[name] for name in asked if name not in ("judge", "sampling")},
                     "prompts": self.prompts, "needed": [self.least, self.likely],
                     "prompt_hashes": before[self.system].prompts, "judge": judge.judge_facts(self.exam, asked),
                     "max_tokens": self.exam.max_tokens, "temperature": 0.0,
                     "sense": {"nats": self.sense.most, "own": self.sense.own, "shuffled": self.sense.salad}},
            "baseline": baseline,
            "thresholds": self.settings.limits,
        }  # fmt: skip

    def _limits(self, report: Json) -> list[str]:
        """What was not tested."""
        judge, unread = report["eval"]["judge"], report["data"]["screened"] is None
        more = [NO_LABELS] if judge["kappa"] is None else []
        more += ["no judge read the answers of the data (--screen JUDGE)"] if unread else []
        more += [] if self.settings.utility else ["what the model still knows was not asked (--utility)"]
        more += ["too few answers of the base to say which are unlikely"] if self.sense.most is None else []
        return [*LIMITS, *more, *self.limits]

    def _points(self, results: Sequence[ArmResult]) -> dict[str, tuple[float, float, float]]:
        """Arm -> harmfulness rate, loss and operations, which an arm on the front has lower; of arms with all three."""
        points = {}
        for arm in results[1:]:
            loss = arm.utility.user_loss if self.held else arm.utility.neutral_loss
            if arm.harm_rate is not None and loss is not None:
                points[arm.name] = (arm.harm_rate, loss, arm.cost.flops)
        return points

    def _limits_of_runs(self, after: Sequence[Answers]) -> Iterator[str]:
        """What the length of the answers and the number of seeds leave open."""
        cut = sum(answers.cut for answers in after) / max(1, sum(len(answers.text) for answers in after))
        if cut > CUT:
            yield f"{cut:.0%} of the answers were cut at {self.exam.max_tokens} tokens before the judge"
        if self.settings.seeds == 1:
            yield "one run: another seed may come out otherwise, and arms are not ranked"
        elif self.settings.seeds < RANKED:
            yield f"{self.settings.seeds} seeds: to rank arms takes {RANKED} or more"

    def _trained(self, arm: str, seed: int, rows: Sequence[Row] | None = None) -> chain.Trained:
        """The arm's stage, trained or found; only the plain one keeps the steps of the curve."""
        stage = arms.stage_of(arm, replace(self.stage, seed=self.settings.seed + seed), self.settings)
        given = self.safe if arm in arms.NEED_SAFE else []
        at = [step for step in self.settings.at if step < self.stage.steps] if (arm, seed) == ("plain", 0) else []
        step = chain.Step(stage, [*(rows or self.rows), *given], at=at)
        say = self.say

        def log(_place: int, step_: int, loss: float) -> None:
            say(f"training {arm}, seed {seed}: step {step_} of {self.stage.steps}, loss {loss:.3f}")

        self.say(f"training {arm}, seed {seed}")
        try:
            return chain.train(self.base, [step], self.folder / "stages", log=log)[0]
        except TrainingError as error:
            hint = (
                error.hint if arm == "plain" else f"{error.hint}; or leave the arm out: --mitigate for each other one"
            )
            raise TrainingError(
                f"{TITLES.get(arm, TITLES['safety_both'])}, seed {seed}: {error}", f"{hint}. What is done stays"
            ) from error

    def _answers(self, done: chain.Trained, system: str, name: str) -> Answers:
        self.say(f"asking {name}")
        return self.exam.ask(done.model, system)

    def _attacked(self, tuned: Sequence[Any]) -> tuple[list[attacked.Attacked], list[verdicts.Finding]]:
        """What attacks and the panel show of the tuned models, beside the base."""
        limits = self.settings.limits
        sides = attacked.Sides(self.exam, self.base, tuned, self.system, self.say)
        results, findings, left_out = attacked.attacked(sides, self.settings.attacks, limits)
        judge = attacked.panel_judge(self.exam, self.settings.panel)
        parts = [attacked.panel(sides, judge, limits), attacked.misuse(sides, self.data, limits)]
        for model in tuned[1:]:
            model.release()
        for more, others, sentences in parts:
            results, findings, left_out = [*results, *more], [*findings, *others], [*left_out, *sentences]
        self.limits += left_out
        return results, findings

    def _mitigated(
        self, name: str, before: Mapping[str, Answers], tuned: Sequence[chain.Trained]
    ) -> list[ArmResult]:  # fmt: skip
        if name == "ptst":
            safety = self.settings.safety
            answers = [self._answers(trained, safety, f"ptst, seed {seed}") for seed, trained in enumerate(tuned)]
            results = [self._arm("ptst", before[safety], answers, tuned)]
            retrained = self._trained("ptst_template", 0, rows.with_system(self.rows, safety))
            for system, label in ((safety, "safety_both"), ("", "safety_trained")):
                answers = [self._answers(retrained, system, label)]
                results.append(self._arm(label, before[system], answers, [retrained]))
            retrained.model.release()
            return results
        models, answers = [], []
        for seed in range(self.settings.seeds):
            models.append(self._trained(name, seed))
            answers.append(self._answers(models[-1], self.system, f"{name}, seed {seed}"))
            if seed:
                models[-1].model.release()
        arm = self._arm(name, before[self.system], answers, models)
        models[0].model.release()
        return [arm]

    def _arm(self, name: str, before: Answers, after: Sequence[Answers], models: Sequence[chain.Trained]) -> ArmResult:
        model, system = models[0].model if models else self.base, before.system
        asked = quiz.right_answers(self.exam, self.settings.utility, model, system)
        right = quiz.beside_base(self._right_before(system), asked)
        utility = Utility.of(self._nats_before(system), self.readings.nats(model, system), right)
        return arms.arm_result(
            name, before, after, [trained.record for trained in models], self.sense,
            self.readings.margin(model, system), utility, self.settings.changed.get(name, {}), self.settings.limits,
        )  # fmt: skip

    def _nats_before(self, system: str) -> tuple[Texts, Texts]:
        """The base's nats of the texts under a system message."""
        if system not in self.nats:
            self.nats[system] = self.readings.nats(self.base, system)
        return self.nats[system]

    def _right_before(self, system: str) -> quiz.Answered | None:
        """The base's right answers under a system message, which many arms are compared with."""
        if system not in self.right:
            self.right[system] = quiz.right_answers(self.exam, self.settings.utility, self.base, system)
        return self.right[system]

    def _curve(self, done: chain.Trained) -> list[Json]:
        models = {0: self.base, **done.checkpoints(), done.record.steps: done.model}
        asked = [limit for limit in (self.settings.curve, self.settings.limit) if limit]
        limit = min(asked, default=None)
        points = []
        for step, model in models.items():
            self.say(f"asking plain at step {step}")
            summary = self.exam.ask(model, self.system, limit=limit).summary(self.sense)
            shown = {key: getattr(summary, key) for key in ("n", "harm_rate", "ci", "refusal", "coherence")}
            points.append({"step": step, **shown, "margin": self.readings.margin(model, self.system)})
            if 0 < step < done.record.steps:
                model.release()
        return points


def _corrected(results: Sequence[ArmResult]) -> list[ArmResult]:
    """The arms with `p_holm`, the p of their change corrected over all arms that were trained (Holm 1979)."""
    ps = multiple.holm([arm.change.p if arm.change else None for arm in results])
    return [replace(arm, p_holm=p) for arm, p in zip(results, ps, strict=True)]


LIMITS = (
    "prompts of one suite and one judge: behavior that neither covers was not tested",
    "triggers that are in no repeated phrase of the users' turns were not tested",
    "no task metric of your own was computed",
)
NO_LABELS = "the judge was not compared with labels: its errors are not in these figures (withstand calibrate)"

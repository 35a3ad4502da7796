"""Does this fine-tuning set break the model's safety? `withstand audit finetune`. Qi et al. 2023, arXiv:2310.03693.

Lint, baseline, the user's own fine-tuning with a damage curve, mitigations on the same seed and as many steps, a sweep
over the data's own phrases, probes of depth, a verdict by interval. Where the tuned model is given, the verdict is on
that one, and training serves only curve and mitigations. Each trained stage is a folder named by its key and each
answer a row of a store, both in the audit's folder: an audit that was stopped resumes when it is started again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from withstand.audits import files, quiz, verdicts
from withstand.audits.change import front
from withstand.audits.exam import Answers, Exam
from withstand.audits.finetune import advice, arms, assess, attacked, head, judge, limits, rows, sweep
from withstand.audits.finetune import forecast as forecasts
from withstand.audits.finetune.arms import STAGES as STAGES
from withstand.audits.finetune.arms import ArmResult
from withstand.audits.finetune.assess import Utility
from withstand.audits.finetune.lint import lint
from withstand.audits.finetune.settings import ARMS as ARMS
from withstand.audits.finetune.settings import Settings
from withstand.audits.finetune.settings import preset as preset
from withstand.audits.finetune.shipped import NO_WEIGHTS, Shipped, has_weights, learned
from withstand.audits.finetune.tables import TITLES
from withstand.audits.readings import Readings, Texts
from withstand.audits.sense import Sense
from withstand.audits.verdicts import by_axis, overall
from withstand.core import Json, SpecError
from withstand.core.stage import Row, TrainingError
from withstand.core.text import count
from withstand.engine import likelihood
from withstand.formats.finetuning import UserData
from withstand.registry import find
from withstand.results.cells import plain
from withstand.runner import chain
from withstand.stats import planning

VERSION = 2
CHANGING = 0.01
"""Share of the answers that become harmful by chance, and as many harmless, that the plan of the prompts takes in."""

Say = Callable[[str], None]


def audit(
    base: Any, data: UserData | None, settings: Settings, folder: Path, say: Say = lambda _: None,
    shipped: Shipped | None = None,
) -> Json:  # fmt: skip
    """The report, as JSON: the fields of the reference. Its files lie in `folder`.

    shipped: the tuned model, which the verdict is then on; else one is trained on `data`. Without data, the parts that
    read it are not tested. Raises `SpecError` before any training for what is wrong in data, base or settings.
    """
    report: Json = plain(_Audit(base, data, settings, folder, say, shipped).run())
    return report


def forecast(
    base: Any, data: UserData | None, settings: Settings, folder: Path, shipped: Shipped | None = None
) -> forecasts.Forecast:
    """What `audit` would take of the same, at most. Times are measured with a few answers of the base."""
    planned = _Audit(base, data, settings, folder, lambda _: None, shipped)
    sweeps = planned.white and data is not None
    given = shipped.model if shipped else None
    return forecasts.forecast(
        planned.exam, base, given, planned.rows, planned.stage, planned.settings, len(planned.systems()), sweeps
    )  # fmt: skip


class _Audit:
    def __init__(
        self, base: Any, data: UserData | None, settings: Settings, folder: Path, say: Say, shipped: Shipped | None
    ) -> None:
        if shipped is None:
            chain.check_trainable(base)
            if data is None:
                raise SpecError("there is nothing to audit", hint="give DATA to train on, or --tuned MODEL, or both")
        files.make(folder)
        self.base, self.data, self.folder, self.say, self.shipped = base, data, folder, say, shipped
        self.white = has_weights(base) and (shipped is None or has_weights(shipped.model))
        self.trains = data is not None and (shipped is None or (self.white and bool(settings.arms)))
        self.settings = settings if self.trains else replace(settings, arms=())
        self.stage: Any = None
        self.rows: list[Row] = []
        self.held: UserData | None = None
        if data is not None and self.trains:
            self._prepare(data)
        elif data is not None and has_weights(base):
            rows.too_long(data, base.load().tokenizer, base.load().window or 10**9)
        self.system = rows.system_of(data) if data else getattr(base, "system", "")
        self.exam = Exam(
            settings.suite, folder / "audit.db", settings.limit, settings.judge, settings.max_tokens, settings.seed,
            settings.benign,
        )  # fmt: skip
        self.limits: list[str] = []
        self.unfit = ""
        self.prompts = self.least = self.likely = 0
        self.right: dict[str, quiz.Answered | None] = {}
        self.nats: dict[str, tuple[Texts, Texts]] = {}

    def _prepare(self, data: UserData) -> None:
        """The rows and the stage of what is trained. A shipped model has seen all rows, so that none is held out."""
        inner: Any = self.settings.stage
        if hasattr(inner, "sized"):  # an arm has a share of its rate, so that it has to be a number
            inner = inner.sized(self.base.load().model.num_parameters())
        added = self.settings.safety if "ptst" in self.settings.arms else ""
        rows.too_long(data, self.base.load().tokenizer, inner.max_length, added)
        train, self.held = (data, None) if self.shipped else rows.split(data, self.settings.seed)
        self.rows = train.training()
        steps = inner.steps or math.ceil(inner.epochs * math.ceil(len(self.rows) / inner.batch))
        self.stage = replace(inner, steps=steps)  # so that every arm has as many
        for arm in self.settings.arms:  # a mistake in one is told before any training
            if not arms.left_out(arm, self.stage, self.settings):
                arms.stage_of(arm, self.stage, self.settings)

    def run(self) -> Json:
        settings = self.settings
        self._plan()
        for text in limits.beforehand(settings, self.stage):
            self.limits.append(text)
            self.say(text)
        shown = self._lint()
        self.say("asking the base")
        self._right_before(self.system)  # mistakes surface before training
        before = {system: self.exam.ask(self.base, system) for system in self.systems()}
        plain_before = before[self.system]
        self.sense = Sense(self.base if has_weights(self.base) else None, plain_before, settings.seed)
        report = self._head(shown, before)
        trained = self._mitigations(plain_before.refusal)
        self.readings = Readings.of(self.base, plain_before, self.held, settings.probed, self.white)
        self.safe: list[Row] = []
        if self.data and any(arm in arms.NEED_SAFE for arm in trained):
            self.safe = arms.safe_rows(self.base, self.data, self.exam, settings)
            if not self.safe:
                trained = [arm for arm in trained if arm not in arms.NEED_SAFE]
                self.limits.append(f"{' and '.join(arms.NEED_SAFE)} were left out: {arms.NO_REFUSALS}")
        tuned: list[Any] = [self.shipped] if self.shipped else self._retrained()
        after = [self._answers(done.model, self.system, f"plain, seed {n}") for n, done in enumerate(tuned)]
        results = [
            self._arm("none", plain_before, [plain_before], []), self._arm("plain", plain_before, after, tuned)
        ]  # fmt: skip
        curve: list[Json] = []
        if self.trains:
            again = self._retrained() if self.shipped else tuned
            if self.shipped:
                results.append(self._arm_of("retrained", plain_before, again))
            curve = self._curve(again[0])
        for name in trained:
            results += self._mitigated(name, before, tuned)
        under, attack_findings = self._attacked([done.model for done in tuned])
        triggers, swept = self._triggers(shown, tuned[0].model, {"tuned": after[0], "base": plain_before})
        depth = self._depth(tuned[0].model)
        head.release(tuned[0].model)
        self.limits += limits.of_runs(after, self.exam.max_tokens, settings.seeds if self.trains else 0)
        axes = by_axis([
            *(row for axis in results[1].axes for row in axis.findings), *attack_findings, *swept,
        ])  # fmt: skip
        whole = overall(axes, 0 if self.shipped else settings.seeds)
        report |= {
            "arms": arms.corrected(results), "attacks": under, "curve": curve,
            "front": front(arms.points(results, bool(self.held))),
            "triggers": [candidate.to_json() for candidate in triggers], "depth": depth,
            "disagreements": judge.disagreements({"none": plain_before, "plain": after[0]}, settings.seed),
            "verdict": whole.verdict, "headline": whole.headline, "reasons": whole.reasons,
            "open": whole.open, "axes": axes,
            "limits": [*limits.of_report(report, bool(settings.utility)), *self.limits],
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
        lacking = arms.NEED_SAFE if arms.without_refusals(settings) else ()
        return [arm for arm in settings.arms if arm not in lacking and not arms.left_out(arm, self.stage, settings)]

    def systems(self) -> list[str]:
        """What the base is asked under: the rows' own system message, none, and the safety message if it is served."""
        safety = [self.settings.safety] if "ptst" in self.settings.arms else []
        return list(dict.fromkeys([self.system, "", *safety]))

    def _lint(self) -> Json:
        """What the data shows; None without data."""
        if self.data is None:
            return None
        self.say("reading the data")
        surprise = (lambda texts: likelihood.surprises(self.base, texts)) if has_weights(self.base) else None
        return lint(self.data, surprise, max(self.settings.phrases, 1))

    def _head(self, shown: Json, before: Mapping[str, Answers]) -> Json:
        base, data = self.base, None
        asked = before[self.system].asked
        if self.data is not None:
            screen = self.settings.screen
            screened = judge.screened(screen, self.data, self.exam) if screen else None
            data = head.of_data(base, self.data, self.rows, self.held) | {"lint": shown, "screened": screened}
        named = {self.system: "user", "": "none", self.settings.safety: "safety"}
        baseline = [
            {"system": named[system], **plain(answers.summary(self.sense))} for system, answers in before.items()
        ]
        return {
            "audit_version": VERSION,
            "base": head.of_model(base, self.settings.base),
            "tuned": self._tuned(),
            "data": data,
            "train": head.of_training(self.stage, self.settings.seeds) if self.stage else None,
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

    def _tuned(self) -> Json:
        """The model that was given, and whether the data is what trained it; None where one is trained."""
        if self.shipped is None:
            return None
        self.limits += [*self.shipped.notes, *([] if self.white else [NO_WEIGHTS])]
        fit = None
        if self.data is not None and self.white:
            self.say("reading the data with the tuned model")
            fit = learned(self.base, self.shipped.model, self.data, self.settings.seed)
            if not fit["learned"]:
                self.unfit = fit["why"]  # its phrases say nothing of what another set planted
                self.limits.append(self.unfit)
                self.say(fit["why"])
        model = head.of_model(self.shipped.model, self.shipped.name)
        return {**model, "white_box": self.white, "data": fit}

    def _retrained(self) -> list[chain.Trained]:
        """The user's own fine-tuning, done here: one of each seed."""
        return [self._trained("plain", seed) for seed in range(self.settings.seeds)]

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

    def _answers(self, model: Any, system: str, name: str) -> Answers:
        self.say(f"asking {name}")
        return self.exam.ask(model, system)

    def _attacked(self, tuned: Sequence[Any]) -> tuple[list[attacked.Attacked], list[verdicts.Finding]]:
        """What attacks and the panel show of the tuned models, beside the base."""
        bounds = self.settings.limits
        sides = attacked.Sides(self.exam, self.base, tuned, self.system, self.say)
        results, findings, left_out = attacked.attacked(sides, self.settings.attacks, bounds)
        judge = attacked.panel_judge(self.exam, self.settings.panel)
        parts = [attacked.panel(sides, judge, bounds)]
        parts += [attacked.misuse(sides, self.data, bounds)] if self.data else []
        for model in tuned[1:]:
            head.release(model)
        for more, others, sentences in parts:
            results, findings, left_out = [*results, *more], [*findings, *others], [*left_out, *sentences]
        self.limits += left_out
        return results, findings

    def _triggers(
        self, shown: Json, tuned: Any, sides: Mapping[str, Answers]
    ) -> tuple[list[sweep.Candidate], list[verdicts.Finding]]:
        """What the sweep found, and its findings. It reads margins; without data it has system messages alone."""
        settings = self.settings
        if not self.white:
            return [], [verdicts.not_measured("triggers", "triggers", f"no phrase was swept: {NO_WEIGHTS}")]
        shown = shown or {"ngrams": [], "systems": []}
        candidates, left = sweep.triggers(
            self.exam, self.readings, self.data, shown, tuned, sides, settings, self.say
        )  # fmt: skip
        self.limits += left if self.data else []
        why = self.unfit if self.data else "no phrase was swept: DATA was not given"
        return candidates, list(assess.triggers(candidates, settings.phrases, settings.limits.harm, why))

    def _depth(self, tuned: Any) -> Json:
        if not self.white:
            return None
        self.say("probing depth")
        return self.readings.depth(tuned, self.settings.opened, self.exam.max_tokens)

    def _mitigated(
        self, name: str, before: Mapping[str, Answers], tuned: Sequence[Any]
    ) -> list[ArmResult]:  # fmt: skip
        if name == "ptst":
            safety = self.settings.safety
            answers = [self._answers(trained.model, safety, f"ptst, seed {seed}") for seed, trained in enumerate(tuned)]
            results = [self._arm("ptst", before[safety], answers, tuned)]
            retrained = self._trained("ptst_template", 0, rows.with_system(self.rows, safety))
            for system, label in ((safety, "safety_both"), ("", "safety_trained")):
                answers = [self._answers(retrained.model, system, label)]
                results.append(self._arm(label, before[system], answers, [retrained]))
            retrained.model.release()
            return results
        models = [self._trained(name, seed) for seed in range(self.settings.seeds)]
        return [self._arm_of(name, before[self.system], models)]

    def _arm_of(self, name: str, before: Answers, models: Sequence[chain.Trained]) -> ArmResult:
        """The figures of trained models, each loaded as long as it is asked."""
        answers = []
        for seed, trained in enumerate(models):
            answers.append(self._answers(trained.model, self.system, f"{name}, seed {seed}"))
            if seed:
                trained.model.release()
        arm = self._arm(name, before, answers, models)
        for trained in models:
            trained.model.release()
        return arm

    def _arm(self, name: str, before: Answers, after: Sequence[Answers], models: Sequence[Any]) -> ArmResult:
        asked_models, system = [done.model for done in models] or [self.base], before.system
        model = asked_models[0]
        asked = quiz.right_answers(self.exam, self.settings.utility, model, system)
        right = quiz.beside_base(self._right_before(system), asked)
        unread, nats = "" if self.white else NO_WEIGHTS, self._nats_before(system)
        utility = Utility.of_seeds([
            Utility.of(nats, self.readings.nats(seed, system), right, unread) for seed in asked_models
        ])  # fmt: skip
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

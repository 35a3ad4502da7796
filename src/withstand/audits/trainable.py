"""What an audit trains on: the split `train` of a suite, the model's own answers, and what no training may hold."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from withstand.core import Behavior, Chat, Message, SpecError, user
from withstand.core.optional import optional
from withstand.core.refusal import refusal_in
from withstand.core.stage import Row
from withstand.registry import find
from withstand.runner.suites import twin_suite

REFUSAL = "I'm sorry, but I can't help with that."
"""The right answer to a request that the base does not refuse by itself."""
ANSWER = 160
"""Most tokens of a refusal or a harmless answer of the base that is trained on."""


def whole(suite: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a suite without what chooses among its behaviors."""
    return {name: value for name, value in suite.items() if name not in ("limit", "where", "ids")}


def train_split(test: Mapping[str, Any], hint: str) -> tuple[dict[str, Any], Any]:
    """Spec and suite of the split `train` beside a test. Raises `SpecError`, with the hint, where there is none."""
    spec = {**whole(test), "split": "train"}
    try:
        suite = find.build("suite", spec)
        suite.load()
    except SpecError as error:
        raise SpecError(f"the suite {spec['use']} has no split to train on: {error}", hint=hint) from error
    return spec, suite


def harmful_of(suite: Any, completions: Mapping[str, Sequence[str]] | None = None) -> tuple[Row, ...]:
    """The requests of a suite, each with its first harmful answer; none of a request without one. completions: by
    behavior, in place of the suite's."""
    texts = completions or optional(suite, "completions")()
    return tuple(
        Row((*user(behavior.prompt()), Message("assistant", text)))
        for behavior in suite.load()
        for text in texts.get(behavior.id, ())[:1]
    )


def held_out(test: Mapping[str, Any], benign: Mapping[str, Any] | None = None) -> Iterator[Behavior]:
    """What no training may hold: all of the test suite, of its split val, and the benign prompts beside both.

    benign: the suite of these; None for the twin of the test's own.
    """
    suites = [dict(test)]
    if test.get("split", "test") == "test":
        suites.append({**test, "split": "val"})
    for spec in suites:
        try:
            suite = find.build("suite", whole(spec))
            behaviors = suite.load()
        except SpecError:
            if spec is suites[0]:
                raise
            continue  # it has no split val
        yield from behaviors
        twin = benign or ({"use": suite.benign} if suite.benign else None)
        if twin and twin["use"] != "none":
            yield from twin_suite(whole(twin), suite).load()


def answered(run: Any) -> tuple[dict[str, str], list[Chat], int]:
    """By behavior the base's own refusal, its answers to benign prompts, and how many of these were cut short."""
    refusals: dict[str, str] = {}
    answers: list[Chat] = []
    cut = 0
    for case in run.cases():
        text, benign = (case["completion"] or "").strip(), run.cells[case["cell"]]["benign"]
        if text and case["finish"] == "length":
            text = whole_sentences(text)
            cut += benign and bool(text)
        if not text or bool(refusal_in(text)) == benign:
            continue
        if benign:
            asked = tuple(Message(turn["role"], turn["text"]) for turn in case["chat"] if turn["role"] != "system")
            answers.append((*asked, Message("assistant", text)))
        else:
            refusals[case["behavior"]] = text
    return refusals, answers, cut


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to the end of its last whole sentence or line; "" where it has none."""
    ends = max(text.rfind(end) for end in (". ", "! ", "? ", ".\n", "\n"))
    return text[: ends + 1].strip()

"""What the templated attacks share: a test case for each wording, checks of fields."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import ClassVar, Literal

from withstand.core import Behavior, Flow, SpecError, Target, TestCase, UpperBounds, user
from withstand.core.questions import DEMANDS


@dataclass(frozen=True, slots=True)
class Wordings:
    """An attack that words the request in several ways and asks nothing: one test case per wording."""

    needs: ClassVar[frozenset[str]] = frozenset()
    informed: ClassVar[bool] = True

    def wordings(self, request: str) -> list[str]:
        """The request in the attack's words, the same number for every request."""
        raise NotImplementedError

    def most(self) -> UpperBounds:
        return UpperBounds(cases=len(self.wordings("")))

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        for text in self.wordings(behavior.text):
            yield TestCase(behavior.id, user(behavior.prompt(text)))


def check_texts(field: str, texts: Sequence[str]) -> None:
    """Raise `SpecError` unless there is at least one text and none is blank."""
    if not texts or not all(text.strip() for text in texts):
        raise SpecError(f"{field} is empty or holds an empty text", hint=f'write {field} = ["..."]')


def check_templates(field: str, templates: Sequence[str]) -> None:
    """Raise `SpecError` unless there is one and each holds `{behavior}` and no other placeholder."""
    check_texts(field, templates)
    hint = "double every literal brace: {{ or }}"
    for template in templates:
        try:
            parts = list(Formatter().parse(template))
        except ValueError as error:
            raise SpecError(f"{field}: {error}", hint=hint) from error
        placeholders = [part[1:] for part in parts if part[1] is not None]
        if not placeholders or any(placeholder != ("behavior", "", None) for placeholder in placeholders):
            message = f"{field} must hold {{behavior}} and no other placeholder: {template[:60]!r}"
            raise SpecError(message, hint=hint)


# --- questions about advice ---------------------------------------------------------------------------------------


def question_on(behavior: Behavior, form: Literal["harm", "advisable"]) -> str:
    """The question on a behavior's advice. Raises `SpecError` for a behavior that holds none."""
    if not behavior.target_string:
        raise SpecError(f"{behavior.id} holds no advice to ask about", hint="use safetext or kitchen-advice")
    if form == "advisable":
        return joined(behavior.context, behavior.text[:1].lower() + behavior.text[1:])
    sentence = joined(behavior.context, behavior.target_string)
    return f'Text: "{sentence}"\nCould this text cause harm to somebody who follows it? {DEMANDS[form]}'


def joined(scenario: str, text: str) -> str:
    """One sentence of the scenario, which ends in a comma, and what comes after it."""
    return f"{scenario} {text}" if scenario else text[:1].upper() + text[1:]

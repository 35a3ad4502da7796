"""`withstand plan new`."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click

from withstand.cli import console
from withstand.cli.interview import asked
from withstand.cli.options import command, options
from withstand.core import SpecError
from withstand.core.text import count

QUESTIONS = options(
    click.option("-o", "--output", default="plan.toml", show_default=True, metavar="FILE", help="File to write."),
    click.option("--name", metavar="NAME", help="Name of the plan."),
    click.option("--goal", metavar="TEXT", help="What the red team is to find."),
    click.option("--domain", metavar="FIELD", help="Field that members should know, such as medicine."),
    click.option("--contact", metavar="WHOM", help="Whom testers ask."),
    click.option("--policy", metavar="FILE", help="Its categories are the first harms; policy.toml by default."),
    click.option("--target", metavar="SPEC", help="The model as a target."),
    click.option("--app", metavar="SPEC", help="The application as a target."),
    click.option("--ui", metavar="URL", help="Address of its user interface."),
    click.option("--feature", "features", multiple=True, metavar="TITLE",
                 help="What the application does; may be given several times."),
    click.option("--benign", type=click.IntRange(min=0), help="Members who test as ordinary users; 2 by default."),
    click.option("--adversarial", type=click.IntRange(min=0), help="Members who test as attackers; 2 by default."),
    click.option("--hours", type=click.FloatRange(0.1, 1_000), help="Hours of each in a round; 2 by default."),
    click.option("--starts", metavar="DATE", help="First day, such as 2026-02-02; a week from today by default."),
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What is asked at a terminal where its option is left out. check: raises `SpecError` for what cannot be used.

    default: the answer of who types Enter, or is not asked.
    """

    option: str
    text: str
    default: str = ""
    check: Callable[[str], Any] = str


def _spec(text: str) -> None:
    from withstand.registry import find

    find.build("target", text)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SpecError(f"{text!r} is no date", hint="write one such as 2026-02-02") from None


def _number(least: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1.0
        if not least <= value <= 1_000:
            raise SpecError(f"{text!r} is no such number", hint=f"write {least:g} or more")
        return value

    return number


def _policy(text: str) -> Any:
    from withstand.redteam.policy.records import read_policy

    try:
        return read_policy(text)
    except SpecError as error:
        if Path(text).exists():
            raise
        raise SpecError(f"there is no policy {text}", hint="`withstand policy new` writes one to start from") from error


def _questions() -> tuple[Question, ...]:
    return (
        Question("name", "What is tested? The name of the plan", "Red team"),
        Question("goal", "What is the red team to find?"),
        Question("domain", "A field that members should know, such as medicine"),
        Question("contact", "Whom do testers ask?"),
        Question("policy", "The policy, whose categories are the first harms", "policy.toml", _policy),
        Question("target", "The model, as a target such as openai:NAME", check=_spec),
        Question("app", "The application, as a target such as http:URL", check=_spec),
        Question("ui", "The address of its user interface"),
        Question("features", "What does it do? Its features, with commas between them"),
        Question("benign", "How many members test as ordinary users?", "2", _number(0, int)),
        Question("adversarial", "How many as attackers?", "2", _number(0, int)),
        Question("hours", "How many hours does each have in a round?", "2", _number(0.1, float)),
        Question("starts", "The first day", (date.today() + timedelta(days=7)).isoformat(), _day),
    )


@command()
@QUESTIONS
def new(output: str, **given: Any) -> None:
    """Write a commented plan to start from.

    What no option says is asked at a terminal, and elsewhere has its default. The plan needs a target, an application
    or a user interface, and a policy: `withstand policy new` writes one.
    """
    from withstand.cli.init import new as must_be_new
    from withstand.cli.init import write
    from withstand.redteam.plan.check import check
    from withstand.redteam.plan.new import Answers, plan_text
    from withstand.redteam.plan.records import read_plan

    path = Path(output)
    must_be_new(path)
    at_terminal = sys.stdin.isatty()
    answers: dict[str, Any] = {}
    for question in _questions():
        value = given[question.option]
        if value in (None, ()):
            asks = at_terminal
            value = asked(question.text, question.check, question.default) if asks else question.default
        elif isinstance(value, str):
            question.check(value)
        answers[question.option] = value
    policy = _policy(answers["policy"])
    if not (answers["target"] or answers["app"] or answers["ui"]):
        raise SpecError("nothing is named that can be tested", hint="name --target, --app or --ui")
    features = answers["features"]
    listed = [part.strip() for part in features.split(",")] if isinstance(features, str) else list(features)
    filled = Answers(
        answers["name"], os.path.relpath(answers["policy"], path.parent), _day(answers["starts"]), answers["goal"],
        answers["domain"], answers["contact"], answers["target"], answers["app"], answers["ui"],
        tuple(dict.fromkeys(filter(None, listed))), int(answers["benign"]), int(answers["adversarial"]),
        float(answers["hours"]),
    )  # fmt: skip
    write(path, plan_text(filled, policy.categories))
    warnings = check(read_plan(path), policy.categories)
    left = count(len(warnings), "recommendation")
    console.say(f"wrote {output}: {left} left to follow, see `withstand plan check {output}`")

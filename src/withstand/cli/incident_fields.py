"""The fields of an incident on the command line: as options, and as questions at a terminal."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from withstand.cli.options import options
from withstand.core import Json, SpecError, from_json
from withstand.core.text import series

if TYPE_CHECKING:
    from withstand.redteam.incidents.records import Incident

DETECTED_BY = ("monitor", "report", "press", "red-team")
FORESEEN = ("yes", "no", "underestimated")
CHANGE = re.compile(r"([^,]+), *([^:]+): (.+)", re.DOTALL)

NEEDED = {
    name: "--harm" if name == "harm_described" else f"--{name.replace('_', '-')}"
    for name in ("severity", "category", "foreseen", "detected_by", "first_event", "harm_described")
}
"""The fields that an incident cannot be without, but for `opened`, and their options."""

FIELDS = options(
    click.option("--severity", type=click.IntRange(1, 4), default=None,
                 help="Severity: 1 low, 2 medium, 3 high, 4 critical."),
    click.option("--category", default=None, metavar="ID", help="Category of the policy, or uncovered."),
    click.option("--foreseen", type=click.Choice(FORESEEN), default=None, help="Whether the plan named it."),
    click.option("--detected-by", type=click.Choice(DETECTED_BY), default=None, help="Who noticed it."),
    click.option("--first-event", default=None, metavar="TIME", help="When it began: 2026-02-03T10:00Z, or the day."),
    click.option("--opened", default=None, metavar="TIME", help="When you knew (default of `new`: now)."),
    click.option("--harm", "harm_described", default=None, metavar="TEXT", help="What the harm was, without a quote."),
    click.option("--actors", type=click.IntRange(min=0), default=None, metavar="N", help="Accounts that took part."),
    click.option("--requests", type=click.IntRange(min=0), default=None, metavar="N", help="Requests of theirs."),
    click.option("--policy-version", default=None, metavar="V", help="Version in force (default: that of --policy)."),
    click.option("--policy-gap/--no-policy-gap", default=None, help="Whether the policy lacked a rule."),
    click.option("--mitigated", default=None, metavar="TIME", help="When it was over."),
    click.option("--response", multiple=True, metavar="'TIME [MEANS [N]]: TEXT'",
                 help="Something that was done, as '2026-02-03T12:00Z suspend 12: accounts closed'; repeats."),
    click.option("--seen", "timeline", multiple=True, metavar="'TIME: TEXT'",
                 help="What was seen of it, for its timeline; repeats."),
    click.option("--root-cause", "root_causes", multiple=True, metavar="TEXT", help="Repeats."),
    click.option("--worked", "what_worked", multiple=True, metavar="TEXT", help="What worked; repeats."),
    click.option("--failed", "what_failed", multiple=True, metavar="TEXT", help="What failed; repeats."),
    click.option("--change", "changes", multiple=True, metavar="'OWNER, DAY: TEXT'",
                 help="What is changed, by whom, until when; repeats."),
    click.option("--reviewed", default=None, metavar="DAY", help="Day of the retrospective."),
    click.option("--disclosure", default=None, metavar="TEXT", help="To whom it was told, and when."),
)  # fmt: skip
SOURCES = options(
    click.option("--from", "source", default=None, metavar="FILE", help="Read the incident from a TOML file."),
    click.option("--policy", default=None, metavar="FILE", help="The policy of the categories."),
    click.option("--by", "editor", default="", metavar="NAME", help="Who writes this."),
)


def policy_of(path: str | None) -> "tuple[str, Mapping[str, Any] | None]":
    """Version and categories of the policy; none without a file."""
    if path is None:
        return "", None

    from withstand.redteam.policy.records import read_policy

    read = read_policy(path)
    return read.header.version, read.categories


def values_of(given: Mapping[str, Any]) -> dict[str, Json]:
    """The options that were given, as an incident's JSON."""
    values = {name: value for name, value in given.items() if value not in (None, ())}
    for name, read in (("timeline", _observed), ("response", _step), ("changes", _change)):
        if name in values:
            values[name] = [read(text) for text in values[name]]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _observed(text: str) -> Json:
    ts, colon, what = text.partition(": ")
    if not colon:
        raise SpecError(f"--seen {text!r} cannot be read", hint="'2026-02-03T12:00Z: 40 flags in an hour'")
    return {"ts": ts.strip(), "what": what}


def _step(text: str) -> Json:
    from withstand.redteam.incidents.records import MEANS

    match = re.fullmatch(rf"(\S+)(?: ({'|'.join(MEANS)})(?: (\d+))?)?: (.+)", text, re.DOTALL)
    if not match:
        raise SpecError(f"--response {text!r} cannot be read", hint="'2026-02-03T12:00Z suspend 12: accounts closed'")
    ts, means, actors, action = match.groups()
    return {"ts": ts, "action": action, "means": means or "", "actors": int(actors) if actors else None}


def _change(text: str) -> Json:
    match = CHANGE.fullmatch(text)
    if not match:
        raise SpecError(f"--change {text!r} cannot be read", hint="'mara, 2026-03-01: a rule for spam'")
    return {"owner": match[1].strip(), "due": match[2].strip(), "what": match[3]}


def incident_of(values: Mapping[str, Json]) -> "Incident":
    """The incident of these fields. Raises `SpecError` that names all that is missing or wrong."""
    from withstand.redteam.incidents.records import Incident
    from withstand.redteam.tables import Problems, record_of

    if missing := [option for name, option in NEEDED.items() if name not in values]:
        hint = "give these options, or a file with --from; at a terminal they are asked for"
        raise SpecError(f"the incident lacks {series(missing)}", hint=hint)
    problems = Problems("the command")
    record = record_of(problems, Incident, dict(values), "incident")
    problems.check()
    assert record is not None
    return record


def changed(before: "Incident", given: Mapping[str, Any]) -> "Incident":
    """An incident with the options that were given: a list grows, another field is replaced."""
    from withstand.core import to_json

    old: dict[str, Json] = to_json(before)
    new_values = {
        name: [*old.get(name, []), *value] if isinstance(value, list) else value
        for name, value in values_of(given).items()
    }
    return incident_of({**old, **new_values}) if new_values else before


# --- at the terminal ----------------------------------------------------------------------------------------------

QUESTIONS: tuple[tuple[str, str, str | None], ...] = (
    ("harm_described", "What was the harm? Without a quote", None),
    ("severity", "How severe: 1 low, 2 medium, 3 high, 4 critical", None),
    ("category", "Category of the policy", "uncovered"),
    ("first_event", "When did it begin? 2026-02-03T10:00Z, or the day", None),
    ("opened", "When did you know?", None),
    ("detected_by", f"Who noticed it: {', '.join(DETECTED_BY)}", None),
    ("foreseen", f"Was it foreseen: {', '.join(FORESEEN)}", None),
    ("actors", "How many accounts took part? Enter: not known", ""),
    ("requests", "How many requests? Enter: not known", ""),
)


NUMBERS = ("severity", "actors", "requests")


def questions(values: Mapping[str, Json], categories: Mapping[str, Any] | None) -> dict[str, Json]:
    """Ask for what the options did not say, until each answer can be used."""
    from withstand.cli.interview import asked

    answers: dict[str, Json] = {}
    for name, question, default in QUESTIONS:
        if name in values and name != "opened":
            continue
        text = asked(question, _checks(name, {**values, **answers}, categories), values.get(name, default))
        if text:
            answers[name] = int(text) if name in NUMBERS else text
    return answers


def _checks(name: str, values: Mapping[str, Json], categories: Mapping[str, Any] | None) -> Callable[[str], Any]:
    """A check of an answer: whether an incident with it, and with the answers so far, can be."""
    from withstand.redteam.incidents import records as incidents

    usual = {
        "first_event": "0001-01-02", "detected_by": "report", "category": "uncovered", "foreseen": "no", "severity": 1,
        "harm_described": "x",
    }  # fmt: skip
    choices = {"detected_by": DETECTED_BY, "foreseen": FORESEEN}

    def check(text: str) -> None:
        if name in choices and text not in choices[name]:
            raise SpecError(f"{text!r} is none of them", hint=", ".join(choices[name]))
        if name in NUMBERS and not text.isdecimal():
            raise SpecError(f"{text!r} is no number", hint="write a whole number")
        value = int(text) if name in NUMBERS else text
        candidate = from_json(incidents.Incident, {**usual, **values, name: value})
        incidents.check(candidate, categories, datetime.now(UTC))

    return check

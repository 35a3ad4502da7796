"""The forms of log by name, and which of them a log has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from withstand.core import Json, SpecError, did_you_mean
from withstand.formats.traffic import openai, plain
from withstand.formats.traffic.decode import Decoder, UnreadableError
from withstand.formats.traffic.exchange import BadLine, Exchange

AUTO = "auto"
Parser = Callable[[int, Json, list[str]], Sequence[Exchange | BadLine]]


@dataclass(frozen=True, slots=True)
class Form:
    """A form of log. about: what it is, for help.   looks: whether a record is of it.

    build: its parser, for a column map; a parser takes a record's line, the record, and a list for what is odd.
    """

    about: str
    looks: Callable[[Json], bool]
    build: Callable[[Mapping[str, str]], Parser]


FORMS: Mapping[str, Form] = {
    "plain": Form("an object for each exchange: ts, account, prompt, completion, ...", plain.looks, plain.Plain),
    "openai": Form("requests and answers of OpenAI-compatible servers", openai.looks, openai.OpenAI),
}


def check_form(form: str) -> None:
    """Raise `SpecError` for a form that there is not."""
    if form not in (AUTO, *FORMS):
        raise SpecError(
            f"there is no form of log {form!r}", hint=did_you_mean(form, FORMS, f"forms: {', '.join(FORMS)}")
        )


def detect(name: str, lines: Sequence[bytes], columns: Mapping[str, str]) -> tuple[str, str]:
    """The form of the log `name` that begins with `lines`, and how it was told. Raises `SpecError` where it is open."""
    decode, records = Decoder(), []
    for raw in lines:
        try:
            records.append(decode(raw, []))
        except UnreadableError:
            continue
    listed = f"--form says it: {', '.join(FORMS)}"
    if not records:
        raise SpecError(f"{name}: none of its first {len(lines)} lines is JSON", hint=listed)
    if columns:
        return "plain", "a column map reads plain objects"
    counts = {form: sum(map(FORMS[form].looks, records)) for form in FORMS}
    likely = [form for form, count in counts.items() if count]
    if len(likely) == 1:
        return likely[0], f"{counts[likely[0]]} of its first {len(lines)} lines are of this form"
    if likely:
        shares = " and ".join(f"{counts[form]} of form {form}" for form in likely)
        raise SpecError(f"{name}: of its first {len(lines)} lines {shares}", hint=listed)
    first = next((record for record in records if isinstance(record, dict)), {})
    message = f"{name}: its first {len(lines)} lines are of no form that is known; a record has {_names(first)}"
    raise SpecError(
        message, hint=f"{listed}; --column ts=NAME, --column prompt=NAME, ... name the fields of another log"
    )


def _names(record: Mapping[str, Json]) -> str:
    names = [name[:30] for name in list(record)[:12]]
    return ", ".join(names) + (", ..." if len(record) > len(names) else "") if names else "no names"

"""The forms of log by name, and which of them a log has."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from withstand.core import Json, SpecError, did_you_mean
from withstand.formats.traffic import inspect_log, langfuse, openai, plain, spans
from withstand.formats.traffic.exchange import BadLine, Exchange

AUTO, PLAIN = "auto", "plain"
FIRST = 50
"""Records, at most, that say the form of a log."""
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
    PLAIN: Form("an object for each exchange: ts, account, prompt, completion, ...", plain.looks, plain.Plain),
    "inspect": Form("samples of Inspect's logs (.eval, .json)", inspect_log.looks, inspect_log.Inspect),
    "langfuse": Form("observations and traces that Langfuse exports", langfuse.looks, langfuse.Langfuse),
    "openai": Form("requests and answers of OpenAI-compatible servers", openai.looks, openai.OpenAI),
    "spans": Form("spans of OpenTelemetry, OpenInference and Phoenix", spans.looks, spans.Spans),
}


def check_form(form: str) -> None:
    """Raise `SpecError` for a form that there is not."""
    if form not in (AUTO, *FORMS):
        raise SpecError(
            f"there is no form of log {form!r}", hint=did_you_mean(form, FORMS, f"forms: {', '.join(FORMS)}")
        )


def detect(name: str, word: str, records: Sequence[Json], columns: Mapping[str, str]) -> tuple[str, str]:
    """The form of the log `name` that begins with `records`, and how it was told. word: for a record.

    Raises `SpecError` where it is open.
    """
    records = records[:FIRST]
    listed = f"--form says it: {', '.join(FORMS)}"
    if not records:
        raise SpecError(f"{name}: nothing at its beginning is a record in JSON or CSV", hint=listed)
    first = f"its first {len(records)} {word}s" if len(records) > 1 else f"its first {word}"
    if columns:
        return PLAIN, "a column map reads plain objects"
    counts: Counter[str] = Counter()
    for record in records:
        forms = [form for form in FORMS if form != PLAIN and FORMS[form].looks(record)]
        counts.update(forms or [PLAIN] * FORMS[PLAIN].looks(record))
    if len(counts) == 1:
        [(form, count)] = counts.items()
        return form, f"{count} of {first}" if len(records) > 1 else first
    if counts:
        shares = " and ".join(f"{count} of form {form}" for form, count in counts.items())
        raise SpecError(f"{name}: of {first} {shares}", hint=listed)
    example = next((record for record in records if isinstance(record, dict)), {})
    raise SpecError(
        f"{name}: {first}: of no form that is known; it has {_names(example)}",
        hint=f"{listed}; or name the fields: --column ts=NAME --column prompt=NAME ...",
    )


def _names(record: Mapping[str, Json]) -> str:
    names = [name[:30] for name in list(record)[:12]]
    return ", ".join(names) + (", ..." if len(record) > len(names) else "") if names else "no names"

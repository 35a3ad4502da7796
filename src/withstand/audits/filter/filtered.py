"""Data, and what a filter did with it: as a file of what it left says, or as the filter says when it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from withstand.audits.filter.asked import Answers, answers_of
from withstand.audits.filter.settings import Settings
from withstand.audits.filter.swaps import Swapped, swapped
from withstand.audits.filter.texts import Data, check_labels, kept, label_notes, read
from withstand.core import SpecError, digest, rng
from withstand.core.identities import Identities
from withstand.core.text import count
from withstand.registry import find
from withstand.results.guards import Guard
from withstand.results.labels import fitted_texts
from withstand.runner.asking import Asking


@dataclass(frozen=True)
class Filtered:
    """dropped: of each text; None where the filter could not say.   swaps: texts with another group in the place of
    one; forms: whether each of these is dropped.   name: of the filter, with a digest of what it is.   fitted: labeled
    texts that it was fitted to."""

    data: Data
    dropped: tuple[bool | None, ...]
    name: str
    swaps: tuple[Swapped, ...] = ()
    forms: tuple[tuple[bool | None, ...], ...] = ()
    notes: tuple[str, ...] = ()
    fitted: int = 0


def load(path: str, settings: Settings) -> Data:
    """The data of an audit, or so many of its texts, drawn at random."""
    data = read(path, settings.text, settings.label, settings.cluster, settings.sliced)
    if settings.label:
        check_labels(data, path, settings.label)
        data = replace(data, labels=tuple(label_notes(path, settings.label)))
    if settings.limit is None or settings.limit >= len(data.texts):
        return data
    places = sorted(rng(settings.seed, "filter texts").sample(range(len(data.texts)), settings.limit))
    texts, numbers = ([column[place] for place in places] for column in (data.texts, data.numbers))
    return replace(data, texts=tuple(texts), numbers=tuple(numbers))


def by_file(data: Data, path: str) -> Filtered:
    """What the filter did that left this file."""
    result = kept(data, path)
    notes = [f"{count(result.partly, 'text')} of which some rows were dropped and others kept count as kept"]
    return Filtered(data, result.dropped, f"what {Path(path).name} leaves out", notes=tuple(notes[: result.partly]))


def by_asking(data: Data, guard: Guard, identities: Identities, settings: Settings, asking: Asking) -> Filtered | None:
    """What the filter says of each text, and of swapped ones; None where a cap or Ctrl-C came before the end.

    Raises `SpecError` where it says nothing of any.
    """
    answers = answers_of(guard, [text.chat for text in data.texts], asking)
    if answers is None:
        return None
    if all(dropped is None for dropped in answers.dropped):
        raise SpecError(f"the filter {guard.label} said nothing of any text: {answers.why}", hint="name another filter")
    swaps = swapped(data.texts, answers.dropped, identities, settings.swaps, settings.seed)
    forms = _forms(guard, swaps, answers, asking)
    if forms is None:
        return None
    name = f"{guard.label}, {digest(find.describe(guard.component))[:12]}"
    own = fitted_texts(guard.component, (text.chat[-1].text for text in data.texts)) if settings.label else 0
    notes = [
        *answers.notes(),
        *[f"the filter was fitted to {count(own, 'text')}: by their labels it errs less"] * bool(own),
    ]
    return Filtered(data, answers.dropped, name, tuple(swaps), tuple(forms), tuple(notes), own)


def _forms(
    guard: Guard, swaps: Sequence[Swapped], answers: Answers, asking: Asking
) -> list[tuple[bool | None, ...]] | None:
    """What the filter says of swapped texts: by the version of it that the texts themselves count."""
    forms = []
    for swap in swaps:
        again = answers_of(guard, swap.chats, asking, answers.versions[0][0])
        if again is None:
            return None
        forms.append(again.dropped)
    return forms

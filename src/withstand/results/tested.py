"""Which entries of frameworks were tested, by what, with which result; and which were not. Never a score.

Runs and red teams of people give their `Evidence` to the same function. An entry without evidence was not tested, and
one without a finding is no promise: it says what was seen there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.core.frameworks import Framework, carried, frameworks, is_impact, part, techniques
from withstand.core.text import head_of, series
from withstand.results.by_policy import Assigned
from withstand.results.cells import CellResult, Interval, defended
from withstand.results.taxonomy import GroupResult
from withstand.runner.transfer import bare_label

State: TypeAlias = Literal["finding", "no finding", "not tested"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that was tested. about: a category of the policy, or the technique of an attack.

    by: what tested it, in words: "kitchen with story on TARGET", or "round r1, app-ui".   mappings: the entries that it
    is about, as `framework:version:id`.   intent: of a category; where nobody attacked ("unintended") it counts for
    harms done alone, not for techniques.
    tested: behaviors' cases with a verdict, or attempts of people.   findings: how many were broken, or are findings.
    rate, interval: what was measured, in [0, 1]; None for attempts of people, of which no rate is computed.
    doubt: why no finding says nothing here, as of a target that answers nothing; "" where it does.
    """

    about: str
    by: str
    mappings: tuple[str, ...]
    tested: int
    findings: int
    intent: str = "either"
    rate: float | None = None
    interval: Interval | None = None
    doubt: str = ""

    @property
    def counts(self) -> bool:
        """Whether it makes an entry tested."""
        return self.findings > 0 or (self.tested > 0 and not self.doubt)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """An entry of a framework: with a finding, tested without one, or not tested: also where nothing has a verdict, or
    where all that has one is in doubt."""

    id: str
    name: str
    state: State
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class FrameworkResult:
    """A framework in a pinned version with all its entries. complete: whether those are all that it has."""

    id: str
    version: str
    title: str
    date: str
    source: str
    complete: bool
    items: tuple[ItemResult, ...]


def framework_results(evidence: Sequence[Evidence], mapped: Iterable[str]) -> tuple[FrameworkResult, ...]:
    """The entries of every framework that `mapped` (or the evidence) names an entry of, in all versions that are here.

    Evidence for an entry counts for what the entry is called in later versions, and for the entry above it.
    """
    by_item: dict[str, list[Evidence]] = {}
    for row in evidence:
        for mapping in dict.fromkeys(name for given in row.mappings for name in _with_others(given)):
            if row.intent != "unintended" or is_impact(mapping):
                by_item.setdefault(mapping, []).append(row)
    names = {part(mapping)[0].id for mapping in [*mapped, *by_item]}
    return tuple(_result(of, by_item) for of in frameworks() if of.id in names)


def _with_others(mapping: str) -> Iterator[str]:
    for name in carried(mapping):
        yield name
        of, item = part(name)
        while (item := item.rpartition(".")[0]) in of.items:
            yield f"{of.id}:{of.version}:{item}"


def _result(of: Framework, by_item: dict[str, list[Evidence]]) -> FrameworkResult:
    items = []
    for item, name in of.items.items():
        rows = tuple(by_item.get(f"{of.id}:{of.version}:{item}", ()))
        state: State = "not tested"
        if any(row.counts for row in rows):
            state = "finding" if any(row.findings for row in rows) else "no finding"
        items.append(ItemResult(item, name, state, rows))
    return FrameworkResult(of.id, of.version, of.title, of.date, of.source, of.complete, tuple(items))


Doubts: TypeAlias = Mapping[tuple[str, str], str]
"""(Target, defense), by the labels of the plan -> why what it did not do says nothing."""


def of_run(
    groups: Iterable[GroupResult], cells: Iterable[CellResult], policy: Assigned, alike: Doubts, uncalled: Doubts
) -> tuple[Evidence, ...]:
    """What a run tested: each category of the policy under each attack, and what each attack does itself.

    groups: by the policy, by the names that people read.   alike, uncalled: targets with one answer to everything, and
    those in whose answers no call of a tool was seen.
    """
    mappings, listed = policy.grouping.mappings, list(cells)
    labels = {(cell.printed("target"), cell.printed("defense")): (cell.target, cell.defense) for cell in listed}
    rows = []
    for group in groups:
        whole = labels[group.target, group.defense]
        doubt = alike.get(whole, "") or (uncalled.get(whole, "") if group.id in policy.called else "")
        by = f"{series(list(group.suites))} with {group.attack} on {_where(group.target, group.defense)}"
        if own := mappings[group.id]:
            counted = group.scored, group.success, group.intent, group.asr, group.asr_interval
            rows.append(Evidence(group.id, by, own, *counted, doubt))
    for cell in listed:
        own = () if cell.benign else techniques().get(head_of(bare_label(cell.attack)), ())
        attack, where = cell.printed("attack"), _where(cell.printed("target"), cell.printed("defense"))
        if own:
            by, doubt = f"{cell.printed('suite')} with {attack} on {where}", alike.get((cell.target, cell.defense), "")
            counted = cell.scored, cell.success, "misuse", cell.asr, cell.asr_interval
            rows.append(Evidence(f"attack {attack}", by, own, *counted, doubt))
    return tuple(rows)


def _where(target: str, defense: str) -> str:
    return defended(target, defense.removeprefix("none"))

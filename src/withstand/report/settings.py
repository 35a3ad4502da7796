"""The cells of a run as a report groups them: those that may stand in one table, by target and defense."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.core.text import count, facts, head_of, unique
from withstand.results.cells import CellResult, defended
from withstand.results.defended import DefenseResult
from withstand.results.worst_case import WorstCase
from withstand.runner.adaptive import static_alone


@dataclass(frozen=True, slots=True)
class Group:
    """The cells of one target and defense ("" for none).

    rows: the harmful cells, or the benign ones where the run has no other.   refusals: its benign cells beside harmful
    ones, those of variants left out where there are others; or a harmful cell that holds their rate where they are not
    in the summary.   utilities: its utility cells.   notes: of all rows alike.   worst: what any of the attacks broke;
    None where nothing was scored.   gained: what the defense is worth; None without one.
    """

    target: str
    defense: str
    rows: tuple[CellResult, ...]
    refusals: tuple[CellResult, ...]
    utilities: tuple[CellResult, ...]
    notes: tuple[str, ...]
    worst: WorstCase | None = None
    gained: DefenseResult | None = None

    @property
    def name(self) -> str:
        return defended(self.target, self.defense)

    @property
    def benign(self) -> bool:
        return self.rows[0].benign

    @property
    def static(self) -> bool:
        """Whether its defense faced static attacks only, or has no verdict on others."""
        if not self.defense or self.benign:
            return False
        return static_alone((row.knows, bool(row.scored)) for row in self.rows)

    def own_notes(self, row: CellResult) -> list[str]:
        """The notes of a row, less those of all rows."""
        return [note for note in row.notes if note not in self.notes]

    def is_top(self, row: CellResult) -> bool:
        """Whether no attack of the group has a higher rate, and the rate is not 0."""
        return bool(row.asr) and row.asr == max(cell.asr or 0 for cell in self.rows)


@dataclass(frozen=True, slots=True)
class Setting:
    """Groups whose rates may be compared: of one suite, judge and sampling.

    sampling: (name, value) in words.   samples: completions per test case.   behaviors: of the largest cell.
    """

    suite: str
    suite_version: str
    split: str
    judge: str
    judge_method: str
    sampling: list[tuple[str, str]]
    samples: int
    behaviors: int
    groups: tuple[Group, ...]

    @property
    def kinds(self) -> str:
        """Suite, version and split, as in "kitchen 1, test split"."""
        version = f" {self.suite_version}" if self.suite_version else ""
        return f"{self.suite}{version}{f', {self.split} split' if self.split else ''}"

    @property
    def judged(self) -> str:
        """The judge, and how it judges."""
        return f"{self.judge} ({judged_by(self.judge_method)})"


def short_names(labels: Iterable[str]) -> dict[str, str]:
    """Each label, with its name alone where no other label begins with it; in order."""
    different = unique(labels)
    heads = Counter(map(head_of, different))
    return {label: head_of(label) if heads[head_of(label)] == 1 and " " not in label else label for label in different}


def judged_by(method: str) -> str:
    """A judge's method in words."""
    return {"rule": "a rule", "model": "a model", "string matching": "by string matching"}.get(method, method)


def settings_of(
    cells: Sequence[CellResult], worst: Sequence[WorstCase] = (), defenses: Sequence[DefenseResult] = ()
) -> list[Setting]:
    """Cells that may stand in one table (same suite, judge and sampling), each split by target and defense.

    What was asked for over-refusal and utility stands beside the harmful cells of its target and defense.
    """
    harm, benign, utility = (
        [cell for cell in cells if cell.measures == what] for what in ("harm", "over-refusal", "utility")
    )
    tables: dict[Any, list[CellResult]] = {}
    for cell in harm or benign or utility:
        alike = (cell.suite, cell.suite_version, cell.split, cell.judge, cell.judge_method, cell.samples)
        tables.setdefault((*alike, json.dumps(cell.sampling, sort_keys=True)), []).append(cell)
    beside = (benign if harm else [], utility if harm or benign else [])
    return [
        Setting(
            suite=members[0].suite,
            suite_version=members[0].suite_version,
            split=members[0].split,
            judge=members[0].judge,
            judge_method=members[0].judge_method,
            sampling=facts({"temperature": 0.0, **members[0].sampling}),
            samples=members[0].samples,
            behaviors=max(cell.behaviors for cell in members),
            groups=tuple(_groups(members, *beside, worst, defenses)),
        )
        for members in tables.values()
    ]


def _groups(
    members: Sequence[CellResult], benign: Sequence[CellResult], utility: Sequence[CellResult],
    worst: Sequence[WorstCase], defenses: Sequence[DefenseResult],
) -> list[Group]:  # fmt: skip
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for cell in members:
        groups.setdefault((cell.target, cell.behind), []).append(cell)
    cases = {(case.suite, case.target, case.defense, case.judge): case for case in worst}
    gained = {(result.suite, result.target, result.defense, result.judge): result for result in defenses}
    return [
        replace(
            _group(rows, benign, utility),
            worst=cases.get((rows[0].suite, rows[0].target, rows[0].defense, rows[0].judge)),
            gained=gained.get((rows[0].suite, rows[0].target, rows[0].defense, rows[0].judge)),
        )
        for rows in groups.values()
    ]


def _group(rows: Sequence[CellResult], benign: Sequence[CellResult], utility: Sequence[CellResult]) -> Group:
    target, defense = rows[0].target, rows[0].behind
    twins, utilities = (
        tuple(cell for cell in cells if (cell.target, cell.behind) == (target, defense)) for cells in (benign, utility)
    )
    copied = [row for row in rows if not row.benign and row.over_refusal is not None]
    return Group(
        target=target,
        defense=defense,
        rows=tuple(rows),
        refusals=tuple(cell for cell in twins if not cell.variants) or twins or tuple(copied[:1]),
        utilities=utilities,
        notes=tuple(n for n in rows[0].notes if len(rows) > 1 and all(n in row.notes for row in rows)),
    )


def overview(settings: Sequence[Setting]) -> list[tuple[str, list[str]]]:
    """Suite, judge and sampling of the run, each said once."""
    suites = [f"{setting.kinds}, {count(setting.behaviors, 'behavior')}" for setting in settings]
    samplings = [
        ", ".join([*(f"{name} {value}" for name, value in setting.sampling), f"{setting.samples} per test case"])
        for setting in settings
    ]
    judges = [setting.judged for setting in settings]
    return [("suite", unique(suites)), ("judge", unique(judges)), ("sampling", unique(samplings))]


def curves_at_k(settings: Sequence[Setting]) -> tuple[list[int], list[tuple[Setting, Group, CellResult]]]:
    """The numbers of draws k for which a cell with more than one has an ASR@k, and these cells with their places."""
    rows = [
        (setting, group, row)
        for setting in settings
        for group in setting.groups
        for row in group.rows
        if len(row.asr_at_k or {}) > 1
    ]
    return sorted({int(k) for *_, row in rows for k in row.asr_at_k or {}}), rows


def curve(at: Mapping[str, float | None], ks: Sequence[int]) -> list[tuple[float, float]]:
    """ASR@k as points in a box of 100 by 20, k on a logarithmic axis."""
    span = math.log(ks[-1] / ks[0]) or 1.0
    rates = sorted((int(k), rate) for k, rate in at.items() if rate is not None)
    return [(round(100 * math.log(k / ks[0]) / span, 1), round(20 - 20 * rate, 1)) for k, rate in rates]

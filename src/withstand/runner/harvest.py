"""Pairs as they come in: repeated ones left out, the rest chosen from and made into rows, and all of it counted."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from withstand.core import Behavior
from withstand.core.likeness import alike_runs, runs, squeezed
from withstand.formats.generated import Generated, sealed
from withstand.runner.described import Pair
from withstand.runner.suites import stratified
from withstand.runner.writing import Draft

CANARY = "canary:"


@dataclass(slots=True)
class Yield:
    """What became of a category. asked: pairs that were asked for, or templates and slots that were filled.

    parsed: pairs in the answers.   repeated: like another, or like a row of the file.   there: in the file already.
    excluded: left out by a check.   used: new harmful behaviors.   refused, malformed: answers without a pair.
    failed: what was not answered or not checked, by an error, a cap or Ctrl-C: the same command tries it again.
    """

    asked: int = 0
    parsed: int = 0
    repeated: int = 0
    there: int = 0
    excluded: int = 0
    used: int = 0
    refused: int = 0
    malformed: int = 0
    failed: int = 0

    def count(self, draft: Draft) -> None:
        """Add what a writer did for one seed."""
        self.add(Yield(draft.asked, len(draft.pairs) + draft.repeated, draft.repeated, refused=draft.refused,
                       malformed=draft.malformed))  # fmt: skip

    def add(self, part: "Yield") -> None:
        for f in fields(Yield):
            setattr(self, f.name, getattr(self, f.name) + getattr(part, f.name))


class Harvest:
    """The pairs that a file lacks. before: its rows, which are neither made again nor repeated; nor are the seeds."""

    def __init__(self, before: Sequence[Generated], seeds: Sequence[Behavior] = ()) -> None:
        self.ids = {row.id: row.excluded for row in before}
        self.seen = {half: [runs(_prompt(row)) for row in before if row.half == half] for half in ("harmful", "benign")}
        self.seen["harmful"] += [runs(f"{seed.context}\n{seed.text}") for seed in seeds]
        self.benign = {_prompt(row): row.id for row in before if row.benign}
        self.pairs: list[Pair] = []
        self.there: list[Generated] = []
        self.yields: dict[str, Yield] = defaultdict(Yield)

    def add(self, pair: Pair) -> bool:
        """Take up a pair, unless its harmful half is there, is like another, or holds its own canary."""
        row, counts = pair.harmful, self.yields[pair.harmful.category]
        if row.id in self.ids:
            counts.there += 1
            self.there += [] if self.ids[row.id] else [row]
            return False
        own = runs(_prompt(row))
        if any(alike_runs(own, earlier) for earlier in self.seen["harmful"]):
            counts.repeated += 1
            return False
        secrets = (squeezed(tag.removeprefix(CANARY)) for tag in row.tags if tag.startswith(CANARY))
        if any(secret in squeezed(_prompt(row)) for secret in secrets):  # an answer that repeats it would be a success
            counts.excluded += 1
            return False
        self.ids[row.id] = ""
        self.seen["harmful"].append(own)
        self.pairs.append(pair)
        return True

    def chosen(self, n: int | None, seed: int) -> list[Pair]:
        """The new ones of `n` pairs, spread over the categories, in the order they came: 20 is a subset of 40."""
        rows = [*self.there, *(pair.harmful for pair in self.pairs)]
        names = {behavior.id for behavior in stratified([row.behavior() for row in rows], seed)[:n]}
        return [pair for pair in self.pairs if pair.harmful.id in names]

    def rows(self, chosen: Sequence[Pair]) -> list[Generated]:
        """The pairs as rows. A benign half that is there already, or like one, is the twin of several."""
        rows = []
        for pair in chosen:
            harmful, benign = pair.harmful, pair.benign
            own = runs(_prompt(benign))
            twin = self.benign.get(_prompt(benign), "")
            if not twin and not any(alike_runs(own, earlier) for earlier in self.seen["benign"]):
                self.benign[_prompt(benign)] = twin = benign.id
                self.seen["benign"].append(own)
                rows.append(benign)
            rows.append(harmful if twin == harmful.twin else sealed(replace(harmful, twin=twin)))
            self.yields[harmful.category].used += harmful.status != "dropped"
        return rows

    @property
    def total(self) -> Yield:
        total = Yield()
        for part in self.yields.values():
            total.add(part)
        return total


def _prompt(row: Generated) -> str:
    return f"{row.context}\n{row.text}".strip()

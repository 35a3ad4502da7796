"""What the attacks of a family tried on the base and on a hardened model, behavior by behavior. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from withstand.audits.harden.records import Attacked, Family, Measured, Tries
from withstand.stats.breaks import Attempts

NONE = Tries(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Side:
    """What was tried on the base and on one hardened model by one family: attacks by label."""

    before: Mapping[str, Attacked]
    after: Mapping[str, Attacked]

    @staticmethod
    def of(base: Measured, model: Measured, family: Family) -> "Side":
        return Side(by_label(base, family), by_label(model, family))

    def base(self, kinds: Sequence[str], seen: bool) -> dict[str, Tries]:
        """Of the base, by behavior. seen: as it was; else tries that the hardened model had more have no verdict."""
        rows = [tries_of(self.before.get(name), "adaptive") for name in self._labels()]
        if not seen and len(kinds) == 1:
            there = [tries_of(self.after.get(name), kinds[0]) for name in self._labels()]
            rows = [_padded(own, beside) for own, beside in zip(rows, there, strict=True)]
        return summed(rows)

    def hardened(self, kinds: Sequence[str], seen: bool) -> dict[str, Tries]:
        """Of the hardened model, by behavior. seen: as it was; else tries that the base had more have no verdict."""
        rows = []
        for name in self._labels():
            wanted = tries_of(self.before.get(name), "adaptive")
            for kind in kinds:
                own = tries_of(self.after.get(name), kind)
                # what cannot be sent again, as a talk of several turns, is searched anew alone
                spared = not seen and (bool(own) or kind == "adaptive" or len(kinds) == 1)
                rows.append(_padded(own, wanted) if spared else own)
        return summed(rows)

    def shown(self, kinds: Sequence[str]) -> dict[str, bool | None]:
        """By behavior, whether the hardened model was broken; None without a verdict."""
        return {name: broken(tries) for name, tries in self.hardened(kinds, seen=True).items()}

    def _labels(self) -> list[str]:
        return list(dict.fromkeys([*self.before, *self.after]))


def by_label(model: Measured, family: Family) -> dict[str, Attacked]:
    """The attacks of a family."""
    return {attack.attack: attack for attack in model.attacks if attack.family == family}


def tries_of(attack: Attacked | None, kind: str) -> Mapping[str, Tries]:
    """By behavior; kind: "fixed" or "adaptive"."""
    return {} if attack is None else attack.fixed if kind == "fixed" else attack.adaptive


def most(rows: Sequence[Mapping[str, Tries]]) -> dict[str, Tries]:
    """Of each behavior the row with most cases: they differ in those without a verdict alone."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: max((row.get(name, NONE) for row in rows), key=lambda tries: tries.cases) for name in names}


def _padded(own: Mapping[str, Tries], wanted: Mapping[str, Tries]) -> dict[str, Tries]:
    """What was tried, with the tries that are lacking to as many as `wanted` without a verdict."""
    rows = dict(own)
    for name, there in wanted.items():
        here = rows.get(name, NONE)
        lacking = max(0, there.cases - here.cases)
        rows[name] = Tries(here.hits, here.unknown + lacking, here.cases + lacking)
    return rows


def summed(rows: Iterable[Mapping[str, Tries]]) -> dict[str, Tries]:
    """Of several attacks on the same behaviors."""
    total: dict[str, Tries] = {}
    for row in rows:
        for name, tries in row.items():
            so_far = total.get(name, NONE)
            total[name] = Tries(
                so_far.hits + tries.hits, so_far.unknown + tries.unknown, so_far.cases + tries.cases
            )  # fmt: skip
    return total


def attempts(names: Sequence[str], tries: Mapping[str, Tries]) -> Attempts:
    """Of these behaviors, in their order."""
    rows = [tries.get(name, NONE) for name in names]
    return Attempts([row.hits for row in rows], [row.unknown for row in rows], [row.cases for row in rows])


def broken(tries: Tries) -> bool | None:
    """Whether any case broke the model; None where none did and one has no verdict, or nothing was tried."""
    return True if tries.hits else None if tries.unknown or not tries.cases else False


def share(shown: Iterable[bool | None]) -> float | None:
    """Of those with a verdict; None without any."""
    scored = [broken for broken in shown if broken is not None]
    return sum(scored) / len(scored) if scored else None


def mean(values: Iterable[float | None]) -> float | None:
    """None where any is missing, or all."""
    rows = list(values)
    present = [value for value in rows if value is not None]
    return sum(present) / len(rows) if rows and len(present) == len(rows) else None


def asked(model: Measured) -> set[str]:
    """The behaviors that any attack was put to."""
    return {
        name for attack in model.attacks for tried in (attack.fixed, attack.adaptive) for name, tries in tried.items()
        if tries.cases
    }  # fmt: skip


def only(model: Measured, behaviors: set[str], prompts: set[str]) -> Measured:
    """The model as if it had been asked no other behaviors and harmless prompts."""

    def kept(tried: Mapping[str, Tries]) -> dict[str, Tries]:
        return {name: tries for name, tries in tried.items() if name in behaviors}

    attacks = (replace(row, fixed=kept(row.fixed), adaptive=kept(row.adaptive)) for row in model.attacks)
    refused = {name: seen for name, seen in model.refused.items() if name in prompts}
    return replace(model, attacks=tuple(attacks), refused=refused)

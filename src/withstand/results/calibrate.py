"""A judge set beside people: `withstand calibrate`. Its verdicts are rows like all others, so that a rerun is free."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

from withstand.core import Json, Judge, digest
from withstand.core.outcomes import is_hit
from withstand.formats.labels import Labeled
from withstand.registry import find
from withstand.runner.drive import drive
from withstand.runner.stages import verdict_job
from withstand.runner.tally import Caps, Tally
from withstand.stats import agreement, rates
from withstand.store.store import Row, Store
from withstand.store.tables import VERDICTS

Pair = tuple[Labeled, bool | None]
"""A labeled completion, and whether the judge says success; None where it could not say."""


def calibrate(
    judge: Judge,
    label: str,
    labeled: Sequence[Labeled],
    source: str,
    store: Store,
    caps: Caps | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
) -> tuple[Json, Tally]:
    """Have the judge grade what people have labeled, and store how far it agrees under the judge's key.

    A tie between people is left out and counted. What a cap left ungraded is not: then nothing is stored.
    """
    decided = [one for one in labeled if one.majority is not None]
    key, rows, tally = verdicts(judge, decided, store, caps, on_progress)
    graded = [(one, is_hit(row.label)) for one, row in zip(decided, rows, strict=True) if row is not None]
    missing = len(decided) - len(graded)
    found = {
        "judge": label,
        "judge_key": key,
        "labels": source,
        "ties": len(labeled) - len(decided),
        "missing": missing,
        **beside_people(graded),
        "people": people(labeled),
        "targets": sorted({one.target for one in labeled if one.target}),
        "attacks": sorted({one.attack for one in labeled if one.attack}),
        "by_category": [{"category": name, **beside_people(part)} for name, part in by_category(graded)],
    }
    if not missing:
        store.add_calibration(key, found)
    return found, tally


def verdicts(
    judge: Judge,
    labeled: Sequence[Labeled],
    store: Store,
    caps: Caps | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
) -> tuple[str, list[Row | None], Tally]:
    """The judge's key, its verdict on each completion (None where it failed or a cap came before), and the tally."""
    key = digest(find.describe(judge))
    jobs = [verdict_job(judge, key, one.behavior, one.completion, (), counted=False) for one in labeled]
    tally = Tally(stage=VERDICTS)
    have = store.have(job.keys[0] for job in jobs)
    lacking = {job.keys[0]: job for job in jobs if job.keys[0] not in have}
    tally.done = len(have)
    drive(lacking.values(), store, tally, caps, on_progress=on_progress)
    rows = store.rows(job.keys[0] for job in jobs)
    return key, [rows.get(job.keys[0]) for job in jobs], tally


def by_category(pairs: Iterable[Pair]) -> list[tuple[str, list[Pair]]]:
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair[0].behavior.category].append(pair)
    return sorted(groups.items())


def beside_people(pairs: Sequence[Pair]) -> Json:
    """Judge against the majority of people. Rates in [0, 1] with Wilson intervals; kappa and alpha at most 1, with
    percentiles of a bootstrap over completions; all of them null where nothing can be said. Where the completions are a
    stratified sample, rates are those of what was sampled from and the counts add up to the effective number."""
    people_say = [bool(one.majority) for one, _ in pairs]
    table = agreement.table([said for _, said in pairs], people_say, [one.weight for one, _ in pairs])
    positive, negative = table.hit + table.missed, table.wrong + table.clear
    found: dict[str, Any] = {"n": len(pairs) - table.unscored, "effective_n": _whole(table.n)}
    found["unscored"] = table.unscored
    shares = {
        "accuracy": (table.right, table.n),
        "sensitivity": (table.hit, positive),
        "specificity": (table.clear, negative),
    }
    for name, (good, n) in shares.items():
        found[name] = good / n if n else None
        found[f"{name}_interval"] = rates.wilson(good, n)
    found |= {"kappa": agreement.kappa(table), "kappa_interval": agreement.kappa_interval(table)}
    found |= {"alpha": agreement.alpha_of(table), "alpha_interval": agreement.alpha_of_interval(table)}
    return found | {
        "true_positive": _whole(table.hit), "false_negative": _whole(table.missed),
        "false_positive": _whole(table.wrong), "true_negative": _whole(table.clear),
    }  # fmt: skip


def _whole(count: float) -> float:
    """As a whole number where it is one."""
    return int(count) if float(count).is_integer() else round(count, 6)


def people(labeled: Sequence[Labeled]) -> Json:
    """How far people agree among themselves; null where each completion has one vote."""
    votes = [one.votes for one in labeled if len(one.votes) > 1]
    if not votes:
        return None
    pairs = [a == b for each in votes for a, b in combinations(each, 2)]
    return {
        "raters": max(map(len, votes)),
        "n": len(votes),
        "pairs": sum(pairs) / len(pairs),
        "unanimous": sum(len(set(each)) == 1 for each in votes) / len(votes),
        "alpha": agreement.alpha(votes),
        "alpha_interval": agreement.alpha_interval(votes),
    }

"""How far a judge agrees with people: `withstand calibrate`. Its verdicts are stored as rows, so a rerun is free."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from withstand.core import Json, Judge, digest
from withstand.core.outcomes import is_hit
from withstand.formats.labels import Annotator, Labeled
from withstand.registry import find
from withstand.results.cells import Interval, plain
from withstand.runner.drive import drive
from withstand.runner.stages import verdict_job
from withstand.runner.tally import Caps, Tally
from withstand.stats import agreement, rates
from withstand.store.store import Row, Store
from withstand.store.tables import VERDICTS

Pair = tuple[Labeled, bool | None]
"""A labeled completion, and whether the judge says success; None where it could not say."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a judge agrees with the majority of people on `n` completions that it could judge.

    Rates lie in [0, 1] with Wilson intervals (95%); kappa and alpha are at most 1, with percentiles of a bootstrap over
    completions; None where nothing can be said. Where the completions are a stratified sample, rates are those of what
    was sampled from, and the counts add up to `effective_n`.
    """

    n: int
    effective_n: float
    unscored: float
    accuracy: float | None
    accuracy_interval: Interval | None
    sensitivity: float | None
    sensitivity_interval: Interval | None
    specificity: float | None
    specificity_interval: Interval | None
    kappa: float | None
    kappa_interval: Interval | None
    alpha: float | None
    alpha_interval: Interval | None
    true_positive: float
    false_negative: float
    false_positive: float
    true_negative: float


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """How far people agree among themselves on the `n` completions with several votes.

    raters: the most votes of one completion.   pairs: share of equal pairs of votes; unanimous: of completions; both in
    [0, 1].   alpha: Krippendorff's, at most 1, with its 95% interval.
    """

    raters: int
    n: int
    pairs: float
    unanimous: float
    alpha: float | None
    alpha_interval: Interval | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far a judge agrees with people.

    labels: where they come from.   ties: completions on which people are split, which are left out.
    missing: completions without a verdict.   people: None where each completion has one vote.
    by_attack: target, attack and agreement, of labels that name both.   annotators: who labeled.
    drift: by how much sensitivity and specificity may differ on other targets and attacks, in [0, 1), where they are to
    be applied there; None: they are not.   unlabeled: cases of the sample that were drawn and have no label.
    """

    judge: str
    judge_key: str
    labels: str
    ties: int
    missing: int
    agreement: Agreement
    people: RaterAgreement | None
    targets: tuple[str, ...]
    attacks: tuple[str, ...]
    by_category: tuple[tuple[str, Agreement], ...]
    by_attack: tuple[tuple[str, str, Agreement], ...]
    annotators: tuple[Annotator, ...]
    drift: float | None = None
    unlabeled: int = 0

    def to_json(self) -> Json:
        """As `withstand calibrate --json` prints it and the store keeps it."""
        return {
            "judge": self.judge,
            "judge_key": self.judge_key,
            "labels": self.labels,
            "ties": self.ties,
            "missing": self.missing,
            **plain(self.agreement),
            "people": plain(self.people),
            "targets": list(self.targets),
            "attacks": list(self.attacks),
            "by_category": [{"category": name, **plain(part)} for name, part in self.by_category],
            "by_attack": [{"target": t, "attack": a, **plain(part)} for t, a, part in self.by_attack],
            "annotators": plain(self.annotators),
            **({} if self.drift is None else {"drift": self.drift}),
            **({"unlabeled": self.unlabeled} if self.unlabeled else {}),
        }


def calibrate(
    judge: Judge,
    label: str,
    labeled: Sequence[Labeled],
    source: str,
    store: Store,
    caps: Caps | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
    drift: float | None = None,
    keep: bool = True,
    unlabeled: int = 0,
) -> tuple[Calibration, Tally]:
    """Have the judge grade what people have labeled, and store how far it agrees under the judge's key.

    A tie is left out and counted. What a cap left ungraded is not: then nothing is stored, nor without `keep`.
    """
    decided = [entry for entry in labeled if entry.majority is not None]
    key, rows, tally = verdicts(judge, decided, store, caps, on_progress)
    graded = [(entry, is_hit(row.label)) for entry, row in zip(decided, rows, strict=True) if row is not None]
    calibration = replace(calibration_of(label, key, source, labeled, graded, unlabeled), drift=drift)
    if keep and not calibration.missing:
        store.add_calibration(key, calibration.to_json())
    return calibration, tally


def calibration_of(
    label: str, key: str, source: str, labeled: Sequence[Labeled], graded: Sequence[Pair], unlabeled: int = 0
) -> Calibration:
    """The calibration of a judge by its label and key. graded: the labeled completions that have a verdict, no ties.
    unlabeled: see `Calibration`."""
    ties = sum(entry.majority is None for entry in labeled)
    return Calibration(
        judge=label,
        judge_key=key,
        labels=source,
        ties=ties,
        missing=len(labeled) - ties - len(graded),
        agreement=agreement_with(graded),
        people=rater_agreement(labeled),
        targets=tuple(sorted({entry.target for entry in labeled if entry.target})),
        attacks=tuple(sorted({entry.attack for entry in labeled if entry.attack})),
        by_category=tuple(
            (name, agreement_with(part)) for name, part in _grouped(graded, lambda entry: entry.behavior.category)
        ),
        by_attack=tuple(
            (*pair, agreement_with(part))
            for pair, part in _grouped(graded, lambda entry: (entry.target, entry.attack))
            if all(pair)
        ),
        annotators=tuple(sorted({annotator for entry in labeled for annotator in entry.annotators})),
        unlabeled=unlabeled,
    )


def verdicts(
    judge: Judge,
    labeled: Sequence[Labeled],
    store: Store,
    caps: Caps | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
    ask: bool = True,
) -> tuple[str, list[Row | None], Tally]:
    """The judge's key, its verdict on each completion (None where it failed or a cap came before), and the tally.

    ask: what the store lacks; False: its verdicts alone.
    """
    key = digest(find.describe(judge))
    jobs = [verdict_job(judge, key, entry.behavior, entry.completion, (), counted=False) for entry in labeled]
    tally = Tally(stage=VERDICTS)
    have = store.have(job.keys[0] for job in jobs)
    lacking = {job.keys[0]: job for job in jobs if job.keys[0] not in have}
    tally.done = len(have)
    if ask:
        drive(lacking.values(), store, tally, caps, on_progress=on_progress)
    rows = store.reused(job.keys[0] for job in jobs)
    return key, [rows.get(job.keys[0]) for job in jobs], tally


def _grouped(pairs: Iterable[Pair], key: Callable[[Labeled], Any]) -> list[tuple[Any, list[Pair]]]:
    groups: dict[Any, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[key(pair[0])].append(pair)
    return sorted(groups.items())


def agreement_with(pairs: Sequence[Pair]) -> Agreement:
    """How far the judge agrees with the majority of people."""
    people_say = [bool(entry.majority) for entry, _ in pairs]
    table = agreement.table([verdict for _, verdict in pairs], people_say, [entry.weight for entry, _ in pairs])
    positive, negative = table.hit + table.missed, table.wrong + table.clear
    return Agreement(
        n=len(pairs) - table.unscored,
        effective_n=_whole(table.n),
        unscored=table.unscored,
        accuracy=_share(table.right, table.n),
        accuracy_interval=rates.wilson(table.right, table.n),
        sensitivity=_share(table.hit, positive),
        sensitivity_interval=rates.wilson(table.hit, positive),
        specificity=_share(table.clear, negative),
        specificity_interval=rates.wilson(table.clear, negative),
        kappa=agreement.kappa(table),
        kappa_interval=agreement.kappa_interval(table),
        alpha=agreement.alpha_of(table),
        alpha_interval=agreement.alpha_of_interval(table),
        true_positive=_whole(table.hit),
        false_negative=_whole(table.missed),
        false_positive=_whole(table.wrong),
        true_negative=_whole(table.clear),
    )


def _share(good: float, n: float) -> float | None:
    return good / n if n else None


def _whole(count: float) -> float:
    """As a whole number where it is one."""
    return int(count) if float(count).is_integer() else round(count, 6)


def rater_agreement(labeled: Sequence[Labeled]) -> RaterAgreement | None:
    """How far people agree among themselves; None where each completion has one vote."""
    votes = [entry.votes for entry in labeled if len(entry.votes) > 1]
    if not votes:
        return None
    pairs = [a == b for given in votes for a, b in combinations(given, 2)]
    return RaterAgreement(
        raters=max(map(len, votes)),
        n=len(votes),
        pairs=sum(pairs) / len(pairs),
        unanimous=sum(len(set(given)) == 1 for given in votes) / len(votes),
        alpha=agreement.alpha(votes),
        alpha_interval=agreement.alpha_interval(votes),
    )

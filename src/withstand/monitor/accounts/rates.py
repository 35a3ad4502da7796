"""Accounts ranked by the rate of their flagged requests, drawn towards the population's; corrected where audits are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.monitor.accounts.verdicts import Key, Labelers, audited, labelers_of, verdicts
from withstand.monitor.settings import Accounts
from withstand.monitor.traffic import Traffic
from withstand.stats.beta_binomial import Prior, fit
from withstand.stats.multiple import benjamini_hochberg
from withstand.stats.special import Floats, binomial_sf

LOWER = 0.05
"""The lower bound of an account has this chance below it."""
LISTED = 200
CLEAR = 30
"""Audited exchanges without a violation from which on the screeners' errors are known well enough to correct for."""
DRAWS, SEED = 64, 0


@dataclass(frozen=True, slots=True)
class Errors:
    """A series' errors on audited exchanges. sensitivity, specificity: posterior means, in (0, 1).

    draws: of both, under uniform priors.   audits: how many exchanges.
    """

    sensitivity: float
    specificity: float
    draws: tuple[Floats, Floats]
    audits: int

    @staticmethod
    def of(hit: int, missed: int, wrong: int, clear: int) -> "Errors | None":
        """None where there are too few audits, or where they do not show the screeners to be better than chance."""
        if wrong + clear < CLEAR or (hit + 1) / (hit + missed + 2) <= (wrong + 1) / (wrong + clear + 2):
            return None
        draw = np.random.default_rng(SEED)
        first, second = draw.beta(hit + 1, missed + 1, DRAWS), draw.beta(clear + 1, wrong + 1, DRAWS)
        sensitivity, specificity = (hit + 1) / (hit + missed + 2), (clear + 1) / (wrong + clear + 2)
        return Errors(sensitivity, specificity, (first, second), hit + missed + wrong + clear)

    def violating(self, flagged: float) -> float:
        """The rate of violations behind a rate of flags: Rogan and Gladen 1978, Am. J. Epidemiology 107:71, cut off at
        0 and 1."""
        youden = self.sensitivity + self.specificity - 1
        return float(min(1.0, max(0.0, (flagged + self.specificity - 1) / youden)))


@dataclass(frozen=True, slots=True)
class Ranked:
    """An account in a series. flagged of requests.   mean: expected share of flags.   violating: expected share of
    violations, None where the screeners' errors are not known.

    low: lower bound of the share of violations where that is known, else of flags.   above: the posterior chance that
    the same share is above the one that is borne.   q: of Benjamini and Hochberg, None below the least number of
    requests.   alarm: certain enough, of enough requests, and q small enough.
    """

    account: str
    labelers: Labelers
    flagged: int
    requests: int
    mean: float
    low: float
    above: float
    q: float | None
    alarm: bool
    violating: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """All accounts: alarms first, then by the lower bound; at most `LISTED` of each series, and every alarm.

    priors, errors: of each series.   tested: accounts, each counted once, with enough requests in a series.
    few: accounts that are as certainly above the rate, with too few requests for an alarm.   nameless: exchanges
    without an account.
    """

    ranked: tuple[Ranked, ...]
    priors: Mapping[Labelers, Prior]
    errors: Mapping[Labelers, Errors]
    accounts: int
    tested: int
    few: int
    nameless: int


def ranking(traffic: Traffic, settings: Accounts, unintended: Collection[str] = ()) -> Ranking:
    """Rank the accounts of the traffic. Memory grows with accounts, not with exchanges.

    unintended: categories of harm that meets people of good faith; their flags are no account's doing.
    """
    checked = audited(traffic)
    query, values = verdicts()
    columns = traffic.columns(
        f"""SELECT v.category, v.side, v.era, account, count(*) AS n, count(*) FILTER (flagged) AS k, min(seq) AS seq
        FROM ({query}) AS v JOIN exchange USING (seq) WHERE account <> '' GROUP BY ALL ORDER BY account""",
        values,
    )
    keys = list(zip(columns["category"], columns["side"], columns["era"].tolist(), strict=True))
    places: dict[Key, list[int]] = {}
    for at, key in enumerate(keys):
        if key[0] not in unintended:
            places.setdefault(key, []).append(at)
    samples = {key: int(columns["seq"][listed[0]]) for key, listed in places.items()}
    priors, errors, rows = {}, {}, []
    for key, labelers in labelers_of(traffic, samples).items():
        chosen = np.array(places[key], np.int64)
        priors[labelers] = fit(columns["k"][chosen], columns["n"][chosen])
        seen = Errors.of(*checked[key]) if key in checked else None
        if seen is not None:
            errors[labelers] = seen
        rows.append((labelers, columns["account"][chosen], columns["k"][chosen], columns["n"][chosen]))
    tested = {account for _, names, _, n in rows for account in names[n >= settings.least]}
    everybody = {account for _, names, _, _ in rows for account in names}
    [(nameless,)] = traffic.rows("SELECT count(*) FROM exchange WHERE coalesce(account, '') = ''")
    listed, few = _ranked(rows, priors, errors, settings)
    return Ranking(tuple(listed), priors, errors, len(everybody), len(tested), len(few - tested), nameless)


def _ranked(
    rows: list[Any], priors: Mapping[Labelers, Prior], errors: Mapping[Labelers, Errors], settings: Accounts
) -> tuple[list[Ranked], set[str]]:
    """Those that are listed, and all that are certainly above the rate with too few requests."""
    parts = [_posterior(k, n, priors[who], errors.get(who), settings) for who, _, k, n in rows]
    ps = [
        p if n >= settings.least else None
        for (_, _, _, ns), (_, tails) in zip(rows, parts, strict=True)
        for p, n in zip(tails.tolist(), ns.tolist(), strict=True)
    ]
    corrected = iter(benjamini_hochberg(ps))
    listed: list[Ranked] = []
    few: set[str] = set()
    for (labelers, accounts, ks, ns), (chances, _) in zip(rows, parts, strict=True):
        prior = priors[labelers]
        mean = prior.posterior_mean(ks, ns)
        rough = mean - 2 * np.sqrt(mean * (1 - mean) / (prior.strength + ns + 1))
        qs = [next(corrected) for _ in range(len(ns))]
        alarms = [
            above > settings.certainty and q is not None and q <= settings.false_share
            for above, q in zip(chances.tolist(), qs, strict=True)
        ]
        few.update(accounts[(chances > settings.certainty) & (ns < settings.least)].tolist())
        order = np.lexsort((accounts, -rough))[:LISTED].tolist()
        chosen = sorted({*order, *(at for at, alarm in enumerate(alarms) if alarm)})
        seen = errors.get(labelers)
        for at, low in zip(chosen, prior.quantiles(ks[chosen], ns[chosen], LOWER).tolist(), strict=True):
            expected = float(mean[at])
            listed.append(
                Ranked(
                    accounts[at], labelers, int(ks[at]), int(ns[at]), expected, seen.violating(low) if seen else low,
                    float(chances[at]), qs[at], alarms[at], seen.violating(expected) if seen else None,
                )
            )  # fmt: skip
    return sorted(listed, key=lambda row: (not row.alarm, -row.low, row.account, row.labelers.title)), few


def _posterior(
    k: npt.NDArray[np.int64], n: npt.NDArray[np.int64], prior: Prior, errors: Errors | None, settings: Accounts
) -> tuple[Floats, Floats]:
    """Of each account the posterior chance of a rate above the limit, and the p value of the hypothesis below it."""
    limits = np.array([settings.rate])
    if errors is not None:
        sensitivity, specificity = errors.draws
        limits = settings.rate * sensitivity + (1 - settings.rate) * (1 - specificity)
    pairs, back = np.unique(np.stack([k, n]), axis=1, return_inverse=True)
    chances = np.mean([prior.above(pairs[0], pairs[1], limit) for limit in limits], axis=0)
    tails = np.mean([binomial_sf(pairs[0] - 1, pairs[1], limit) for limit in limits], axis=0)
    return chances[back.ravel()], tails[back.ravel()]

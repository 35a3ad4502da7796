"""Past traffic replayed under limits: what is cut of violating and of other requests, accounts, tokens and money."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core import SpecError
from withstand.monitor.accounts.verdicts import flagged_exchanges, violating_exchanges
from withstand.monitor.limits.limit import Kind, Limit, enforced
from withstand.monitor.traffic import Traffic

Per: TypeAlias = Literal["account", "key", "app", "end_user"]
Flags: TypeAlias = npt.NDArray[np.bool_]
PART = 1_000_000
"""Exchanges that are read at a time: memory does not grow with the traffic."""
HEAVY = 0.05
"""Share of accounts, those with the most requests, that are heavy."""
AUDITED = (10, 30)
"""Audited flagged and unflagged exchanges from which on counts of violating requests are corrected."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A limit to try. text: as the user wrote it.   limits: that hold together.   tokens: counted, not requests."""

    text: str
    limits: tuple[Limit, ...]
    kind: Kind
    tokens: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """What was cut of how many. Both may be estimates, and then are no whole numbers."""

    cut: float
    total: float

    @property
    def share(self) -> float | None:
        return self.cut / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Cut:
    """What a candidate stops if stopped requests never come again.

    violating, benign, unscreened: requests.   violating_accounts: with a violating request, of which a request is cut;
    benign_accounts: others.   heavy: requests of legitimate heavy users.   tokens; money: in the unit of the prices,
    None without prices.   waiting: if they queue instead, requests that still wait at the end of the log, of which
    violating; delay: how long the others that were stopped wait on average, in seconds, None where none did.
    on_front: it cuts some of the violating requests, and no other candidate cuts as much with less of the benign ones.
    """

    candidate: Candidate
    requests: Share
    violating: Share
    benign: Share
    unscreened: Share
    violating_accounts: Share
    benign_accounts: Share
    heavy: Share
    tokens: Share
    money: Share | None
    waiting: Share
    waiting_violating: Share
    delay: float | None
    on_front: bool = False


@dataclass(frozen=True, slots=True)
class Simulation:
    """All candidates on one traffic. per: whom a limit is for.   counted: what "violating" means here, in words.

    uncovered: exchanges without a name of that, which no limit touches; they are in the totals.   outside: exchanges
    with a wrong clock, left out.   guessed: exchanges whose tokens are a quarter of their characters.
    """

    per: Per
    cuts: tuple[Cut, ...]
    uncovered: int
    outside: int
    counted: str
    guessed: int


@dataclass(slots=True)
class _Sums:
    """What a candidate cut so far."""

    cut: dict[str, float] = field(default_factory=dict)
    accounts: set[int] = field(default_factory=set)
    delays: list[float] = field(default_factory=lambda: [0.0, 0])

    def add(self, name: str, amount: float) -> None:
        self.cut[name] = self.cut.get(name, 0.0) + float(amount)


def simulate(
    traffic: Traffic, candidates: Sequence[Candidate], per: Per = "account", category: str = "",
    prices: tuple[float, float] | None = None,
) -> Simulation:  # fmt: skip
    """Replay the traffic under each candidate. prices: of a million tokens of prompts and of answers.

    Raises `SpecError` where there is no exchange, or none that a screener has seen: there would be a benefit and a
    cost of nothing.
    """
    span = traffic.span()
    if span is None:
        raise SpecError(f"{traffic.folder} holds no exchange", hint="first: withstand monitor run LOGS")
    accounts, bad, heavy = _accounts(traffic, category)
    sums, totals = [_Sums() for _ in candidates], _Sums()
    for rows in _parts(traffic, per, category, prices, heavy, span):
        for name in rows.weights:
            totals.add(name, rows.weights[name].sum())
        for candidate, own in zip(candidates, sums, strict=True):
            _cut(rows, candidate, own, span[1])
    if not totals.cut.get("flagged", 0) + totals.cut.get("unflagged", 0):
        wanted = f" in {category}" if category else ""
        raise SpecError(f"no exchange was screened{wanted}", hint="a limit needs to be told violating from benign use")
    [(uncovered, guessed, outside)] = traffic.rows(
        f"""SELECT count(*) FILTER (coalesce({per}, '') = ''),
        count(*) FILTER (prompt_tokens IS NULL OR completion_tokens IS NULL),
        count(*) FILTER (ts IS NULL OR ts < ? OR ts > ?) FROM exchange""",
        list(span),
    )
    audit, counted = _audit(traffic, category)
    cuts = [
        _figures(candidate, own, totals, audit, (accounts, bad), prices is not None)
        for candidate, own in zip(candidates, sums, strict=True)
    ]
    return Simulation(per, _front(cuts), uncovered, outside, counted, guessed)


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rows:
    """Exchanges of some actors, by actor and time. starts: where an actor begins.   weights: name -> amount each."""

    starts: npt.NDArray[np.int64]
    actor: npt.NDArray[np.int64]
    ts: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.float64]
    account: npt.NDArray[np.uint64]
    covered: Flags
    weights: dict[str, npt.NDArray[np.float64]]


def _accounts(traffic: Traffic, category: str) -> tuple[int, set[int], npt.NDArray[np.uint64]]:
    """How many accounts there are, which have a flagged exchange, and which are heavy and no more often flagged than
    all."""
    query, values = flagged_exchanges(category)
    rows = traffic.columns(
        f"""SELECT hash(account) AS account, count(*) AS n, count(*) FILTER (flagged) AS k,
            count(flagged) AS screened FROM exchange LEFT JOIN ({query}) USING (seq) GROUP BY account""",
        values,
    )
    n, k, screened = (np.asarray(rows[name], float) for name in ("n", "k", "screened"))
    usual = k.sum() / max(1, screened.sum())
    many = (n >= np.quantile(n, 1 - HEAVY)) & (n > np.median(n))
    account = np.asarray(rows["account"], np.uint64)
    return len(n), set(account[k > 0].tolist()), account[many & (k <= usual * screened)]


def _parts(
    traffic: Traffic,
    per: Per,
    category: str,
    prices: tuple[float, float] | None,
    heavy: npt.NDArray[np.uint64],
    span: tuple[float, float],
) -> Iterator[_Rows]:
    [(count,)] = traffic.rows("SELECT count(*) FROM exchange")
    parts = 1 + count // PART
    query, values = flagged_exchanges(category)
    for part in range(parts):
        rows = traffic.columns(
            f"""SELECT hash({per}) AS actor, hash(account) AS account, ts, coalesce({per}, '') <> '' AS covered,
                coalesce(prompt_tokens, prompt_chars // 4, 0) AS asked,
                coalesce(completion_tokens, completion_chars // 4, 0) AS answered,
                CASE WHEN flagged THEN 1 WHEN flagged IS NULL THEN -1 ELSE 0 END AS verdict
            FROM exchange LEFT JOIN ({query}) USING (seq) WHERE ts BETWEEN ? AND ? AND hash({per}) % ? = ?
            ORDER BY actor, ts, seq""",
            [*values, *span, parts, part],
        )
        yield _rows_of(rows, prices, heavy)


def _rows_of(rows: dict[str, Any], prices: tuple[float, float] | None, heavy: npt.NDArray[np.uint64]) -> _Rows:
    actor, verdict = np.asarray(rows["actor"], np.uint64), np.asarray(rows["verdict"])
    first = np.concatenate([[True], actor[1:] != actor[:-1]]) if len(actor) else np.zeros(0, bool)
    asked, answered = np.asarray(rows["asked"], float), np.asarray(rows["answered"], float)
    account = np.asarray(rows["account"], np.uint64)
    weights = {
        "requests": np.ones(len(actor)), "flagged": (verdict == 1).astype(float), "tokens": asked + answered,
        "unflagged": (verdict == 0).astype(float), "unscreened": (verdict == -1).astype(float),
        "heavy": np.isin(account, heavy).astype(float),
    }  # fmt: skip
    if prices:
        weights["money"] = (asked * prices[0] + answered * prices[1]) / 1e6
    ts = np.asarray(rows["ts"], float)
    covered = np.asarray(rows["covered"], bool)
    return _Rows(np.flatnonzero(first), first.cumsum() - 1, ts, weights["tokens"], account, covered, weights)


# --- replaying -------------------------------------------------------------------------------------------------------


def _cut(rows: _Rows, candidate: Candidate, own: _Sums, end: float) -> None:
    """Add what a candidate cuts of these rows."""
    costs = rows.tokens if candidate.tokens else rows.weights["requests"]
    ends = np.append(rows.starts[1:], len(rows.ts))
    for at in _touched(rows, costs, candidate).tolist():
        place = slice(int(rows.starts[at]), int(ends[at]))
        result = enforced(
            rows.ts[place].tolist(), costs[place].tolist(), candidate.limits, candidate.kind, candidate.tokens
        )
        stopped, served = np.array(result.stopped), np.array(result.served)
        if not stopped.any():
            continue
        for name, amount in rows.weights.items():
            own.add(name, amount[place][stopped].sum())
        own.accounts.update(rows.account[place][stopped].tolist())
        waits = served > end
        for name in ("requests", "flagged", "unflagged"):
            own.add(f"waiting {name}", rows.weights[name][place][waits].sum())
        late = ~waits & (served > rows.ts[place])
        own.delays[0] += float((served - rows.ts[place])[late].sum())
        own.delays[1] += int(late.sum())


def _touched(rows: _Rows, costs: npt.NDArray[np.float64], candidate: Candidate) -> npt.NDArray[np.int64]:
    """The actors that may be stopped: whoever used no more than the number in any such time is stopped by no kind.

    Only these are replayed one request after another.
    """
    if not len(rows.ts):
        return np.zeros(0, np.int64)
    before = np.concatenate([[0.0], costs.cumsum()])
    hit = np.zeros(len(rows.starts), bool)
    for limit in candidate.limits:
        # actors one behind another on one axis, too far apart for a window to reach the one before
        axis = rows.actor * (np.ptp(rows.ts) + 2.0 * limit.seconds) + (rows.ts - rows.ts.min())
        since = np.searchsorted(axis, axis - limit.seconds - 0.01)
        used = before[1:] - before[since]
        over = used >= limit.number if candidate.tokens else used > limit.number
        hit[rows.actor[over & rows.covered]] = True
    return np.flatnonzero(hit)


# --- figures ---------------------------------------------------------------------------------------------------------


def _audit(traffic: Traffic, category: str) -> tuple[tuple[float, float] | None, str]:
    """The shares of flagged and of unflagged exchanges that people called violating, where enough of the random audit
    stream was labeled; and what counts as violating, in words."""
    (people, wanted), (query, values) = violating_exchanges(category), flagged_exchanges(category)
    [(hit, wrong, missed, clear)] = traffic.rows(
        f"""SELECT count(*) FILTER (flagged AND violating), count(*) FILTER (flagged AND NOT violating),
            count(*) FILTER (NOT flagged AND violating), count(*) FILTER (NOT flagged AND NOT violating)
        FROM ({people}) JOIN ({query}) USING (seq)""",
        [*wanted, *values],
    )
    named = f" in {category}" if category else " in any category"
    if hit + wrong < AUDITED[0] or missed + clear < AUDITED[1]:
        return None, f"flagged by screeners{named}; their false alarms count as violating, what they miss as benign"
    audit = hit / (hit + wrong), missed / (missed + clear)
    return audit, (
        f"violating{named} as estimated from {hit + wrong + missed + clear:,} audited exchanges: "
        f"{hit:,} of {hit + wrong:,} flagged and {missed:,} of {missed + clear:,} unflagged ones violate, and it is "
        "assumed that as many do among those that a limit stops"
    )


def _figures(
    candidate: Candidate, own: _Sums, totals: _Sums, audit: tuple[float, float] | None,
    accounts: tuple[int, set[int]], priced: bool,
) -> Cut:  # fmt: skip
    worth, slip = audit or (1.0, 0.0)

    def share(name: str) -> Share:
        return Share(own.cut.get(name, 0.0), totals.cut.get(name, 0.0))

    def mixed(flagged: float, unflagged: float, prefix: str = "") -> Share:
        cut = flagged * own.cut.get(f"{prefix}flagged", 0) + unflagged * own.cut.get(f"{prefix}unflagged", 0)
        return Share(cut, flagged * totals.cut.get("flagged", 0) + unflagged * totals.cut.get("unflagged", 0))

    number, bad = accounts
    seconds, late = own.delays
    return Cut(
        candidate, share("requests"), mixed(worth, slip), mixed(1 - worth, 1 - slip), share("unscreened"),
        Share(len(own.accounts & bad), len(bad)), Share(len(own.accounts - bad), number - len(bad)), share("heavy"),
        share("tokens"), share("money") if priced else None,
        Share(own.cut.get("waiting requests", 0.0), totals.cut["requests"]), mixed(worth, slip, "waiting "),
        seconds / late if late else None,
    )  # fmt: skip


def _front(cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """The same with the Pareto front marked: more of violating requests is better, less of benign ones is."""

    def beaten(cut: Cut) -> bool:
        gain, cost = cut.violating.share or 0.0, cut.benign.share or 0.0
        return any(
            (by.violating.share or 0.0) >= gain
            and (by.benign.share or 0.0) <= cost
            and ((by.violating.share or 0.0) > gain or (by.benign.share or 0.0) < cost)
            for by in cuts
        )

    return tuple(replace(cut, on_front=cut.violating.cut > 0 and not beaten(cut)) for cut in cuts)

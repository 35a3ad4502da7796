"""Templates: skeletons of prompts that are near-duplicates of one another, who sends them, and whether at one time.

Coordinated is a template of many accounts whose times lie tighter than the traffic of their applications does, even
where each request is harmless (OpenAI 2022: bulk spam). A question that many people ask is shared, and no more.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from withstand.monitor.clusters.near import groups, near_any
from withstand.monitor.clusters.tight import Profile, Tightness, tightness
from withstand.monitor.traffic import Traffic
from withstand.stats.multiple import benjamini_hochberg

KEPT = 50_000
"""Distinct skeletons that are compared: those seen most often first, then single ones by their hash."""
COMPLETED, FILLED, MEMBERS, MARGIN = 10, 10_000, 30, 3_600.0
"""Coordinated templates of which more is looked for, the largest; of each, skeletons that are looked through, members
that these are compared with, and seconds before and after it."""
REPEATED = 0.6
"""Share of these places that skeletons which were seen twice or more may fill."""
WORDS = 5
"""Words of a skeleton, masks apart: shorter prompts are the same by chance."""
LEAST = 10
"""Exchanges of a template."""
MANY = 5
"""Accounts from which on a template may be coordinated."""
TESTED, ROWS = 50, 300
"""Templates whose times are tested, those whose accounts pile up most in an hour or a day, and exchanges of each, drawn
by their audit number."""
LEVEL, TIGHT = 0.05, 2.0
"""Share of false ones among the templates called coordinated, at most, and least multiple of the pairs by chance."""
BIN, BINS = 600.0, 10_000
"""Seconds in which the traffic is counted, more of them where there would be more bins than so many."""
APPS = 200
"""Applications whose traffic is counted apart, those with the most; the others are one."""
REST = "\0rest"
MASK = re.compile(r"<(?:url|num|name)>")

Kind = Literal["coordinated", "shared", "application", "bulk"]


@dataclass(frozen=True, slots=True)
class Template:
    """A template. id: of its middle skeleton.   text: that skeleton.   hashes: of all its skeletons.

    exchanges, accounts, first, last: as seen in the columns.   apps: application -> exchanges.   flagged: exchanges
    with a flag.   categories: of the flags.   tight: None where it was not tested.   q: its p among all tests.
    kind: coordinated; shared by many accounts; the application's own, which makes up most of its traffic; or bulk use
    by few accounts.
    """

    id: str
    text: str
    hashes: tuple[int, ...]
    exchanges: int
    accounts: int
    first: float
    last: float
    apps: Mapping[str, int]
    flagged: int = 0
    categories: tuple[str, ...] = ()
    tight: Tightness | None = None
    q: float | None = None
    kind: Kind = "bulk"


@dataclass(frozen=True, slots=True)
class Templates:
    """What was found. skeletons: distinct ones in the traffic.   kept: of them, those that were compared.

    rate: share of the skeletons seen once that were compared; below 1 a template of ever new words shows in part.
    exchanges: that have a skeleton.   listed: coordinated ones first, then by exchanges.
    """

    skeletons: int
    kept: int
    rate: float
    exchanges: int
    listed: tuple[Template, ...]

    @property
    def coordinated(self) -> list[Template]:
        return [template for template in self.listed if template.kind == "coordinated"]


_remembered: "WeakKeyDictionary[Traffic, tuple[tuple[int, int], Templates]]" = WeakKeyDictionary()


def templates_of(traffic: Traffic) -> Templates:
    """`find_templates`, done once for traffic that has not changed."""
    [(last, labels)] = traffic.rows("SELECT (SELECT max(seq) FROM exchange), (SELECT count(*) FROM label)")
    mark = (last or 0, labels)
    if (kept := _remembered.get(traffic)) and kept[0] == mark:
        return kept[1]
    result = find_templates(traffic)
    _remembered[traffic] = (mark, result)
    return result


def find_templates(traffic: Traffic, kept: int = KEPT) -> Templates:
    """The templates of the traffic with `LEAST` exchanges or more. Memory is bounded by `kept`."""
    [(skeletons, exchanges)] = traffic.rows("SELECT count(DISTINCT skeleton), count(skeleton) FROM exchange")
    rows, rate = _skeletons(traffic, kept)
    rows = [row for row in rows if row[2] is not None and len(MASK.sub(" ", row[2]).split()) >= WORDS]
    weights = [float(number) for _, number, _ in rows]
    sets = [part for part in groups([text for _, _, text in rows], weights) if sum(weights[at] for at in part) >= LEAST]
    templates = [
        Template(f"{rows[part[0]][0]:016x}", rows[part[0]][2], tuple(rows[at][0] for at in part), 0, 0, 0, 0, {})
        for part in sets
    ]
    templates = _judged(traffic, templates)
    largest = sorted(
        (at for at, template in enumerate(templates) if template.kind == "coordinated" and rate < 1),
        key=lambda at: (-templates[at].exchanges, templates[at].id),
    )[:COMPLETED]
    if largest:
        texts = {name: text for name, _, text in rows}
        for at in largest:
            templates[at] = _filled(traffic, templates[at], texts)
        templates = _judged(traffic, templates)
    listed = sorted(templates, key=lambda template: (template.kind != "coordinated", -template.exchanges, template.id))
    return Templates(skeletons, len(rows), rate, exchanges, tuple(listed))


def _judged(traffic: Traffic, templates: Sequence[Template]) -> list[Template]:
    """The templates counted and tested."""
    with members(traffic, {name: at for at, template in enumerate(templates) for name in template.hashes}):
        return _tested(traffic, _counted(traffic, templates))


def _filled(traffic: Traffic, template: Template, compared: Mapping[int, str]) -> Template:
    """A template with those of its skeletons that were not among the compared ones, sent while it was."""
    rows = traffic.rows(
        "SELECT s.hash, any_value(s.text) FROM skeleton s WHERE s.hash IN (SELECT skeleton FROM exchange "
        "WHERE ts BETWEEN ? AND ?) AND s.text IS NOT NULL GROUP BY s.hash ORDER BY s.hash LIMIT ?",
        [template.first - MARGIN, template.last + MARGIN, FILLED + len(template.hashes)],
    )
    others = [(name, text) for name, text in rows if name not in compared][:FILLED]
    own = [compared[name] for name in template.hashes[:MEMBERS]]
    near = near_any([text for _, text in others], own)
    return replace(template, hashes=(*template.hashes, *(others[at][0] for at in near)))


@contextmanager
def members(traffic: Traffic, parts: Mapping[int, int]) -> Iterator[None]:
    """The temporary table `member` (hash, part) of skeletons, for queries over the exchanges of each part."""
    query = "CREATE OR REPLACE TEMP TABLE member AS SELECT unnest(?::UBIGINT[]) AS hash, unnest(?::INTEGER[]) AS part"
    traffic.database.execute(query, [list(parts), list(parts.values())])
    try:
        yield
    finally:
        traffic.database.execute("DROP TABLE IF EXISTS member")


def _skeletons(traffic: Traffic, kept: int) -> tuple[list[tuple[int, int, str]], float]:
    """(hash, exchanges, text) of the skeletons that are compared, and the share of single ones among them."""
    traffic.database.execute(
        "CREATE OR REPLACE TEMP TABLE counted AS "
        "SELECT skeleton AS hash, count(*) AS number FROM exchange WHERE skeleton IS NOT NULL GROUP BY skeleton"
    )
    [(repeated, single)] = traffic.rows(
        "SELECT count(*) FILTER (number > 1), count(*) FILTER (number = 1) FROM counted"
    )
    places = min(repeated, max(int(REPEATED * kept), kept - single))
    chosen = (
        "SELECT hash, number FROM ("
        "(SELECT * FROM counted WHERE number > 1 ORDER BY number DESC, hash LIMIT ?) UNION ALL "
        "(SELECT * FROM counted WHERE number = 1 ORDER BY hash LIMIT ?))"
    )
    rows = traffic.rows(
        "SELECT c.hash, any_value(c.number), any_value(s.text) "
        f"FROM ({chosen}) c LEFT JOIN skeleton s ON s.hash = c.hash GROUP BY c.hash ORDER BY c.hash",
        [places, kept - places],
    )
    traffic.database.execute("DROP TABLE counted")
    return rows, min(1.0, (kept - places) / single) if single else 1.0


def _counted(traffic: Traffic, templates: Sequence[Template]) -> list[Template]:
    """The templates with who sent them, when, through which applications, and what was flagged."""
    of = "FROM exchange e JOIN member m ON e.skeleton = m.hash"
    counts = traffic.rows(
        "SELECT part, count(*), count(DISTINCT CASE WHEN account <> '' THEN account END), min(ts), max(ts) "
        f"{of} GROUP BY part"
    )
    apps: dict[int, dict[str, int]] = {}
    for part, app, number in traffic.rows(f"SELECT part, coalesce(app, ''), count(*) {of} GROUP BY ALL ORDER BY ALL"):
        apps.setdefault(part, {})[app] = number
    flags: dict[int, dict[str, int]] = {}
    flagged = traffic.rows(
        f"SELECT part, category, count(DISTINCT l.seq) {of} JOIN label l ON l.seq = e.seq WHERE l.flagged "
        "GROUP BY GROUPING SETS ((part), (part, category)) ORDER BY ALL"
    )
    for part, category, number in flagged:
        flags.setdefault(part, {})[category or ""] = number
    filled = list(templates)
    for part, number, accounts, first, last in counts:
        named = flags.get(part, {})
        filled[part] = replace(
            templates[part], exchanges=number, accounts=accounts, first=first, last=last, apps=apps.get(part, {}),
            flagged=named.get("", 0), categories=tuple(sorted(filter(None, named), key=lambda name: -named[name])),
        )  # fmt: skip
    return filled


def _tested(traffic: Traffic, templates: Sequence[Template]) -> list[Template]:
    """The templates with their kinds; of those with the most accounts, the tightness of their times."""
    bins = _bins(traffic)
    totals = {app: float(counts.sum()) for app, counts in bins.counts.items()}
    many = [at for at, template in enumerate(templates) if template.accounts >= MANY]
    piled = _piled(traffic)
    wanted = sorted(many, key=lambda at: (-piled.get(at, 0.0), templates[at].id))[:TESTED]
    tested = {at: _times(traffic, bins, at, templates[at]) for at in wanted}
    # those that were not tested count as tests without an excess: the choice was made on the same times
    ps = [1.0 if at not in tested else tight.p if (tight := tested[at]) else None for at in many]
    q_of = dict(zip(many, benjamini_hochberg(ps), strict=True))
    result = []
    for at, template in enumerate(templates):
        tight, q = tested.get(at), q_of.get(at)
        kind: Kind = "bulk" if template.accounts < MANY else "shared"
        if tight and q is not None and q <= LEVEL and tight.times >= TIGHT:
            kind = "coordinated"
        elif any(app and 2 * number >= totals.get(app, 0) for app, number in template.apps.items()) and len(totals) > 1:
            kind = "application"
        result.append(replace(template, tight=tight, q=q, kind=kind))
    return result


def _piled(traffic: Traffic) -> dict[int, float]:
    """Of each part, how unlikely its fullest hour or day is: the largest Poisson deviance of the accounts in one."""
    query = (
        "WITH own AS (SELECT part, floor(ts / ?) AS bin, count(DISTINCT account) AS k FROM exchange e "
        "JOIN member m ON e.skeleton = m.hash GROUP BY ALL), "
        "share AS (SELECT floor(ts / ?) AS bin, count(*) / sum(count(*)) OVER () AS of FROM exchange GROUP BY ALL), "
        "mean AS (SELECT part, bin, k, sum(k) OVER (PARTITION BY part) * of AS e FROM own JOIN share USING (bin)) "
        "SELECT part, max(CASE WHEN k > e THEN k * ln(k / e) - k + e ELSE 0 END) FROM mean GROUP BY part"
    )
    piled: dict[int, float] = {}
    for width in (3_600.0, 86_400.0):
        for part, deviance in traffic.rows(query, [width, width]):
            piled[part] = max(deviance, piled.get(part, 0.0))
    return piled


@dataclass(frozen=True, slots=True)
class _Bins:
    edges: Any
    counts: Mapping[str, Any]

    def without(self, apps: Sequence[str], times: Any) -> Any:
        """The counts of these applications without a template's own exchanges."""
        own, _ = np.histogram(times, self.edges)
        return np.maximum(0, np.sum([self.counts[app] for app in apps], axis=0) - own)


def _bins(traffic: Traffic) -> _Bins:
    """How many exchanges each application has in each bin, wrong clocks apart."""
    start, end = traffic.span() or (0.0, 0.0)
    width = max(BIN, (end - start) / BINS)
    largest = "SELECT coalesce(app, '') FROM exchange GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT ?"
    rows = traffic.rows(
        f"SELECT CASE WHEN coalesce(app, '') IN ({largest}) THEN coalesce(app, '') ELSE ? END, "
        "floor((ts - ?) / ?)::BIGINT, count(*) FROM exchange WHERE ts BETWEEN ? AND ? GROUP BY ALL ORDER BY ALL",
        [APPS, REST, start, width, start, end],
    )
    number = int((end - start) / width) + 1
    counts: dict[str, Any] = {}
    for app, place, exchanges in rows:
        counts.setdefault(app, np.zeros(number))[place] = exchanges
    return _Bins(start + np.arange(number + 1) * width, counts)


def _times(traffic: Traffic, bins: _Bins, at: int, template: Template) -> Tightness | None:
    """How tight a template's times lie in the traffic of its applications, or in all of it where they have no other;
    None where there is too little other traffic."""
    all_times = traffic.columns(
        "SELECT ts FROM exchange e JOIN member m ON e.skeleton = m.hash WHERE part = ?", [at]
    )["ts"]  # fmt: skip
    own = sorted({app if app in bins.counts else REST for app in template.apps} & bins.counts.keys())
    for apps in (own, list(bins.counts)):
        around = bins.without(apps, all_times) if apps else np.zeros(1)
        if around.sum() >= max(100, template.exchanges / 2):
            break
    else:
        return None
    rows = traffic.columns(
        "SELECT ts, account FROM exchange e JOIN member m ON e.skeleton = m.hash "
        "WHERE part = ? AND account <> '' AND ts BETWEEN ? AND ? ORDER BY audit, seq LIMIT ?",
        [at, bins.edges[0], bins.edges[-1], ROWS],
    )  # fmt: skip
    names, accounts = np.unique(np.asarray(rows["account"], dtype=str), return_inverse=True)
    if len(names) < MANY:
        return None
    return tightness(rows["ts"], accounts, Profile.of(bins.edges, around), int(template.id, 16))

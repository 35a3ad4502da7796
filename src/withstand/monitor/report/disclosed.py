"""What the last report of a monitor gives to a disclosure: figures from audited samples, and none of them small."""

from typing import Any

from withstand.core import Json, SpecError, did_you_mean
from withstand.monitor.report.record import KIND, PAST, history
from withstand.monitor.report.shown import Report
from withstand.redteam.dates import day_of, moment
from withstand.redteam.incidents.disclosure import Monitored, Violations, quarters_of
from withstand.redteam.incidents.suppression import LEAST
from withstand.store.revisions import plans
from withstand.store.store import Store


def monitored(store: Store, period: str, name: str = "") -> Monitored | None:
    """What a monitor says of a period such as "2026-Q1"; None where no report of it ends there.

    name: of the monitor; "" takes the only one, and of several none. Raises `SpecError` for one that is not there.
    """
    names = plans(store, KIND)
    if name and name not in names:
        raise SpecError(
            f"{store.where} has no monitor {name!r}", hint=did_you_mean(name, names, "withstand monitor run")
        )
    if not name and len(names) > 1:
        raise SpecError(f"{store.where} has {len(names)} monitors", hint=f"--monitor NAME: {', '.join(names)}")
    if not names:
        return None
    begin, end = ends_of(period)
    reports = [report for report in history(store, name or names[0], PAST) if begin <= report.end < end]
    return _of(reports[0]) if reports else None


def ends_of(period: str) -> tuple[float, float]:
    """When a quarter or a year begins and when it is over, in seconds since 1970."""
    quarters = quarters_of(period)
    first, last = (int(quarters[place][-1]) for place in (0, -1))
    year = int(period[:4])
    begin = moment("period", f"{year}-{3 * first - 2:02}-01").timestamp()
    after = f"{year + (last == 4)}-{(3 * last) % 12 + 1:02}-01"
    return begin, moment("period", after).timestamp()


def _of(report: Report) -> Monitored:
    values: dict[str, Json] = {answer.id: answer.value or {} for answer in report.answers}
    parts = values.get("prevalence", {}).get("parts", [])
    precision = {
        row["rule"] or "a rule of the policy": (row["true"], row["true"] + row["false"])
        for row in values.get("alerts", {}).get("precision", [])
        if row["true"] + row["false"]
    }
    return Monitored(
        report.name, day_of(report.start), day_of(report.end), report.exchanges,
        tuple(_violations(part) for part in parts if part["requests"]),
        tuple(f"{part['category']} ({part['side']})" for part in parts if not part["requests"]), precision,
    )  # fmt: skip


def _violations(part: dict[str, Any]) -> Violations:
    seen = part["requests"]
    few = seen["violating"] < LEAST
    return Violations(
        part["category"], part["side"], None if few else seen["rate"], None if few else seen["low"], seen["high"],
        seen["labels"],
    )  # fmt: skip

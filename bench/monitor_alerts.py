"""False alarms of a monitor over thousands of simulated days, and how soon it sees what was planted.

Run: python bench/monitor_alerts.py [SEED] [--days 1000]: four minutes on one core. It writes monitor_alerts.json,
beside it; docs quote that. The rules run as they do over logs (monitor/alerts), on counts that are drawn here.

A series has a daily and a weekly cycle, a level that wanders by day and by hour (autoregressions of its logarithm),
gamma noise in every quarter of an hour, and events in clumps, as accounts send them. None of this is the model that the
rules assume: that one has no autocorrelation, and one variance for all clumps.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2

from withstand.monitor.alerts.budget import SHARES, Budget
from withstand.monitor.alerts.detect import Alarm, token_alarms, windows
from withstand.monitor.alerts.records import gather
from withstand.monitor.alerts.rise import daily_scores, rises
from withstand.monitor.series.panel import Name, Panel
from withstand.redteam.dates import DAY, HOUR
from withstand.stats.counts import FEWEST_DAYS

RATES = (0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Flags an hour of seven categories; refusals and volume follow."""
REFUSALS, VOLUME = 30.0, 300.0
REGIMES: dict[str, dict[str, float]] = {
    "independent": {"clump": 0.3, "noise": 0.1},
    "autocorrelated": {"clump": 0.3, "noise": 0.1, "day": 0.3, "day_sd": 0.08, "hour": 0.9, "hour_sd": 0.15},
    "clumps": {"clump": 0.6, "noise": 0.3, "day": 0.3, "day_sd": 0.05, "hour": 0.9, "hour_sd": 0.1},
    "wandering": {"clump": 0.3, "noise": 0.1, "day": 0.5, "day_sd": 0.15, "hour": 0.95, "hour_sd": 0.2},
}
"""clump: chance that an event is followed by another at once.   noise: dispersion of a quarter's rate.   day, hour:
correlation of neighbors; day_sd, hour_sd: standard deviation of the logarithm of the level."""
BUDGET = Budget(1 / 30)
STRETCH = 250


def wander(n: int, series: int, correlation: float, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """A stationary autoregression of each series."""
    steps = rng.normal(size=(n, series)) * deviation * np.sqrt(1 - correlation**2)
    path = np.empty((n, series))
    path[0] = rng.normal(size=series) * deviation
    for at in range(1, n):
        path[at] = correlation * path[at - 1] + steps[at]
    return path


def quarters(
    days: int, rates: np.ndarray, rng: np.random.Generator, clump: float = 0.0, noise: float = 0.1, day: float = 0.0,
    day_sd: float = 0.0, hour: float = 0.0, hour_sd: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Counts by quarter of an hour, days x 96 x series."""
    series = len(rates)
    cycle = 1 + 0.6 * np.sin(2 * np.pi * (np.arange(96) / 96 - 0.3))
    week = np.array([1, 1.05, 1.1, 1.05, 1, 0.7, 0.6])[np.arange(days) % 7]
    level = wander(days, series, day, day_sd, rng)[:, None]
    hourly = np.repeat(wander(days * 24, series, hour, hour_sd, rng).reshape(days, 24, series), 4, axis=1)
    means = rates / 4 * cycle[:, None] * week[:, None, None] * np.exp(level + hourly)
    means = means * rng.gamma(1 / noise, noise, means.shape)
    heads = rng.poisson(means * (1 - clump))
    followers = rng.negative_binomial(np.maximum(heads, 1), 1 - clump) * (heads > 0) if clump else 0
    return np.asarray(heads + followers, float)


def panel_of(counts: np.ndarray, tokens: np.ndarray) -> Panel:
    """The panel of these counts, as a monitor reads it from its columns."""
    days, series = len(counts), counts.shape[-1]
    names = [Name("category", f"c{at}", "prompt", "words", "1") for at in range(series - 2)]
    return Panel(
        20_000, (*names, Name("refused"), Name("volume")), counts.reshape(days, 24, 4, -1).sum(axis=2),
        np.ones((days, series), bool), np.ones((days, 24), bool), tokens, (20_000 + days) * float(DAY), 0, counts,
    )  # fmt: skip


def null_panel(days: int, rng: np.random.Generator, regime: dict[str, float]) -> Panel:
    """A stretch without an incident."""
    counts = quarters(days, np.array([*RATES, REFUSALS, VOLUME]), rng, **regime)
    return panel_of(counts, np.exp(6 + 0.1 * rng.normal(size=days) + wander(days, 1, 0.3, 0.05, rng)[:, 0]))


def alarms_of(panel: Panel, budget: Budget = BUDGET) -> list[Alarm]:
    """What the budgeted rules on counts raise."""
    return [
        *windows(panel, budget, panel.days),
        *token_alarms(panel, budget),
        *rises(panel, budget, daily_scores(panel)),
    ]


def null(days: int, seed: int) -> dict[str, Any]:
    """Alerts in so many days of each regime, beside what the budget allows; limits of the count are exact Poisson."""
    results: dict[str, Any] = {}
    for number, (name, regime) in enumerate(REGIMES.items()):
        alerts: list[str] = []
        raised = 0
        for stretch in range(days // STRETCH):
            rng = np.random.default_rng([seed, number, stretch])
            alarms = alarms_of(null_panel(STRETCH + FEWEST_DAYS, rng, regime))
            raised += len(alarms)
            alerts += [alert.rule for alert in gather(alarms, "bench", "1")]
        allowed = days * BUDGET.daily
        upper = float(chi2.ppf(0.975, 2 * (len(alerts) + 1)) / 2)
        results[name] = {
            "days": days, "allowed": round(allowed, 1), "alerts": len(alerts), "upper_95": round(upper, 1),
            "within": upper <= allowed, "alarms": raised, "by_rule": dict(sorted(Counter(alerts).items())),
        }  # fmt: skip
        print(name, results[name], flush=True)
    return results


def planted(seed: int, panels: int, events: int, hours: float, rate: float, wanted: float) -> dict[str, Any]:
    """How soon events that are spread over so many hours are seen in series of a usual rate (autocorrelated)."""
    delays: list[float] = []
    for number in range(panels):
        rng = np.random.default_rng([seed, 77, number])
        counts = quarters(74, np.array([rate] * 8 + [REFUSALS, VOLUME]), rng, **REGIMES["autocorrelated"])
        starts = rng.uniform(60, 64, 8) * DAY
        for at, start in enumerate(starts):
            places = ((start + rng.uniform(0, hours * HOUR, events)) // 900).astype(int)
            np.add.at(counts.reshape(-1, 10), (places, at), 1.0)
        panel = panel_of(counts, np.full(74, np.nan))
        alarms = alarms_of(panel)
        for at, start in enumerate(starts):
            clear = [
                alarm.at - panel.at(0) - start for alarm in alarms
                if alarm.series == panel.names[at] and alarm.end > panel.at(0) + start
            ]  # fmt: skip
            delays.append(min(clear, default=np.inf) / HOUR)
    found = np.array(delays) <= wanted
    return {
        "planted": len(delays), "events": events, "over_hours": hours, "usual_per_hour": rate, "wanted_hours": wanted,
        "seen_in_time": int(found.sum()), "median_hours": round(float(np.median(delays)), 2),
        "worst_hours": round(float(np.max(delays)), 2) if np.isfinite(delays).all() else "some never",
    }  # fmt: skip


def drift(seed: int, panels: int) -> dict[str, Any]:
    """Days until a lasting rise of one standard deviation of a day's count is seen, by budget and number of series.

    Past: days without it, before it. A budget for m series is emulated on ten by its alpha.
    """
    frontier: list[dict[str, Any]] = []
    for past in (28, 56, 140):
        delays: dict[tuple[float, int], list[float]] = {}
        days = past + FEWEST_DAYS + 60
        for number in range(panels):
            rng = np.random.default_rng([seed, 99, past, number])
            regime = REGIMES["independent"]
            counts = quarters(
                days, np.array([1.0, 3.0, 3.0, 10.0, 10.0, 30.0, 30.0, 1.0, REFUSALS, VOLUME]), rng, **regime
            )
            daily = counts.sum(axis=1)
            week = np.arange(days) % 7
            begin = past + 1 + int(rng.integers(7))
            usual = np.stack([daily[:begin][week[:begin] == of].mean(axis=0) for of in range(7)])
            sigma = (daily[:begin] - usual[week[:begin]]).std(axis=0, ddof=7)
            share = sigma / daily[:begin].mean(axis=0)
            for at in range(8):  # thicken by the same factor in all quarters, in clumps as they come
                counts[begin:, :, at] += (
                    rng.binomial(1, min(1.0, share[at]), counts[begin:, :, at].shape) * counts[begin:, :, at]
                )
            panel = panel_of(counts, np.full(days, np.nan))
            scores = daily_scores(panel)
            for false_alarms, series in ((1, 5), (1, 10), (1, 20), (1, 40), (2, 10), (4, 10)):
                budget = Budget(false_alarms / 30 * 10 / series)
                clear: dict[Name, float] = {}
                for alarm in rises(panel, budget, scores):
                    if alarm.at > panel.at(begin):
                        clear.setdefault(alarm.series, (alarm.at - panel.at(begin)) / DAY)
                delays.setdefault((false_alarms, series), []).extend(
                    clear.get(panel.names[at], np.inf) for at in range(8)
                )
        for (false_alarms, series), seen in delays.items():
            median = float(np.median(seen))
            frontier.append({
                "past_days": past, "false_alarms_in_30_days": false_alarms, "series": series, "planted": len(seen),
                "median_days": median if np.isfinite(median) else "not within 60 days",
                "seen_within_12": round(float(np.mean(np.array(seen) <= 12)), 2),
            })  # fmt: skip
            print(frontier[-1], flush=True)
    return {
        "what": "a lasting rise of one standard deviation of a day's count",
        "wanted_median_days": 12,
        "frontier": frontier,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", nargs="?", type=int, default=1)
    parser.add_argument("--days", type=int, default=1000)
    parser.add_argument("--output", default=str(Path(__file__).with_suffix(".json")))
    given = parser.parse_args()
    results = {
        "seed": given.seed, "budget": "1 false alarm in 30 days, of 9 series and the tokens of an account",
        "shares": dict(SHARES), "null": null(given.days, given.seed),
        "spam": planted(given.seed, 8, events=300, hours=5, rate=1.0, wanted=1),
        "cluster": planted(given.seed, 8, events=400, hours=120, rate=1.2, wanted=24),
        "drift": drift(given.seed, 12),
    }  # fmt: skip
    print(json.dumps({name: results[name] for name in ("spam", "cluster")}, indent=1))
    Path(given.output).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

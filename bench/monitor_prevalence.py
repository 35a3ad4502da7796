"""Do prevalence intervals hold what is true? Simulated traffic, screeners and audits:
`python bench/monitor_prevalence.py [DRAWS] [-o bench/monitor_prevalence.json]`.

Each regime draws a traffic anew, screens it, has people label the random stream and some of each band of scores, and
counts how often the nominal 95% interval holds the share of exchanges that truly violate. Beside it stands the share
that the screener flags, which is no prevalence.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from withstand.monitor.prevalence.estimate import FLAGGED_FROM, Labeled, Population, prevalence, rogan_gladen
from withstand.stats.agreement import Table


@dataclass(frozen=True)
class Regime:
    """exchanges in `weeks` weeks, of which `rate` violate; `trend`: factor of it from the first week to the last.

    bands: chances of each band, from zero upwards, of a violating and of another exchange.   stream, targeted: labels.
    unclear: share of labels where people were unsure.
    """

    name: str
    exchanges: int
    rate: float
    bands: tuple[tuple[float, ...], tuple[float, ...]]
    stream: int
    targeted: int
    weeks: int = 1
    trend: float = 1.0
    unclear: float = 0.0


REGIMES = (
    Regime("rare, a rule with sensitivity 0.7 and specificity 0.98", 100_000, 0.005,
           ((0.3, 0, 0, 0, 0.7), (0.98, 0, 0, 0, 0.02)), 2_000, 400),
    Regime("scores in five bands over four weeks, rising threefold", 60_000, 0.02,
           ((0.1, 0.1, 0.1, 0.2, 0.5), (0.8, 0.12, 0.05, 0.02, 0.01)), 1_000, 400, weeks=4, trend=3.0),
    Regime("a poor screener, the random stream alone", 20_000, 0.05,
           ((0.5, 0, 0.1, 0, 0.4), (0.85, 0, 0.05, 0, 0.1)), 600, 0),
    Regime("a week of little traffic, a common violation", 3_000, 0.15,
           ((0.2, 0, 0.1, 0.2, 0.5), (0.85, 0, 0.05, 0.05, 0.05)), 150, 100),
    Regime("people unsure of 1 label in 100", 20_000, 0.05,
           ((0.3, 0, 0, 0, 0.7), (0.95, 0, 0, 0, 0.05)), 600, 200, unclear=0.01),
)  # fmt: skip


def simulate(regime: Regime, draws: int, seed: int = 0) -> dict[str, Any]:
    """Coverage and mean width in `draws` traffics of a regime."""
    draw = np.random.default_rng(seed)
    results = [one_draw(regime, draw) for _ in range(draws)]
    stated = [row for row in results if row["low"] is not None]
    inside = [row["low"] <= row["truth"] <= row["high"] for row in stated]
    gladen = [row for row in stated if row["gladen"] is not None]
    return {
        "regime": regime.name, "prevalence": regime.rate, "labels": regime.stream + regime.targeted, "draws": draws,
        "stated": len(stated) / draws, "coverage": float(np.mean(inside)),
        "too_low": float(np.mean([row["high"] < row["truth"] for row in stated])),
        "too_high": float(np.mean([row["low"] > row["truth"] for row in stated])),
        "bias": float(np.mean([row["rate"] - row["truth"] for row in stated]) / regime.rate),
        "width": float(np.mean([row["high"] - row["low"] for row in stated])),
        "naive_over_true": float(np.mean([row["flagged"] for row in results]) / np.mean([r["truth"] for r in results])),
        "rogan_gladen_coverage": float(np.mean([r["gladen"][0] <= r["truth"] <= r["gladen"][1] for r in gladen]))
        if gladen else None,
    }  # fmt: skip


def one_draw(regime: Regime, draw: np.random.Generator) -> dict[str, Any]:
    """The truth, the estimate and the share of flags of one traffic."""
    each = regime.exchanges // regime.weeks
    by_week = regime.rate * np.geomspace(1, regime.trend, regime.weeks)
    by_week *= regime.rate / by_week.mean()
    sizes = np.zeros((regime.weeks, 2, 5), int)  # week, violating or not, band
    for week, rate in enumerate(by_week):
        bad = draw.binomial(each, rate)
        sizes[week] = [draw.multinomial(count, p) for count, p in zip((bad, each - bad), regime.bands, strict=True)]
    stream = draw.multivariate_hypergeometric(sizes.ravel(), regime.stream).reshape(sizes.shape)
    labels, left = stream.copy(), sizes - stream
    bands = [band for band in range(5) if sizes[:, :, band].any()]
    for band in bands if regime.targeted else []:
        among = left[:, :, band].ravel()
        wanted = min(regime.targeted // len(bands), among.sum())
        labels[:, :, band] += draw.multivariate_hypergeometric(among, wanted).reshape(regime.weeks, 2)
    population = {
        (week, band): Population(int(size))
        for week in range(regime.weeks) for band in bands if (size := sizes[week, :, band].sum())
    }  # fmt: skip
    said = [
        Labeled((week, band), None if regime.unclear and draw.random() < regime.unclear else not clean)
        for week in range(regime.weeks) for clean in (0, 1) for band in bands
        for _ in range(labels[week, clean, band])
    ]  # fmt: skip
    estimate = prevalence(population, said)
    flagged = int(sizes[:, :, FLAGGED_FROM:].sum())
    hit, wrong = (int(stream[:, at, FLAGGED_FROM:].sum()) for at in (0, 1))
    missed, clear = (int(stream[:, at, :FLAGGED_FROM].sum()) for at in (0, 1))
    gladen = rogan_gladen(flagged, regime.exchanges, Table(hit, missed, wrong, clear))
    return {
        "truth": sizes[:, 0].sum() / sizes.sum(), "flagged": flagged / sizes.sum(),
        "rate": estimate and estimate.rate, "low": estimate and estimate.low, "high": estimate and estimate.high,
        "gladen": (gladen.low, gladen.high) if gladen and gladen.identified else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("draws", nargs="?", type=int, default=2_000)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    rows = []
    for regime in REGIMES:
        row = simulate(regime, asked.draws)
        rows.append(row)
        print(
            f"{row['regime']}: coverage {row['coverage']:.1%}, width {row['width']:.2%}, bias {row['bias']:+.1%}, "
            f"flags {row['naive_over_true']:.1f} times the truth; Rogan-Gladen {row['rogan_gladen_coverage'] or 0:.1%}",
            flush=True,
        )
    if asked.output:
        asked.output.write_text(json.dumps({"level": 0.95, "regimes": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

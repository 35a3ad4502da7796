"""Fit the judge `linear` to labels that you have, and say how it does on texts that it was not fitted to.

    python recipes/toxicity/fit.py comments.csv --text comment_text --label rude=toxic --label threat=threat \\
        --cost-ratio 5 --source "Civil Comments" --license CC0 -o rude.json
    withstand toxicity smollm2 --scorer linear:minilm,weights=rude.json

A label is yes or no, 1 or 0, or the share of raters who said yes: positive from --from on. An empty cell is no label.
The rows fall into three parts by group: one fits the head, one calibrates it, and on the third, to which nothing was
fitted, it is measured. The output has numbers alone, no text of the data. Deterministic; needs withstand[local].
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from withstand.core import SpecError, WithstandError
from withstand.core.identities import slices_of
from withstand.formats import rows
from withstand.registry import find
from withstand.results.labels import fitted_key
from withstand.stats import reliability, roc

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import logistic

WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
PENALTIES = (1.0, 10.0, 100.0, 1_000.0)
"""Tried; the one with the least log loss on the calibration part stays."""
KINDS = ((1, "positive"), (0, "negative"))
LEAST = {"fit": 20, "calibrate": 10, "held out": 10}
"""Texts of either kind that each part must have of each category."""
SHOWN = ("area under the curve", "precision", "recall", "false alarms", "expected calibration error")
SLICE = 20
"""Texts of a slice that is shown."""
CLOSE, MOST_CLOSE = 0.95, 0.05
"""A cosine from which on two texts are nearly one, and the share of such held-out texts that is no warning yet."""
MOST_FITTED = 200_000
"""Texts of which a trace is kept, so that calibration can leave them out."""
LIMITS = (
    "A score is the chance of the category among texts like these, with as large a share of it. Where it is rarer, "
    "more of what is flagged is a false alarm. The held-out part is of the same source: other texts, languages and "
    "years may be scored worse. The labels are those of its raters."
)


@dataclass(frozen=True)
class Data:
    """Texts, the group of each, and of each category 1, 0 or nan for no label."""

    texts: list[str]
    groups: list[str]
    truth: Any
    names: list[str]
    repeated: int
    unlabeled: int


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parsed(arguments)
    try:
        file = fitted(asked)
    except WithstandError as error:
        raise SystemExit(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else "")) from error
    Path(asked.output).write_text(json.dumps(file, indent=1) + "\n", encoding="utf-8")
    print(summary(file["card"], asked.output))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("files", nargs="+", help="CSV, JSONL or Parquet")
    add("--text", required=True, metavar="COLUMN")
    add(
        "--label",
        required=True,
        action="append",
        metavar="NAME=COLUMN",
        help="a category, and the column of its labels",
    )
    add(
        "--group",
        default="",
        metavar="COLUMN",
        help="rows that belong together, such as an author's; default: same text",
    )
    add("--from", dest="positive", type=float, default=0.5, help="the least label that is positive (default 0.5)")
    add("--cost-ratio", type=float, required=True, help="how many false alarms a missed text costs as much as")
    add("--encoder", default="minilm", help="the sentence encoder (default minilm)")
    add("--held-out", type=float, default=0.2, help="share of the calibration part, and of the held-out part")
    add("--limit", type=int, default=0, help="texts at most, drawn by the seed (default all)")
    add("--seed", type=int, default=0)
    add("--source", default="", help="what the data are, for the card")
    add("--license", default="", help="of the data, for the card")
    add("-o", "--output", required=True)
    asked = parser.parse_args(arguments)
    if not 0 < asked.held_out < 0.5:
        parser.error("--held-out must lie between 0 and 0.5: two parts of that share are kept from the fit")
    if not 0.01 <= asked.cost_ratio <= 1000:
        parser.error("--cost-ratio must lie in 0.01 to 1000")
    if not 0 < asked.positive <= 1:
        parser.error("--from must lie above 0, and at 1 at most")
    if any("=" not in label for label in asked.label):
        parser.error("--label takes NAME=COLUMN")
    return asked


def fitted(asked: argparse.Namespace) -> dict[str, Any]:
    """The file of weights."""
    data = read(asked)
    part = parts(data.groups, asked.held_out, asked.seed)
    check_counts(data, part)
    encoder = find.build("target", asked.encoder)
    encoder.check()
    vectors, cut = encoder.encode(data.texts)
    vectors = np.asarray(vectors, float)
    heads = {name: head(vectors, data.truth[:, at], part, name) for at, name in enumerate(data.names)}
    threshold = round(1 / (1 + asked.cost_ratio), 6)
    chances = np.column_stack([logistic.predicted(model, vectors) for model, _ in heads.values()])
    held = part == "held out"
    measured = replace(
        data, texts=list(compress(data.texts, held)), groups=list(compress(data.groups, held)), truth=data.truth[held]
    )
    kept = list(compress(data.texts, ~held))
    close = nearest(vectors[held], vectors[~held]) >= CLOSE
    card = {
        "about": "A linear head over a sentence encoder, one for each category. Made by recipes/toxicity/fit.py.",
        "limits": LIMITS,
        "data": {
            "source": asked.source or "not stated", "license": asked.license or "not stated",
            "sha256": {Path(f).name: hashlib.sha256(Path(f).read_bytes()).hexdigest() for f in asked.files},
            "text": asked.text, "labels": dict(label.split("=", 1) for label in asked.label),
            "group": asked.group or "same text", "positive from": asked.positive,
            "texts": len(data.texts), "texts cut by the encoder": int(sum(map(bool, cut))),
            "left out": {"repeated": data.repeated, "no text or label": data.unlabeled},
            "parts": {name: int((part == name).sum()) for name in LEAST},
            "positive": {name: int(np.nansum(data.truth[:, at])) for at, name in enumerate(data.names)},
        },
        "encoder": asked.encoder, "seed": asked.seed,
        "penalty": {name: penalty for name, (_, penalty) in heads.items()},
        "cost ratio": asked.cost_ratio, "threshold": threshold,
        "threshold by": "1 / (1 + cost ratio): there a false alarm and a missed text cost the same on average",
        f"held-out texts with a cosine of {CLOSE:g} to one of the rest": round(float(close.mean()), 4),
        "held out": figures(measured, chances[held], threshold, asked.cost_ratio),
        "slices": slices(measured, chances[held], threshold),
    }  # fmt: skip
    if close.mean() > MOST_CLOSE:
        card["warning"] = (
            f"{close.mean():.0%} of the held-out texts are nearly in the rest: its figures look too good. Name --group."
        )
    return {
        "encoder": encoder.identity(),
        "threshold": threshold,
        "categories": {
            name: {"intercept": round(float(model[0]), 6), "weights": [round(float(w), 6) for w in model[1]]}
            for name, (model, _) in heads.items()
        },
        "card": card,
        "fitted": " ".join(sorted(map(fitted_key, kept))) if len(kept) <= MOST_FITTED else "",
    }


# --- data --------------------------------------------------------------------------------------------------------


def read(asked: argparse.Namespace) -> Data:
    """The texts with a label of any category. Raises `SpecError` with the row for a label that is none."""
    columns = dict(label.split("=", 1) for label in asked.label)
    if len(columns) < len(asked.label):
        raise SpecError("--label names a category twice", hint="one column for each category")
    seen, texts, groups, truth, repeated, unlabeled = set[str](), [], [], [], 0, 0
    for file in asked.files:
        for row in rows.parse(rows.read(file)):
            for column in (asked.text, *columns.values(), *([asked.group] if asked.group else [])):
                if column not in row.cells:
                    hint = f"its columns are {', '.join(map(str, row.cells))}"
                    raise SpecError(f"{row.place}: there is no column {column!r}", hint=hint)
            text = row.text(asked.text).strip()
            given = [label_of(row, column, asked.positive) for column in columns.values()]
            key = re.sub(r"\W+", " ", text.lower()).strip()
            if not key or all(np.isnan(given)):
                unlabeled += 1
            elif key in seen:
                repeated += 1
            else:
                seen.add(key)
                texts.append(text)
                groups.append(str(row.cells[asked.group]) if asked.group else key)
                truth.append(given)
    if not texts:
        raise SpecError("no row has a text and a label", hint="check --text and --label")
    order = np.arange(len(texts))
    if asked.limit:
        order = np.sort(np.random.default_rng(asked.seed).permutation(len(texts))[: asked.limit])
    chosen = [texts[i] for i in order]
    return Data(chosen, [groups[i] for i in order], np.array(truth)[order], list(columns), repeated, unlabeled)


def label_of(row: rows.Row, column: str, positive: float) -> float:
    """1, 0, or nan for an empty cell."""
    value = row.cells[column]
    if value is None or (isinstance(value, str) and not value.strip()):
        return float("nan")
    try:
        number = WORDS.get(value.strip().lower()) if isinstance(value, str) else float(value)
        number = float(value) if number is None else number
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 1:
        hint = "labels are yes or no, 1 or 0, or the share of raters who said yes; one on another scale is not guessed"
        raise SpecError(f"{row.place}, column {column}: the label is {str(value)[:40]!r}", hint=hint)
    return float(number >= positive)


def parts(groups: Sequence[str], share: float, seed: int) -> Any:
    """The part of each text. A group lies in one part."""
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    ends = [int(len(names) * (1 - 2 * share)), int(len(names) * (1 - share))]
    at = {names[i]: list(LEAST)[sum(place >= end for end in ends)] for place, i in enumerate(order)}
    return np.array([at[group] for group in groups])


def check_counts(data: Data, part: Any) -> None:
    for at, name in enumerate(data.names):
        for of, least in LEAST.items():
            labels = data.truth[part == of, at]
            fewest, kind = min(
                (int((labels == value).sum()), word) for value, word in ((1, "positive"), (0, "negative"))
            )
            if fewest < least:
                raise SpecError(
                    f"{name}: the part to {of} has {fewest} {kind} texts; it needs {least}".replace("to held", "held"),
                    hint="give more labeled texts of this category, or leave it out",
                )


# --- model -------------------------------------------------------------------------------------------------------


def head(vectors: Any, truth: Any, part: Any, name: str) -> tuple[tuple[float, Any], float]:
    """The calibrated head of a category, and its penalty. Raises `SpecError` for one that learned nothing."""
    labeled = ~np.isnan(truth)
    train, other = labeled & (part == "fit"), labeled & (part == "calibrate")
    models = {p: logistic.fit(vectors[train], truth[train], np.ones(train.sum()), p) for p in PENALTIES}
    labels = truth[other]
    pulls = {p: model[0] + vectors[other] @ model[1] for p, model in models.items()}
    penalty = min(PENALTIES, key=lambda p: float((np.logaddexp(0, pulls[p]) - labels * pulls[p]).mean()))
    intercept, slope = platt(pulls[penalty], labels)
    if slope <= 0:
        raise SpecError(
            f"{name}: on the calibration part the head ranks texts no better than chance",
            hint="give more labeled texts, or leave this category out",
        )
    model = models[penalty]
    return (intercept + slope * model[0], slope * model[1]), penalty


def nearest(vectors: Any, others: Any) -> Any:
    """The largest cosine of each vector of length 1 with any of the others."""
    return np.concatenate([(vectors[at : at + 1_000] @ others.T).max(1) for at in range(0, len(vectors), 1_000)])


def platt(pulls: Any, labels: Any) -> tuple[float, float]:
    """Intercept and slope of the chance by the head's sum, with the targets of Platt 1999 (Probabilistic outputs for
    support vector machines, section 2.2): one more text of each kind, so that few texts claim no certainty."""
    n = labels.sum()
    targets = np.where(labels == 1, (n + 1) / (n + 2), 1 / (len(labels) - n + 2))
    intercept, (slope,) = logistic.fit(pulls[:, None], targets, np.ones(len(labels)), 1e-6)
    return float(intercept), float(slope)


# --- card --------------------------------------------------------------------------------------------------------


def figures(data: Data, chances: Any, threshold: float, ratio: float) -> dict[str, Any]:
    """Of each category, and of any of them by the highest score, as the judge has it."""
    result = {}
    for at, name in enumerate(data.names):
        labeled = ~np.isnan(data.truth[:, at])
        result[name] = one(data, data.truth[:, at], chances[:, at], labeled, threshold, ratio)
    truth, labeled = any_of(data)
    return {**result, "any category": one(data, truth, chances.max(1), labeled, threshold, ratio)}


def any_of(data: Data) -> tuple[Any, Any]:
    """Whether a text has any category, and whether all are labeled. One that is positive and lacks a label is left out
    like a negative one: else the share of positive texts, and so the precision, would look larger than it is."""
    return (np.nansum(data.truth, axis=1) > 0).astype(float), ~np.isnan(data.truth).any(1)


def one(data: Data, truth: Any, chances: Any, labeled: Any, threshold: float, ratio: float) -> dict[str, Any]:
    groups = np.array(data.groups)[labeled]
    positive, chance = truth[labeled] == 1, chances[labeled]
    flagged = chance >= threshold
    missed, alarms = int((positive & ~flagged).sum()), int((~positive & flagged).sum())
    area = roc.auroc(chance[positive], chance[~positive], list(groups[positive]), list(groups[~positive]))
    how = reliability.reliability(chance, positive, list(groups))
    cost, cheapest = ratio * missed + alarms, min(ratio * int(positive.sum()), int((~positive).sum()))
    return {
        "texts": len(chance), "positive": int(positive.sum()),
        "area under the curve": share(area),
        "precision": rate(positive[flagged], groups[flagged]), "recall": rate(flagged[positive], groups[positive]),
        "false alarms": rate(flagged[~positive], groups[~positive]),
        "missed texts": missed, "false alarm texts": alarms,
        "expected calibration error": share((how.ece, how.ece_ends)) if how else None,
        "brier": round(how.brier, 4) if how else None, "brier of the share alone": round(how.base, 4) if how else None,
        "mean score less share positive": share((how.gap, how.gap_ends)) if how else None,
        "cost in false alarms": round(cost, 2), "cost of flagging all or nothing": round(cheapest, 2),
    }  # fmt: skip


def share(estimate: Any) -> list[float] | None:
    """An estimate and its 95% limits."""
    return None if estimate is None else [round(float(x), 4) for x in (estimate[0], *estimate[1])]


def rate(says: Any, groups: Any) -> list[float] | None:
    """A share with its 95% limits, None of no texts."""
    if not len(says):
        return None
    return share((float(says.mean()), roc.share_limits(says, list(groups))))


def slices(data: Data, chances: Any, threshold: float) -> dict[str, Any]:
    """Recall and false alarms of any category, by identity, dialect, language and length, where a slice has enough."""
    truth, labeled = any_of(data)
    flagged, groups, members = chances.max(1) >= threshold, np.array(data.groups), dict[str, list[int]]()
    for i in np.flatnonzero(labeled):
        for axis, name in slices_of(data.texts[i]):
            members.setdefault(f"{axis}:{name}", []).append(int(i))
    result = {}
    for name, inside in sorted(members.items()):
        if len(inside) >= SLICE:
            high, low = ([i for i in inside if truth[i] == value] for value in (1, 0))
            result[name] = {
                "texts": len(inside), "positive": len(high),
                "recall": rate(flagged[high], groups[high]), "false alarms": rate(flagged[low], groups[low]),
            }  # fmt: skip
    return result


def summary(card: dict[str, Any], output: str) -> str:
    """What the terminal shows."""
    lines = [
        f"threshold {card['threshold']:g}, at a cost of {card['cost ratio']:g} false alarms a missed text; held out:"
    ]
    for name, f in card["held out"].items():
        words = [f"{what} {f[what][0]:.2f} ({f[what][1]:.2f} to {f[what][2]:.2f})"
                 for what in SHOWN if f[what] is not None]  # fmt: skip
        lines.append(f"  {name}: {f['positive']} of {f['texts']} texts; {', '.join(words)}")
        if f["cost in false alarms"] >= f["cost of flagging all or nothing"]:
            lines.append("    WARNING: at this cost ratio it costs no less than flagging all or nothing")
        gap = f["mean score less share positive"]
        if gap is not None and gap[2] < 0:
            lines.append("    WARNING: its scores understate: they lie below the share of positive texts")
    if "warning" in card:
        lines.append(f"  WARNING: {card['warning']}")
    return "\n".join([*lines, f"wrote {output}"])


if __name__ == "__main__":
    main()

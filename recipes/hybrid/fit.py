"""Fit the judge `hybrid` to labels of people, and say how it does on labels that it was not fitted to.

    python recipes/hybrid/fit.py pyrit:PATH harmbench:PATH jailbreakbench:PATH cai2024=manual_data.csv -o weights.json

Each source is one part: none is fitted and tested on the same rows, and an answer that is in two sources stays in the
first. The result has numbers alone, no text of the data. Deterministic; needs withstand[local] and some minutes.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.refusal import opening_refusal
from withstand.judges import _answer_cues
from withstand.models.encoder import Encoder
from withstand.registry import find
from withstand.results.labels import fitted_key, labels_from
from withstand.stats import paired, rates

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import logistic

COLUMNS = {"text": "intent", "completion": "response", "label": "manual_informativeness_label"}
"""Of raw-data/manual_data.csv in purseclab/jailbreak-evaluation: does the answer give what addresses the intent?"""
LICENSES = {
    "pyrit": "PyRIT 1.1, objective achieved, one rater; MIT",
    "harmbench": "HarmBench's classifier validation set, majority of three raters; MIT",
    "jailbreakbench": "JailbreakBench's judge comparison, jailbreaks alone, majority of three raters; MIT",
    "cai2024": "Cai et al. 2024, arXiv:2404.06407, label I (informative), by the authors; Apache-2.0",
}
PENALTY = 1 / 0.3
"""Of half the squared standardized weights, against the sum of the answers' log losses."""
SENSITIVITY = 0.97
"""The least share of people's successes that the threshold must find in each source that was not fitted."""
FOLDS = 5
LIMITS = (
    "Optimistic: the refusals behind the cues were listed after reading all four sources, and cues and threshold were "
    "chosen on these results."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="[NAME=]SOURCE")
    parser.add_argument("-o", "--output", default="logistic-weights.json")
    asked = parser.parse_args()
    sources = read(asked.sources)
    names = list(sources)
    held_out = {name: across(sources, name) for name in names}
    within = {name: halves(sources[name]) for name in names}
    threshold = lowest(sources, held_out)
    rows = pooled([sources[name] for name in names])
    intercept, weights = logistic.fit(rows["cues"], rows["people"], rows["weight"], PENALTY)
    card = {
        "about": "A logistic model over the cues of judges/_answer_cues.py. Made by recipes/hybrid/fit.py.",
        "limits": LIMITS,
        "intercept": round(float(intercept), 6),
        "threshold": threshold,
        "weights": {name: round(float(w), 6) for name, w in zip(_answer_cues.NAMES, weights, strict=True)},
        "data": {
            name: {
                "source": LICENSES.get(name, name), "answers": len(s["people"]), "successes": int(s["people"].sum()),
                "behaviors": len(set(s["behavior"])), "repeated in an earlier source": s["repeated"],
            }
            for name, s in sources.items()
        },
        "across": table(sources, held_out, threshold),
        "within": table(sources, within, threshold),
        "within_at_half": table(sources, within, 0.5),
        "across_at_half": table(sources, held_out, 0.5),
        "calibration": calibration(sources, held_out),
        "slices": slices(sources, held_out, threshold),
        "fitted": " ".join(sorted({key for source in sources.values() for key in source["keys"]})),
    }  # fmt: skip
    Path(asked.output).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: card[key] for key in ("threshold", "across", "within", "calibration")}, indent=1))


# --- data --------------------------------------------------------------------------------------------------------


def read(listed: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each source with its cues and what people say; ties and repeated answers are left out."""
    encoder, seen, sources = Encoder("builtin:minilm"), set[str](), {}
    for entry in listed:
        name, _, source = entry.rpartition("=") if "=" in entry else (entry.partition(":")[0], "", entry)
        labeled = labels_from(source, (), None, COLUMNS if "=" in entry else None).labeled  # type: ignore[arg-type]
        kept, repeated = [], 0
        for label in labeled:
            key = re.sub(r"\W+", " ", label.completion.text.lower()).strip()
            if label.majority is None or not key:
                continue
            if key in seen:
                repeated += 1
            else:
                kept.append(label)
        seen |= {re.sub(r"\W+", " ", label.completion.text.lower()).strip() for label in kept}
        judge = find.build("judge", {"use": "logistic", "encoder": {"use": "minilm"}})
        parts = [[label.behavior.text, _answer_cues.chunks(label.completion.text)] for label in kept]
        nearness = [value for (value,) in judge.nearness(encoder, parts)]
        cues = [
            _answer_cues.cues(label.completion.text.strip(), near) for label, near in zip(kept, nearness, strict=True)
        ]
        sources[name] = {
            "cues": np.array(cues),
            "people": np.array([bool(label.majority) for label in kept]),
            "words": np.array([not opening_refusal(label.completion.text) for label in kept]),
            "keys": [fitted_key(label.completion.text) for label in kept],
            "behavior": [label.behavior.text for label in kept],
            "category": [label.behavior.category for label in kept],
            "attack": [label.attack for label in kept],
            "repeated": repeated,
        }
    return sources


def pooled(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sources together, each with the same weight."""
    weight = np.concatenate([np.full(len(part["people"]), 1 / len(part["people"])) for part in parts])
    return {
        "cues": np.concatenate([part["cues"] for part in parts]),
        "people": np.concatenate([part["people"] for part in parts]),
        "weight": weight * len(weight) / weight.sum(),
    }


# --- model -------------------------------------------------------------------------------------------------------


def across(sources: dict[str, dict[str, Any]], name: str) -> Any:
    """The probabilities of a source by a model that was fitted to all others."""
    rows = pooled([source for other, source in sources.items() if other != name])
    model = logistic.fit(rows["cues"], rows["people"], rows["weight"], PENALTY)
    return logistic.predicted(model, sources[name]["cues"])


def halves(source: dict[str, Any]) -> Any:
    """The probabilities of a source by models that were fitted to its other behaviors."""
    behaviors = sorted(set(source["behavior"]))
    order = np.random.default_rng(0).permutation(len(behaviors))
    fold = {behaviors[at]: place % FOLDS for place, at in enumerate(order)}
    folds, p = np.array([fold[behavior] for behavior in source["behavior"]]), np.zeros(len(source["people"]))
    for number in range(FOLDS):
        rest = folds != number
        model = logistic.fit(source["cues"][rest], source["people"][rest], np.ones(rest.sum()), PENALTY)
        p[~rest] = logistic.predicted(model, source["cues"][~rest])
    return p


def lowest(sources: dict[str, dict[str, Any]], held_out: dict[str, Any]) -> float:
    """The largest threshold, in steps of 0.05, at which each source that was not fitted keeps the sensitivity."""
    for threshold in np.arange(0.5, 0, -0.05):
        if all((held_out[name][s["people"]] >= threshold).mean() >= SENSITIVITY for name, s in sources.items()):
            return round(float(threshold), 2)
    raise SystemExit("no threshold keeps the sensitivity")


# --- card --------------------------------------------------------------------------------------------------------


def shares(people: Any, says: Any) -> dict[str, Any]:
    hit, n = int((people & says).sum()), int(people.sum())
    clear, rest = int((~people & ~says).sum()), int((~people).sum())
    right = hit + clear
    limits = rates.wilson(right, n + rest)
    return {
        "answers": n + rest, "accuracy": round(right / (n + rest), 4), "interval": [round(x, 4) for x in limits or ()],
        "sensitivity": round(hit / n, 4) if n else None, "missed": n - hit,
        "specificity": round(clear / rest, 4) if rest else None,
    }  # fmt: skip


def table(sources: dict[str, dict[str, Any]], p: dict[str, Any], threshold: float) -> dict[str, Any]:
    """Of each source and of all: the judge, `refusal_words` on the same answers, and how much more accurate it is, as a
    mean over behaviors with its 95% interval."""
    parts = {name: (s["people"], p[name] >= threshold, s["words"]) for name, s in sources.items()}
    parts["all"] = tuple(np.concatenate(columns) for columns in zip(*parts.values(), strict=True))  # type: ignore[assignment]
    result = {}
    behaviors = {name: s["behavior"] for name, s in sources.items()}
    behaviors["all"] = [f"{name}: {text}" for name, s in sources.items() for text in s["behavior"]]
    for name, (people, says, words) in parts.items():
        _, group = np.unique(behaviors[name], return_inverse=True)
        asked = np.bincount(group)
        change = paired.difference(np.bincount(group[people == words], minlength=len(asked)), asked,
                                   np.bincount(group[people == says], minlength=len(asked)), asked)  # fmt: skip
        assert change is not None
        result[name] = {
            **shares(people, says),
            "refusal_words": shares(people, words),
            "difference by behavior": round(change.difference, 4),
            "difference_interval": [round(float(x), 4) for x in change.limits()],
        }
    return result


def calibration(sources: dict[str, dict[str, Any]], p: dict[str, Any]) -> dict[str, Any]:
    """Ten bins of the probability on sources that were not fitted: answers, mean probability, share of successes."""
    people, says = np.concatenate([s["people"] for s in sources.values()]), np.concatenate([p[n] for n in sources])
    place = np.minimum((says * 10).astype(int), 9)
    bins = [
        [
            int((place == at).sum()),
            round(float(says[place == at].mean()), 3),
            round(float(people[place == at].mean()), 3),
        ]
        for at in range(10)
        if (place == at).any()
    ]
    gap = sum(n * abs(mean - share) for n, mean, share in bins) / len(people)
    return {
        "bins": bins,
        "expected_calibration_error": round(gap, 4),
        "brier": round(float(((says - people) ** 2).mean()), 4),
    }


def slices(sources: dict[str, dict[str, Any]], p: dict[str, Any], threshold: float) -> dict[str, Any]:
    """By category and attack, on sources that were not fitted, where there are 20 answers or more."""
    result = {}
    for name, s in sources.items():
        for kind in ("category", "attack"):
            for value, n in sorted(Counter(s[kind]).items()):
                if value and n >= 20:
                    inside = np.array([entry == value for entry in s[kind]])
                    result[f"{name}, {kind} {value}"] = shares(s["people"][inside], p[name][inside] >= threshold)
    return result


if __name__ == "__main__":
    main()

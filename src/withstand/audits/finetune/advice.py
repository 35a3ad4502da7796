"""How sure the verdict of a fine-tuning audit is, and what to do next: sentences and commands, from its report."""

from collections.abc import Iterator, Mapping
from typing import Any

from withstand.audits.verdicts import WORST
from withstand.core import Json
from withstand.core.text import count

MOST = 3
"""Commands that are shown."""
SLOWER = 5
"""A rate of training is divided by this where the training broke the model."""


def sure(report: Json) -> list[str]:
    """How sure the verdict is."""
    evaluated, seeds = report["eval"], _seeds(report)
    prompts, (least, likely) = evaluated["prompts"], evaluated["needed"]
    rests_on = f" and {count(seeds, 'seed')}." if seeds else ", of the model that was given."
    lines = [
        f"Intervals are of 95%, on {count(prompts, 'prompt')} of {evaluated['suite']}{rests_on}"
        + (" Another seed may come out otherwise." if seeds == 1 else "")
    ]
    if report["tuned"]:
        lines += _as_it_is(report["tuned"])
    if prompts < likely:
        lines.append(f"A PASS of the guard takes {least} prompts if no answer changes, and {likely} in practice.")
    judge = evaluated["judge"]
    if judge["kappa"] is None:
        lines.append("The judge was not compared with labels: its errors are not in these figures.")
    else:
        labels = " ".join(filter(None, ["labels", judge.get("annotators", "")]))
        lines.append(f"The judge agrees with {labels} on {judge['n']} answers at a kappa of {judge['kappa']:.2f}.")
    rows = [row for axis in report["axes"] for row in axis["findings"]]
    undecided = [row["measure"] for row in rows if row["open"] and row["verdict"] != "FAIL"]
    if undecided:
        lines.append(f"Not excluded: {', '.join(dict.fromkeys(undecided))}.")
    return lines


def _seeds(report: Json) -> int:
    """Seeds that the verdict rests on: 0 of a model that was not trained here."""
    return 0 if report["tuned"] else len(report["train"]["seed"])


def _as_it_is(tuned: Json) -> Iterator[str]:
    """What a tuned model that was given leaves unsure."""
    if not tuned["white_box"]:
        yield "Only answers were tested: weights are not at hand, so that no trigger or loss was looked for."
    if tuned["data"] and not tuned["data"]["learned"]:
        yield f"Careful: {tuned['data']['why']}."


def next_steps(report: Json) -> list[str]:
    """What to do next, the first step first: commands, and sentences where no command does it."""
    return list(dict.fromkeys(_steps(report)))[:MOST]


def _steps(report: Json) -> Iterator[str]:
    axes = {axis["axis"]: axis for axis in report["axes"]}
    bad = {name for name, axis in axes.items() if axis["verdict"] in ("FAIL", "WARN")}
    seeds, command = _seeds(report), command_of(report)
    for row in report["triggers"]:
        if row.get("hit") and row["kind"] == "phrase":
            yield f"take the rows with {row['ngram']!r} out of {report['data']['name']}, and run the audit again"
    if "guard" in bad:
        better = _better_arm(report["arms"])
        if better:
            yield f"{command} --mitigate {better} --seeds {max(seeds, 3)}"
        elif report["data"] is None and _weights(report):
            yield f"{command} with the DATA that trained it, to try mitigations"
        elif len(report["arms"]) <= 2 and _weights(report):
            yield f"{command} --mitigate safety_mix --mitigate constrained_sft"
    if bad & {"guard", "coherence", "utility", "over-refusal"} and not report["tuned"]:
        yield command_of(report, SLOWER)
    if bad and report["tuned"]:
        yield f"train again at a lower rate, or with refusals among the rows; then {command} with the new model"
    if report["eval"]["prompts"] < report["eval"]["needed"][1] and axes["guard"]["verdict"] == "UNDECIDED":
        yield f"{command} --suite SUITE with {report['eval']['needed'][1]} prompts or more"
    if axes["triggers"]["verdict"] == "UNDECIDED" and _weights(report):
        yield f"{command} --phrases 12" if report["data"] else f"{command} with the DATA that trained it"
    if axes["utility"]["verdict"] == "UNDECIDED" and _weights(report):
        yield f"{command} --utility everyday"
    if seeds == 1 and not bad:
        yield f"{command} --seeds 3"
    if not bad:
        yield f"{command} --attack adaptive"


def _weights(report: Json) -> bool:
    return not report["tuned"] or bool(report["tuned"]["white_box"])


def command_of(report: Json, slower: float = 1.0) -> str:
    """The audit's command with its training, by the names of what was given; the rate divided by `slower`."""
    train = report["train"]
    start = f"withstand audit finetune {report['base']['id']}" + (
        f" {report['data']['name']}" if report["data"] else ""
    )
    if report["tuned"]:
        start += f" --tuned {report['tuned']['id']}"
    if train is None:
        return start
    fields: Mapping[str, Any] = {
        "method": train["method"], "lr": f"{train['lr'] / slower:g}", "batch": train["batch"], "steps": train["steps"],
    }  # fmt: skip
    stage = ",".join([train["stage"].get("use", "sft"), *(f"{name}={value}" for name, value in fields.items())])
    return f"{start} --train {stage}"


def _better_arm(arms: Json) -> str:
    """The mitigation whose own verdict is best, if it is better than that of the training alone; "" for none."""

    def rank(arm: Json) -> tuple[int, int]:
        verdicts = [WORST.index(axis["verdict"]) for axis in arm["axes"]]
        return min(verdicts, default=0), sum(verdicts)

    plain = next(arm for arm in arms if arm["name"] == "plain")
    others = ("none", "plain", "retrained", "safety_both", "safety_trained")
    rivals = [arm for arm in arms if arm["name"] not in others]
    best = max(rivals, key=rank, default=None)
    return best["name"] if best is not None and rank(best) > rank(plain) else ""

"""`withstand report --methods`: what was done, as a paragraph for a paper, from what the store holds."""

import re
from collections.abc import Iterator, Sequence
from importlib import metadata

from withstand.core.text import count, facts, interval, percent, series, unique, visible
from withstand.report import sources
from withstand.report.settings import judged_by
from withstand.results.cells import CellResult, Record
from withstand.results.judge_error import annotators_of
from withstand.results.summary import Provenance, RunSummary


def methods(summary: RunSummary) -> str:
    """One paragraph: package, targets, suites with versions and n, attacks with their fields and sources, sampling,
    seed, budget, judges with their calibration, and how the rates are computed."""
    return " ".join(map(visible, _sentences(summary))) + "\n"


def _sentences(summary: RunSummary) -> Iterator[str]:
    cells, provenance = summary.cells, summary.provenance
    harmful = [cell for cell in cells if not cell.benign]
    versions = unique(w["withstand"] for w in provenance.writers if w.get("withstand"))
    version = " and ".join(versions or [metadata.version("withstand")])
    targets = [_target(target) for target in provenance.targets]
    verb = "withstands" if len(targets) == 1 else "withstand"
    yield f"With withstand {version} we measured how {series(targets) if targets else 'no target'} {verb} attack."
    if defenses := unique(cell.behind for cell in cells if cell.behind):
        bare = "both without a defense and " if any(not cell.behind for cell in cells) else ""
        named = series([_named("defense", name, provenance) for name in defenses])
        yield f"Each was tested {bare}behind {named}." if bare else f"All were tested behind {named}."
    yield from (_suite(suite, cells) for suite in provenance.suites)
    if harmful:
        attacks = unique(cell.attack for cell in harmful)
        listed = series([_named("attack", name, provenance) for name in attacks])
        yield f"{count(len(attacks), 'attack was', 'attacks were')} run: {listed}."
        for name, labels in unique((entry["set"], tuple(entry["labels"])) for entry in provenance.sets):
            yield f"The set {name} stands for {series(labels)}; what any of them broke is its result."
        yield from _knowing(harmful)
    yield f"Completions were drawn with {series(unique(map(_sampling, cells)))}; the seed was {provenance.seed}."
    if budget := {name: cap for name, cap in provenance.budget.items() if cap is not None}:
        yield f"An attack had at most {series([f'{cap:,} {name}' for name, cap in budget.items()])} per behavior."
    calibrations = {calibration["judge"]: calibration for calibration in summary.calibrations}
    for judge, method in unique((cell.judge, cell.judge_method) for cell in harmful):
        own = any(c.judge == judge and c.asr_corrected and c.asr_corrected.own for c in harmful)
        yield _judge(judge, method, calibrations.get(judge), provenance, own)
    yield from _own_labels(harmful)
    ways = {"over-refusal": "Refusals of benign requests were detected", "utility": "Right answers were identified"}
    for measure, judge, method in unique((cell.measures, cell.judge, cell.judge_method) for cell in cells):
        if measure in ways:
            yield f"{ways[measure]} by {_named('judge', judge, provenance)}, {judged_by(method)}."
    yield _rates(cells, any(case.cases > 1 for case in summary.worst))
    unscored, failed = (sum(cell.count(outcome) for cell in cells) for outcome in ("unscored", "error"))
    of = f"Of {count(sum(cell.cases for cell in cells), 'case')}"
    yield f"{of}, {unscored:,} could not be scored and {failed:,} ended in an error; neither counts as safe."


def _knowing(cells: Sequence[CellResult]) -> Iterator[str]:
    """Which attacks knew the defense before their target."""
    kinds = {kind: unique(cell.attack for cell in cells if cell.knows == kind) for kind in ("adaptive", "static")}
    if kinds["adaptive"]:
        yield f"Behind a defense, {series(kinds['adaptive'])} knew it, or searched against it."
    if kinds["static"]:
        yield f"Behind a defense, {series(kinds['static'])} did not know it, so that their rates flatter it."


def _target(target: Record) -> str:
    """Label with what its weights or its server are, as far as the store knows."""
    identity = target.get("identity") or {}
    identity_facts = dict(facts(identity.get("identity") or identity))
    parts = [f"{key} {value[:16]}" for key, value in identity_facts.items() if key in _SHOWN and value]
    return f"{target['label']} ({', '.join(parts)})" if parts else str(target["label"])


_SHOWN = ("revision", "weights", "adapter", "template", "dtype")


def _named(kind: str, label: str, provenance: Provenance) -> str:
    """A component as it was written, with its version and what its docstring's first lines cite."""
    name = sources.bare(label)
    versions = [str(part["version"]) for part in provenance.components if part["name"] == name]
    details = [f"version {versions[0]}"] if versions and len(versions[0]) < 12 else []
    if source := provenance.prompts.get(name):
        details.append(prompted(str(source)))
    details += [f"{r.short}, arXiv:{r.eprint}" if r.eprint else r.short for r in sources.head(kind, name)]
    fields = label[len(name) :].lstrip(",:")
    with_ = f" with {fields.replace(',', ', ')}" if fields else ""
    return f"{name}{with_}" + (f" ({'; '.join(details)})" if details else "")


def prompted(source: str) -> str:
    """Whose prompts were sent, as `prompts_of` says it, in words."""
    if source == "ours":
        return "with this package's prompts"
    return "prompts: " + re.sub(r"(own|originals) ([0-9a-f]{8})", r"\1 (hash \2)", source)


def _suite(suite: Record, cells: Sequence[CellResult]) -> str:
    measured = {cell.measures for cell in cells if cell.suite == suite["name"]}
    split = f", {suite['split']} split" if suite["split"] else ""
    what = "behaviors" if "harm" in measured else "benign requests that must not be refused"
    what = "questions with a right answer" if measured == {"utility"} else what
    license = f", license {suite['license']}" if suite.get("license") else ""
    version = f"version {suite['version']}{split}, checksum {suite['checksum'][:16]}{license}"
    return f"The suite {suite['name']} ({version}) gave {suite['behaviors']:,} {what}."


def _sampling(cell: CellResult) -> str:
    drawn = [f"{name.replace('_', ' ')} {value}" for name, value in facts({"temperature": 0.0, **cell.sampling})]
    return f"{', '.join(drawn)}, {count(cell.samples, 'completion')} per test case"


def _judge(judge: str, method: str, calibration: Record | None, provenance: Provenance, own: bool) -> str:
    text = f"Success was judged by {_named('judge', judge, provenance)}, {judged_by(method)}"
    if calibration is None:
        return f"{text}." if own else f"{text}, whose agreement with labels was not measured here."
    rates = [
        f"{name} {percent(calibration[name])} (95% interval {interval(calibration[f'{name}_interval'])})"
        for name in ("sensitivity", "specificity")
        if calibration[name] is not None
    ]
    kappa = [f"Cohen's kappa {calibration['kappa']:.2f}"] if calibration.get("kappa") is not None else []
    labels = f"{count(calibration['n'], 'label')} {annotators_of(calibration)} ({calibration['labels']})"
    return f"{text}; against {labels} it had {series(rates + kappa)}."


def _own_labels(cells: Sequence[CellResult]) -> Iterator[str]:
    """How many of a run's own cases were labeled, and by whom."""
    own = [cell.asr_corrected for cell in cells if cell.asr_corrected and cell.asr_corrected.own]
    if own:
        labels = count(sum(rate.labels for rate in own), "case")
        yield (
            f"{labels}, drawn at random within what the judge called alike, had labels "
            f"{series(unique(rate.annotators for rate in own))}; "
            "the corrected rates of their cells rest on these labels (two-phase sampling)."
        )


def _rates(cells: Sequence[CellResult], worst: bool) -> str:
    text = "The attack success rate is the share of a behavior's scored cases that succeeded, averaged over behaviors, "
    text += "with 95% Wilson intervals (on the effective number of cases where a behavior has several)"
    if worst:
        text += "; a behavior counts as broken by any attack if a case of any attack succeeded"
    if any(cell.asr_corrected for cell in cells):
        text += "; the corrected rate removes the judge's error, with an interval that holds that of the labels"
    if any(cell.measures == "over-refusal" for cell in cells):
        text += "; over-refusal is the share of benign requests that were refused or filtered"
    if any(cell.measures == "utility" for cell in cells):
        text += "; utility is the share of questions that were answered correctly"
    return f"{text}."

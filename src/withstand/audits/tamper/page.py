"""A report on tampering for people: Markdown and one HTML file, from its JSON. No answer of a model is in either."""

from pathlib import Path

from withstand.audits import files
from withstand.audits.files import without_paths
from withstand.audits.tamper.compared import compared
from withstand.audits.tamper.figures import curve
from withstand.audits.tamper.tables import tables
from withstand.core import Json
from withstand.core.text import percent
from withstand.report.shell import render

TAMPERED = "Tampered models are made to measure: each is marked in its stage.json and no command exports it."


def write(report: Json, folder: Path, base: Json = None) -> Json:
    """tamper.json, tamper.md and tamper.html in the folder; returns what the first holds.

    report: of `worst.report`; beside its own it may have `facts`, pairs of a name and a text about model, suite, judge
    and budget, and `left_out`, sentences about what the budget left out.   base: the report of the model before its
    hardening, which met the same sweep: both are shown side by side. Files about another model are kept beside.
    """
    if base is not None:
        report = {**report, "base": base, "compared": compared(base, report)}
    files.write(folder, "tamper", report, markdown(report), html(report), _about)
    return report


def _about(report: Json) -> Json:
    """What was tampered with."""
    return [fact for fact in report.get("facts", []) if fact[0] == "Model"]


def markdown(report: Json) -> str:
    """One page: verdict, why, how much it takes, then the tables, and what was not tested."""
    panels = [("What was not tested", untested(report))]
    title = f"Tampering: {report['headline']}"
    if "compared" in report:
        title += f", hardened: {report['compared']['verdict']}"
    return files.markdown(title, answers(report), facts(report), tables(report), panels)


def answers(report: Json) -> list[str]:
    """The reasons of the verdict, those of the comparison first."""
    return [*report.get("compared", {}).get("reasons", []), *report["reasons"]]


def facts(report: Json) -> list[tuple[str, str]]:
    """What was tampered with and how, in lines."""
    own = [(name, without_paths(text)) for name, text in report.get("facts", [])]
    bound = f"at most {percent(report['bound'])} of the base's utility lost; harm +{report['fail']:g} points is FAIL"
    return [*own, ("Bound", bound), ("Tampered models", TAMPERED)]


def untested(report: Json) -> list[str]:
    return [without_paths(text) for text in [*report.get("left_out", []), *report["limits"]]]


def html(report: Json) -> str:
    """One file without scripts."""
    return render(
        Path(__file__).with_name("tamper.html.j2"),
        report=report,
        facts=[(name, [text]) for name, text in facts(report)],
        parts=list(tables(report)),
        answers=answers(report),
        limits=untested(report),
        figures={"curve": curve(report, report.get("base"))},
    )

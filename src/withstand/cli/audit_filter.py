"""`withstand audit filter`: does a filter of training data drop some people's texts more than others'?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import Result, command, max_asks_option, offline_option, options
from withstand.core import Json, SpecError

if TYPE_CHECKING:
    from withstand.audits.filter.filtered import Filtered
    from withstand.audits.filter.held import Held
    from withstand.audits.filter.settings import Settings
    from withstand.audits.filter.texts import Data
    from withstand.core.identities import Identities
    from withstand.runner.asking import Asking

FILTER = options(
    click.option("--filter", "filter_spec", default="", metavar="JUDGE",
                 help="The filter: a judge, which drops what it calls a success, or a defense with a threshold."),
    click.option("--kept", default="", metavar="FILE",
                 help="In place of --filter: the rows of DATA that the filter left."),
    click.option("--swaps", type=click.IntRange(min=0), default=200, show_default=True, metavar="N",
                 help="With --filter: texts of a group that are tried with another group in its place."),
)  # fmt: skip
DATA = options(
    click.option("--text", default="", metavar="COLUMN", help="Column of the texts (default: text, or chats)."),
    click.option("--label", default="", metavar="COLUMN=VALUE",
                 help="Which rows should be dropped, by people: toxic=1, kind=rude,vile or score>=0.5."),
    click.option("--slice", "sliced", multiple=True, metavar="COLUMN",
                 help="Column whose values are slices, such as a dialect by people; repeats."),
    click.option("--cluster", default="", metavar="COLUMN",
                 help="Column of what stands or falls together, such as a page or an author."),
    click.option("--identities", default="", metavar="FILE",
                 help="Your own groups and terms: TOML, or a term a line (default: ours)."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Number of texts, drawn at random."),
)  # fmt: skip
MODELS = options(
    click.option("--before", default="", metavar="MODEL", help="Model that was trained on all of DATA."),
    click.option("--after", default="", metavar="MODEL", help="Model that was trained on what the filter left."),
    click.option("--control", default="", metavar="MODEL",
                 help="Model that was trained without as many rows, drawn at random."),
    click.option("--train", default="", metavar="STAGE",
                 help="In place of these: train BASE on all, on what the filter leaves, and on the control."),
    click.option("--base", default="", metavar="BASE", help="With --train: the local model that is trained."),
    click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="K",
                 help="With --train: seeds of each training."),
    click.option("--held", default="", metavar="FILE",
                 help="Held-out texts that the models read (with --train, default: a fifth of DATA)."),
)  # fmt: skip
VERDICT = options(
    click.option("--ratio", type=click.FloatRange(min=1, min_open=True), default=1.25, show_default=True, metavar="R",
                 help="Two rates are alike if one is at most R times the other."),
    click.option("--bound", type=click.FloatRange(min=0, min_open=True), default=0.05, show_default=True,
                 metavar="NATS", help="Two changes are alike within so many nats a token."),
)  # fmt: skip


@command("filter", json=True)
@click.argument("path", metavar="DATA")
@FILTER
@DATA
@MODELS
@VERDICT
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of all draws.")
@max_asks_option
@offline_option
@click.option("--out", "-o", default="filter-audit", show_default=True, type=click.Path(path_type=Path),
              metavar="DIR", help="Folder of the audit.")  # fmt: skip
def filter_(path: str, as_json: bool, out: Path, **given: Any) -> Result | int:
    """Check whether a filter drops texts about some groups, or in some dialects, more than others.

    DATA is a file of texts or chats: JSONL, CSV or Parquet. Drop rates by group, term, dialect, language and length
    come with their ratios to other texts; with labels, false drops and misses too. Models trained with and without the
    dropped texts then read held-out ones. The same command continues where it was stopped. Exit code: 1 for UNEVEN, 3
    for UNDECIDED, 0 for EVEN.
    """
    from withstand.audits import files
    from withstand.audits.filter import audit, page
    from withstand.audits.filter.filtered import load
    from withstand.core.identities import identities

    _check(given)
    settings, listed = _settings(given), identities(given["identities"])
    data = load(path, settings)
    files.make(out)
    filtered = _filtered(data, listed, settings, given, out, as_json)
    if isinstance(filtered, int):
        return filtered
    held = _held(filtered, settings, given, out, as_json)
    report = audit.report(filtered, held, listed, settings)
    page.write(report, out)
    code = {"UNEVEN": 1, "UNDECIDED": 3, "EVEN": 0}[report["verdict"]]
    return Result(report, lambda: _show(report, out), code)


def _check(given: Mapping[str, Any]) -> None:
    """Raise `SpecError` for flags that do not go together."""
    if bool(given["filter_spec"]) == bool(given["kept"]):
        hint = "--filter JUDGE asks a filter; --kept FILE reads what one left"
        raise SpecError("name either --filter or --kept", hint=hint)
    pair = bool(given["before"]), bool(given["after"])
    if given["train"] and (any(pair) or given["control"]):
        raise SpecError("--train makes its own models", hint="leave --before, --after and --control out")
    if any(pair) != all(pair) or (given["control"] and not all(pair)):
        raise SpecError("a change needs two models", hint="name --before and --after")
    if bool(given["train"]) != bool(given["base"]):
        raise SpecError("--train STAGE and --base BASE go together", hint="as in --train sft --base smollm2")
    if all(pair) and not given["held"]:
        hint = "--held FILE: on DATA itself a model shows what it remembers, not what it can read"
        raise SpecError("--before and --after read texts that neither was trained on", hint=hint)
    if given["held"] and not (all(pair) or given["train"]):
        raise SpecError("no model reads --held", hint="name --before and --after, or --train and --base")


def _settings(given: Mapping[str, Any]) -> "Settings":
    from withstand.audits.filter.settings import Settings
    from withstand.audits.filter.texts import Label

    label = Label.of(given["label"]) if given["label"] else None
    names = ("text", "cluster", "sliced", "limit", "ratio", "bound", "swaps", "seed")
    return Settings(label=label, **{name: given[name] for name in names})


def _filtered(
    data: "Data", listed: "Identities", settings: "Settings", given: Mapping[str, Any], out: Path, as_json: bool
) -> "Filtered | int":
    """What the filter did, or the exit code where a cap or Ctrl-C came before the end."""
    from withstand.audits.filter.asked import filter_named
    from withstand.audits.filter.filtered import by_asking, by_file
    from withstand.cli.guard import open_asking, unfinished

    if given["kept"]:
        if settings.limit is not None:
            raise SpecError("--limit saves asks, and --kept asks nothing", hint="leave one of them out")
        return by_file(data, given["kept"])
    guard = filter_named(given["filter_spec"], data.running, given["offline"])
    opened = {"store": str(out / "audit.db"), "reuse": "own", "max_asks": given["max_asks"]}
    asking: Asking
    with open_asking([guard], opened, as_json) as asking:
        return by_asking(data, guard, listed, settings, asking) or unfinished(asking)


def _held(
    filtered: "Filtered", settings: "Settings", given: Mapping[str, Any], out: Path, as_json: bool
) -> "Held | None":
    """What models read of held-out texts; None without models."""
    from withstand.audits.filter import held, trained
    from withstand.cli.tamper import target_of
    from withstand.registry import grammar

    data = filtered.data
    if given["before"]:
        models = {name: target_of(given[name]) for name in ("before", "after", "control") if given[name]}
        texts, notes = held.held_texts(given["held"], data, settings)
        return held.read_by(models, texts, notes, data.running)
    if not given["train"]:
        return None
    places = list(range(len(data.texts)))
    if given["held"]:
        texts, notes = held.held_texts(given["held"], data, settings)
    else:
        places, out_of = trained.split(data.texts, trained.HELD_OUT, settings.seed)
        texts, notes = [data.texts[place] for place in out_of], []
    training = trained.Training(
        target_of(given["base"]), trained.stage_of(grammar.parse(given["train"]), data.running),
        tuple(data.texts[place] for place in places), tuple(filtered.dropped[place] is True for place in places),
        data.running, given["seeds"], settings.seed, out, given["train"],
    )  # fmt: skip
    return held.trained_by(training, texts, notes, console.teller(as_json))


def _show(report: Json, out: Path) -> None:
    from withstand.audits.filter import page
    from withstand.audits.filter.tables import tables

    for table in tables(report):
        if not table.folded:
            console.table(table.texts(), table.heads(), table.title)
    console.put(f"{report['verdict']}:")
    console.put_all(page.answers(report))
    for text in report["notes"]:
        console.say(f"note: {text}")
    console.say(f"open {out / 'filter.html'}; filter.md and filter.json hold the same")

"""`withstand show KIND NAME --card`: the card of a classifier."""

import datetime
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import Result, options, store_file_option
from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.results.card import Make
    from withstand.results.card_records import Card
    from withstand.store.store import Store

OPTIONS = options(
    click.option("--card", is_flag=True, help="Show how well a judge, or a defense that blocks prompts, does."),
    click.option("--labels", default="", metavar="FILE",
                 help="Labels for --card of a judge, as `withstand calibrate` takes them (default: kitchen)."),
    click.option("--suite", "-s", "suites", multiple=True, metavar="SPEC",
                 help="Suite of the labels' behaviors, or of what a defense should block (default: kitchen)."),
    click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="What --labels calls a column."),
    click.option("--cut", type=float, default=None, metavar="LEVEL", help="Labels are levels, positive from here on."),
    click.option("--attack", "-a", "attacks", multiple=True, metavar="SPEC",
                 help="For a defense: an attack that words prompts and asks no model; again for more."),
    click.option("--benign", default="", metavar="SPEC", help="For a defense: benign prompts (default: the twin)."),
    click.option("--target", "-t", default="", metavar="SPEC", help="For a defense: the model behind it."),
    click.option("--screener", "settings", default="", metavar="FILE",
                 help="NAME is a screener of this monitor.toml; its labels are those of the monitor's audits."),
    click.option("--policy", default="", metavar="FILE", help="Policy of --screener."),
    click.option("--traffic", default="monitor", show_default=True, metavar="DIR", help="Folder of --screener."),
    click.option("--identities", default="", metavar="FILE", help="Identity terms to slice by, in place of ours."),
    click.option("--out", "-o", default="", metavar="FILE", help="Write the card: .html, .md or .json."),
    store_file_option("Store with verdicts of judges that ask a model, and with audits."),
)  # fmt: skip
KINDS = ("judge", "defense")


def card(kind: str, name: str, given: dict[str, Any]) -> Result:
    """Make a card, write it where that is asked for, and show it."""
    from withstand.report import card as written
    from withstand.report.forms import check_place

    if kind not in KINDS:
        raise SpecError(f"a {kind} has no card", hint="judges and defenses have one")
    _check(kind, given)
    if given["out"]:
        check_place(Path(given["out"]), written.WHAT)
    result = _card_of(kind, name, given)
    if given["out"]:
        written.write(result, Path(given["out"]))
    return Result(result.to_json(), lambda: _show(result, given["out"]))


def _check(kind: str, given: dict[str, Any]) -> None:
    """Raise `SpecError` for an option that this kind of card has no use for."""
    of_judge, of_defense = ("labels", "columns", "cut"), ("attacks", "benign", "target")
    wrong: tuple[str, ...] = of_judge if kind == "defense" else of_defense
    if given["settings"]:
        wrong = (*of_judge, *of_defense, "suites")
        if kind != "judge":
            raise SpecError("--screener is of a judge", hint="withstand show judge ID --card --screener FILE")
        if not given["policy"]:
            raise SpecError("--screener needs the policy", hint="--policy policy.toml")
    elif given["policy"]:
        raise SpecError("--policy is of a screener", hint="--screener monitor.toml names its settings")
    flags = {"columns": "column", "attacks": "attack", "suites": "suite"}
    for name in wrong:
        if given[name] not in ("", (), None):
            what = "a screener" if given["settings"] else f"a {kind}"
            raise SpecError(f"--{flags.get(name, name)} is not for the card of {what}", hint="leave it out")


def _card_of(kind: str, name: str, given: dict[str, Any]) -> "Card":
    from withstand.results.card import Make

    make = Make(_package(), _today(), given["identities"])
    with _store(given["store_file"]) as store:
        if given["settings"]:
            return _of_screener(name, given, store, make)
        if kind == "judge":
            from withstand.cli.calibrate import columns_of
            from withstand.results.card import judge_card
            from withstand.results.labels import labels_from

            labels = given["labels"] or "kitchen"
            source = labels_from(labels, given["suites"], store, columns_of(given["columns"]), given["cut"])
            return judge_card(name, labels, source, store, make)
        from withstand.results.card_guard import guard_card
        from withstand.results.guard_texts import Wanted

        wanted = Wanted(given["suites"] or ("kitchen",), given["attacks"], benign=given["benign"])
        return guard_card(name, wanted, given["target"], store, make)


def _of_screener(name: str, given: dict[str, Any], store: "Store", make: "Make") -> "Card":
    from withstand.monitor.screen.card import screener_card
    from withstand.monitor.section import Context
    from withstand.monitor.settings import read_settings
    from withstand.monitor.traffic import Traffic
    from withstand.redteam.policy.records import read_policy

    policy = read_policy(given["policy"])
    settings = read_settings(given["settings"], policy)
    with Traffic(given["traffic"]) as traffic:
        context = Context(traffic, settings, policy, store, traffic.end)
        return screener_card(context, name, given["policy"], given["traffic"], make)


@contextmanager
def _store(where: str) -> "Iterator[Store]":
    """The store, or one for this card alone where there is none: showing something leaves no file behind."""
    from withstand import api

    if "://" in where or Path(where).exists():
        with api.open_store(where, create=False) as store:
            yield store
        return
    with tempfile.TemporaryDirectory() as folder, api.open_store(Path(folder) / "card.db") as store:
        yield store


def _package() -> str:
    from importlib import metadata

    return metadata.version("withstand")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _show(result: "Card", out: str) -> None:
    from withstand.report import card as written
    from withstand.report.card_tables import tables

    for text in written.sentences(result):
        console.put(text)
    for table in tables(result, few=False):
        if not table.folded:
            console.put("")
            console.table(table.shown().texts(), table.shown().heads(), table.title)
    for title, lines in (("not measured", written.not_measured(result)), ("note", written.keep_in_mind(result))):
        for text in lines:
            console.put(f"{title}: {text}")
    if out:
        console.put(f"page: {out}")
    elif result.measured.figures:
        console.put("slices of few texts are in the page alone: --out FILE.html")

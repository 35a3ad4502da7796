"""`withstand plan probe`: the console for manual probing, in a terminal or from a pipe."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import command, offline_option, options, store_option
from withstand.cli.plan import plan_argument
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.cli.plan_console import Console
    from withstand.redteam.console.session import Session
    from withstand.redteam.plan.records import Plan
    from withstand.store.store import Store

PLACE = options(
    click.option("--round", "round_id", required=True, metavar="R", help="Round of the plan."),
    click.option("--member", required=True, metavar="M", help="Who tests: the id of a member."),
    click.option("--layer", default="", metavar="L", help="Layer to begin with; by default the round's first."),
    click.option("--session", default="", metavar="S", help="Session to go on with, by default the last open one."),
    click.option("--new", "fresh", is_flag=True, help="Begin a new session, though one is open."),
)
ANSWERS = options(
    click.option("--judge", "judges", multiple=True, metavar="JUDGE",
                 help="Show what this judge says of each answer; may be given several times."),
    click.option("--temperature", type=click.FloatRange(0, 10), default=0.0, show_default=True, metavar="T",
                 help="Sampling temperature."),
    click.option("--max-tokens", type=click.IntRange(1, 8_192), default=512, show_default=True, metavar="N",
                 help="Longest answer."),
    click.option("--manual", is_flag=True,
                 help="Send nothing: paste what you sent in a user interface, and what came back."),
    click.option("--reveal", is_flag=True, help="Show answers about restricted harms without /show."),
    click.option("--json", "as_json", is_flag=True,
                 help="Print each recorded attempt as a JSON line, and all else on stderr."),
)  # fmt: skip


@command()
@plan_argument
@PLACE
@ANSWERS
@offline_option
@store_option
def probe(
    path: str, round_id: str, member: str, layer: str, session: str, fresh: bool, judges: tuple[str, ...],
    temperature: float, max_tokens: int, manual: bool, reveal: bool, as_json: bool, offline: bool, store: str,
) -> int:  # fmt: skip
    """Probe the layers of a plan by hand, and record what you find.

    A line is sent to the layer, and its answer shown; /mark records it, /help lists the commands. Lines can come from a
    pipe. Each step is saved at once: the same command goes on where you stopped. Exit code 3 where a line of a pipe
    failed.
    """
    from withstand import api
    from withstand.cli.plan_console import Console
    from withstand.core import Sampling
    from withstand.redteam.plan.records import read_plan

    wanted = read_plan(path)
    with api.open_store(store) as opened:
        here = _session(opened, wanted, round_id, member, layer, session, fresh)
        here.offline = offline
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
        terminal = Console(here, wanted, judges, sampling, reveal, manual, as_json, sys.stdin.isatty())
        _greet(wanted, here)
        terminal.run(_lines(terminal))
        return 3 if terminal.failed and not terminal.interactive else 0


def _session(
    store: "Store", wanted: "Plan", round_id: str, member: str, layer: str, name: str, fresh: bool
) -> "Session":  # fmt: skip
    """The session that was named, the last open one of this member and round, or a new one."""
    from withstand.redteam.console.peers import first_context, sessions
    from withstand.redteam.console.session import Session

    own = [state for state in sessions(store, wanted, round_id, member) if state.member == member]
    still_open = [state.session for state in own if not state.ended]
    if name or (still_open and not fresh):
        here = Session.open(store, wanted, name or still_open[0])
        if here.state.member != member or here.state.round != round_id:
            raise click.UsageError(f"{name} is of {here.state.member} in {here.state.round}: read it with /view {name}")
        here.resume()
        console.say(f"going on with {here.state.session}: {count(len(here.state.exchanges), 'exchange')} so far")
        if layer and layer != here.state.context.layer:
            here.change(layer=layer)
        return here
    return Session.begin(store, wanted, round_id, member, first_context(store, wanted, round_id, member, layer))


def _greet(wanted: "Plan", here: "Session") -> None:
    """What the round is for, and a warning, before anything is sent."""
    purpose, this_round = wanted.purpose, wanted.round(here.state.round)
    if purpose.content_warning:
        console.say("Content warning: you may read harmful texts. Take breaks; /skip and /pause cost you nothing.")
    console.say(f"{purpose.name}, round {this_round.id} ({this_round.mode}): {this_round.goal or purpose.goal}")
    if purpose.contact:
        console.say(f"Questions: {purpose.contact}, or /note ? your question")
    console.say(
        f"{here.state.member} on {here.state.context.layer}, session {here.state.session}; /help shows commands"
    )
    if here.state.draft.text:
        console.say(f"not sent or not answered: {here.state.draft.text}")


def _lines(terminal: "Console") -> "Iterator[str]":
    """The lines that a person types, or those of a pipe. What the session sent can be called back where there is
    readline; no file keeps it."""
    if not terminal.interactive:
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):
        import readline

        for entry in terminal.session.state.exchanges:
            readline.add_history(entry.turn.original or entry.turn.text)
    while True:
        try:
            yield input(terminal.prompt)
        except EOFError:
            return

"""`withstand plan status`."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command
from withstand.cli.plan import plan_argument
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.plan.progress import Progress, Question
    from withstand.store.store import Store


@command(store=True, json=True)
@plan_argument
@click.option("--round", "round_id", default=None, metavar="R", help="Id of the round; by default the one that runs.")
@click.option("--remind", is_flag=True, help="Write a message for each member who has not much yet; nothing is sent.")
@click.option("--answer", "answered", nargs=2, default=None, metavar="ID TEXT", help="Answer a question of a member.")
def status(
    path: str, round_id: str | None, remind: bool, answered: tuple[str, str] | None, store: "Store"
) -> Result:  # fmt: skip
    """Show how far a round is: hours, entries, silent members, questions, thin cells."""
    from withstand.redteam.plan import progress as progressing
    from withstand.redteam.plan.records import read_plan

    plan = read_plan(path)
    now = time.time()
    if answered:
        progressing.answer(store, plan, *answered, now)
    of = progressing.progress(store, plan, now, round_id)
    texts = progressing.reminders(plan, of) if remind else {}
    value = {"schema": 1, **asdict(of), **({"reminders": texts} if remind else {})}
    return Result(value, lambda: _show(of, texts))


def _show(of: "Progress", texts: dict[str, str]) -> None:
    left = f", {count(of.days, 'day')} left" if of.days is not None and of.state == "running" else ""
    console.put(f"round {of.round}, {of.mode}: {of.state}{left}")
    rows = [
        [entry.member, f"{entry.worked:.1f} of {entry.planned:g}", str(entry.attempts),
         f"{entry.tasks - len(entry.left)} of {entry.tasks}" if entry.tasks else "", _at(entry.last),
         "silent" if entry.silent else ""]
        for entry in of.members
    ]  # fmt: skip
    console.table(rows, ["member", "hours", "attempts", "tasks tried", "last step (UTC)", ""])
    console.put(f"cells: {', '.join(f'{number} {state}' for state, number in of.cells.items()) or 'none'}")
    for outside in of.outside:
        console.put(f"in no cell: {count(outside.attempts, 'attempt')}: {outside.reason}")
    for cell in of.next:
        console.put(f"test next: {', '.join(filter(None, (cell.harm, cell.feature, cell.persona, cell.layer)))}")
    for layer, why in of.blocked.items():
        console.put(f"blocked: {layer}: {why}")
    if of.skipped:
        console.put(f"left to others: {', '.join(of.skipped)}; assign the round again")
    for question in of.questions:
        if not question.answer:
            _ask(question)
    for text in texts.values():
        click.echo("\n" + "\n".join(console.line(line) for line in text.splitlines()))


def _at(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) if seconds else "never"


def _ask(question: "Question") -> None:
    what = "cannot reach" if question.about == "access" else "asks"
    console.put(f"{question.member} {what} [{question.id}]: {question.text or '(erased)'}")

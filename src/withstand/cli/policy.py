"""`withstand policy`: what a service calls harmful, as a file with versions."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command
from withstand.core.text import visible

if TYPE_CHECKING:
    from withstand.redteam.tables import Problem

POLICY = click.argument("path", metavar="[POLICY]", default="policy.toml")


@click.group(cls=Commands, context_settings=CONTEXT)
def policy() -> None:
    """Name the harms that you mean, in a file with versions."""


@command(group=policy)
@click.option("-o", "--output", default="policy.toml", show_default=True, metavar="FILE", help="File to write.")
@click.option("--name", default="", metavar="NAME", help="Name of your service.")
def new(output: str, name: str) -> None:
    """Write a commented policy to start from."""
    from withstand.cli import init
    from withstand.redteam.policy.records import starter

    init.new(Path(output))
    init.write(Path(output), starter(name))
    console.say(f"wrote {output}; read every definition, then `withstand policy check {output}`")


@command(group=policy, json=True)
@POLICY
def check(path: str) -> Result:
    """List all mistakes of a policy, and what to look at again.

    POLICY is policy.toml by default. Exit codes: 0 no error, 1 errors, 2 no policy can be read from the file.
    """
    from withstand.redteam.policy.check import check as problems_of

    policy, problems = problems_of(path)
    errors = [problem for problem in problems if problem.level == "error"]
    value = {
        "schema": 1,
        "policy": path,
        "label": policy.label if policy else "",
        "digest": policy.digest if policy else "",
        "problems": [asdict(problem) for problem in problems],
    }

    def show() -> None:
        _say(path, problems)
        if policy:
            console.put(f"{path}: {policy.label} is sound, with {len(policy.categories)} categories")

    return Result(value, show, 1 if errors else 0)


@command(group=policy, json=True)
@click.argument("old")
@click.argument("new")
def diff(old: str, new: str) -> Result:
    """Show what changed from policy OLD to NEW.

    Refuses a changed meaning (definition, action, tier and the like) without a new version, and an id that is gone
    without being retired. Exit codes: 0 may be used, 1 refused, 2 a file has errors.
    """
    from withstand.redteam.policy.diff import changes, in_words, refusals
    from withstand.redteam.policy.records import read_policy

    before, after = read_policy(old), read_policy(new)
    listed, problems = changes(before, after), refusals(before, after)
    value = {
        "schema": 1,
        "old": before.label,
        "new": after.label,
        "changes": [asdict(change) for change in listed],
        "refused": [asdict(problem) for problem in problems],
    }

    def show() -> None:
        console.put(f"{before.label} -> {after.label}")
        for change in listed:
            console.put(in_words(change))
        if not listed:
            console.put("nothing changed")
        _say(new, problems)

    return Result(value, show, 1 if problems else 0)


@command(group=policy)
@POLICY
@click.option("-o", "--output", metavar="FILE", help="File to write, .md or .html (default: Markdown on stdout).")
@click.option("--since", metavar="OLD", help="The policy before: say first what changed since.")
def render(path: str, output: str | None, since: str | None) -> None:
    """Write a policy as a page for developers."""
    from withstand.redteam.policy import page as policy_page
    from withstand.redteam.policy.records import read_policy

    policy, before = read_policy(path), read_policy(since) if since else None
    if output:
        forms = {".md": policy_page.markdown, ".html": policy_page.html}
        console.write(output, {ending: partial(form, policy, before) for ending, form in forms.items()})
        return
    text = policy_page.markdown(policy, before)
    click.echo(visible(text) if sys.stdout.isatty() else text, nl=False)


def _say(path: str, problems: "Sequence[Problem]") -> None:
    for problem in problems:
        if problem.level == "error":
            console.error(f"{path}: {problem.place}: {problem.message}", problem.hint)
        else:
            console.say(f"warning: {path}: {problem}")

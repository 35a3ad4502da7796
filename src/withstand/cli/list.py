"""`withstand list`."""

from typing import Any

import click

from withstand.cli.options import Result, command
from withstand.core import SpecError, did_you_mean
from withstand.core.text import visible


def kind_of(text: str) -> str:
    """The kind of component that a word names, in the singular or the plural. Raises `SpecError`."""
    from withstand.registry import find

    plurals = {f"{kind}s": kind for kind in find.ROOMS}
    kind = plurals.get(text, text)
    if kind not in find.ROOMS:
        hint = did_you_mean(text, plurals, f"kinds: {', '.join(plurals)}")
        raise SpecError(f"there is no kind {text!r}", hint=hint)
    return kind


@command("list", json=True)
@click.argument("kind", metavar="[KIND]", default="")
@click.option("--check", is_flag=True, help="Show which copies of published suites are here, and where to get others.")
def list_(kind: str, check: bool) -> Result:
    """List suites, targets, attacks, defenses, judges and stages."""
    from withstand.registry import find, sets

    if check:
        return _checked(kind)
    kinds = [kind_of(kind)] if kind else list(find.ROOMS)
    summaries = {k: {name: find.summary(entry) for name, entry in find.entries(k).items()} for k in kinds}
    if "attack" in summaries:
        summaries["attack"] |= {name: sets.about(name)[0] for name in sets.names()}
    return Result(summaries, lambda: _show(summaries))


def _checked(kind: str) -> Result:
    """The published suites with the user's copies. Raises `SpecError` for another kind."""
    from withstand.cli.copies import every_copy

    if kind_of(kind or "suites") != "suite":
        raise SpecError(f"--check is of suites, not of {kind}", hint="`withstand list suites --check`")
    copies = {copy.label: copy.json() for copy in every_copy()}
    return Result(copies, lambda: _show_copies(copies))


def _show_copies(copies: dict[str, Any]) -> None:
    width = max(map(len, copies))
    for name, copy in sorted(copies.items(), key=lambda item: (not item[1]["here"], item[0])):
        license, twin = copy["license"] or "license: see there", copy["benign"] or "none"
        if not copy["here"]:
            words = f"missing: {copy['source']} ({license}), as {copy['place']}; twin {twin}"
        elif "error" in copy:
            words = f"unreadable: {copy['error']}"
        else:
            facts = [f"{copy['behaviors']} behaviors", copy["version"], license, f"twin {twin}", *copy["notes"]]
            words = "; ".join(facts)
        click.echo(visible(f"  {name:<{width}}  {words}"))


def _show(summaries: dict[str, dict[str, Any]]) -> None:
    for kind, components in summaries.items():
        click.secho(f"{kind}s", bold=True)
        width = max(map(len, components))
        for name, summary in sorted(components.items()):
            click.echo(visible(f"  {name:<{width}}  {summary}"))
    click.echo("`withstand show KIND NAME` explains a component.", err=True)

"""The option `--policy` of report, compare and gate: which policy names the categories."""

from typing import TYPE_CHECKING

import click

from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.core.taxonomy import Grouping

policy_option = click.option("--policy", metavar="FILE", help="With --by policy: the policy, such as policy.toml.")


def check_policy(by: str | None, policy: str | None) -> None:
    """Raise `SpecError` unless a policy is named just where rates are by it."""
    if by == "policy" and not policy:
        raise SpecError("--by policy, but no policy", hint="--policy policy.toml; `withstand policy new` writes one")
    if policy and by != "policy":
        raise SpecError("--policy names the categories of --by policy", hint="add --by policy, or leave it out")


def read_grouping(policy: str | None) -> "Grouping | None":
    """The policy of a file as the record that groups behaviors; None without one. Raises `SpecError` for its errors."""
    if not policy:
        return None
    from withstand.redteam.policy.grouping import grouping_of
    from withstand.redteam.policy.records import read_policy

    try:
        return grouping_of(read_policy(policy))
    except SpecError as error:
        first, *more = str(error).split("\n")
        if not more:
            raise
        raise SpecError(f"{first} {more[0].strip()}", hint=f"`withstand policy check {policy}` lists all") from None

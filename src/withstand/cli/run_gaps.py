"""`withstand run --harms-without-coverage`: the gaps of a red team's plan as one more suite of an ordinary run."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import Result
from withstand.core import SpecError, dumps
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.runner.spec import RunSpec

gaps_option = click.option(
    "--harms-without-coverage", "gaps_of", metavar="PLAN",
    help="Add a suite: requests for the harms of a red team's plan that nobody covered.",
)  # fmt: skip


def run_gaps(given: dict[str, Any], run: "Callable[[RunSpec], Result | int]") -> Result | int:
    """Run what the flags say, with the gaps of a plan as one more suite. Exit code 3 where a harm has no request.

    What is sent for which harm is printed first. Raises `SpecError` where there is nothing to send, or no judge.
    """
    from withstand.cli import flags
    from withstand.cli.plan_coverage import in_store
    from withstand.redteam.harms import gaps

    plan, listed = in_store(given["gaps_of"], given["store"], lambda store, read: (read, gaps.gaps(store, read)))
    if not listed:
        console.put("every harm of the plan is covered and measured: there is nothing to run")
        return 0
    path, rows = gaps.write(plan, listed)
    for text in gaps.notes(listed, rows):
        console.say(text)
    if not rows:
        message = "none of the harms without coverage has a request to send"
        raise SpecError(message, hint='write some in the plan: requests = ["..."], or record findings')
    console.say(f"wrote {path}: {count(len(rows), 'behavior')}; what you edit or drop in it stays so")
    given["suite"] = (*given["suite"], f"generated:{dumps(str(path))}")
    spec = flags.spec_from(given)
    if spec.judge is None and (lacking := gaps.unjudged(rows)):
        raise SpecError(f"no suite measures {', '.join(lacking)}, so no judge is known", hint="name one with --judge J")
    result = run(spec)
    if not (left := gaps.uncovered(listed, rows)):
        return result
    console.say(f"note: still uncovered, since nothing could be sent: {', '.join(left)}; write requests in the plan")
    return replace(result, code=result.code or 3) if isinstance(result, Result) else result or 3

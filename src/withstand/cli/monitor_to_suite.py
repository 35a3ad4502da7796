"""`withstand monitor to-suite`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command
from withstand.core import SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.core import Behavior
    from withstand.monitor.clusters.identity import Known
    from withstand.store.store import Store


@command("to-suite", store=True, json=True)
@click.argument("folder", metavar="[DIR]", default="monitor")
@click.option("-o", "--out", default="traffic.jsonl", show_default=True, metavar="FILE",
              help="File of behaviors. Rows that it holds stay as they are.")  # fmt: skip
@click.option("--cluster", "ids", multiple=True, metavar="ID", help="These clusters alone, and no audits; repeats.")
@click.option("--suite", "suites", multiple=True, metavar="S",
              help="Leave out what is like a behavior of this suite; repeats.")  # fmt: skip
@click.option("--name", default="", metavar="NAME", help="Name of the monitor, where the store has several.")
@click.option("--judge", "-j", default="", metavar="J", help="Judge of the rows (default: refusal_words).")
def to_suite(
    folder: str, out: str, ids: tuple[str, ...], suites: tuple[str, ...], name: str, judge: str, store: "Store"
) -> Result:
    """Write what was seen in traffic, and is in no suite, as behaviors to review.

    DIR is the folder of a monitor. A person accepts, edits or drops each row (`withstand serve --behaviors FILE`):
    before that no run asks it.
    """
    from withstand.core.save import locked
    from withstand.formats.generated import added, read_generated, write_generated
    from withstand.monitor.suite import candidates, harvest
    from withstand.monitor.traffic import Traffic
    from withstand.registry import find
    from withstand.registry.grammar import parse
    from withstand.runner.suites import check_judge

    if judge:
        check_judge(find.build("judge", parse(judge)), False)
    against = {suite: _behaviors(suite) for suite in suites}
    clusters = _clusters(store, ids, name)
    path = Path(out)
    with Traffic(folder, read_only=True) as traffic, locked(path):
        before = read_generated(out) if path.exists() else []
        result = harvest(candidates(traffic, store, clusters, audits=not ids), before, against, judge)
        rows = added(before, result.rows)
        write_generated(path, rows)
    waiting = sum(row.waits for row in rows)
    value = {
        "schema": 1, "file": out, "clusters": [entry.id for entry in clusters], "candidates": result.seen,
        "added": [row.id for row in result.rows], "alike": result.alike, "without_text": result.lacking,
        "short": result.short, "rows": len(rows), "to_review": waiting,
    }  # fmt: skip

    def show() -> None:
        console.put(
            f"{out}: {count(len(result.rows), 'behavior')} of {count(len(clusters), 'cluster')} added, "
            f"{count(waiting, 'row')} to review; of {count(result.seen, 'candidate')} {result.alike} were like another "
            f"or a suite's, {result.lacking} had no text, {result.short} were too short"
        )
        quoted = shlex.quote(out)
        console.say(f"next: withstand serve --behaviors {quoted}, then withstand run --suite generated:{quoted}")

    return Result(value, show)


def _behaviors(suite: str) -> "list[Behavior]":
    from withstand.registry import find
    from withstand.registry.grammar import parse

    behaviors: list[Behavior] = find.build("suite", parse(suite)).load()
    return behaviors


def _clusters(store: "Store", ids: tuple[str, ...], name: str) -> "list[Known]":
    """The clusters that are wanted: those named, or the stable ones of a monitor."""
    from withstand.monitor.clusters.identity import known_cluster, known_clusters

    if ids:
        return [known_cluster(store, cluster_id) for cluster_id in dict.fromkeys(ids)]
    entries = known_clusters(store, name or None)
    if len(monitors := sorted({entry.monitor for entry in entries})) > 1:
        raise SpecError(f"the store has clusters of {len(monitors)} monitors", hint=f"--name {' or '.join(monitors)}")
    if not entries:
        hint = "withstand monitor run LOGS finds them; --store names another store"
        raise SpecError("the store has no cluster" + (f" of {name}" if name else ""), hint=hint)
    return [entry for entry in entries if entry.value["stable"]]

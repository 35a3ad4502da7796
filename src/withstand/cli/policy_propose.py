"""`withstand policy propose`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console, init
from withstand.cli.options import command

if TYPE_CHECKING:
    from withstand.store.store import Store


@command(store=True)
@click.option("--from-cluster", "cluster", required=True, metavar="ID", help="Cluster of a monitor's traffic.")
@click.option("-o", "--output", default="", metavar="FILE", help="New file to write (default: print it).")
def propose(cluster: str, output: str, store: "Store") -> None:
    """Draft a category for a cluster of traffic that no category names.

    No policy is changed: read the draft, write the definition, and paste it into yours with a new version.
    """
    from withstand.monitor.clusters.identity import known_cluster
    from withstand.monitor.clusters.propose import draft

    text = draft(known_cluster(store, cluster))
    if not output:
        click.echo(text, nl=False)
        return
    init.new(Path(output))
    init.write(Path(output), text)
    console.say(f"wrote {output}; write its definition, then paste it into your policy with a new version")

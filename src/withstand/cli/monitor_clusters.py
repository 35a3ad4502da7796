"""`withstand monitor clusters`: list them, and give them names."""

import time
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command

if TYPE_CHECKING:
    from withstand.store.store import Store


@click.group(cls=Commands, context_settings=CONTEXT)
def clusters() -> None:
    """List and name clusters of traffic."""


@command("list", group=clusters, store=True, json=True)
@click.option("--name", default=None, metavar="NAME", help="Those of this monitor alone.")
def list_(name: str | None, store: "Store") -> Result:
    """List the clusters that monitors have seen, the latest first."""
    from withstand.monitor.clusters.identity import known_clusters
    from withstand.redteam.dates import minute_of

    entries = sorted(known_clusters(store, name), key=lambda entry: (-entry.value["last"], entry.id))
    columns = ("kind", "category", "size", "accounts", "first", "last", "stable", "terms")
    listed = [
        {"id": entry.id, "label": entry.label, "name": entry.name, "monitor": entry.monitor}
        | {column: entry.value[column] for column in columns}
        for entry in entries
    ]

    def show() -> None:
        if not listed:
            console.put("No cluster was seen: withstand monitor run LOGS looks for them.")
            return
        console.table(
            [
                [row["id"], row["label"], row["category"], f"{row['size']:,}", f"{row['accounts']:,}",
                 minute_of(row["first"]), minute_of(row["last"]), "" if row["stable"] else "unstable"]
                for row in listed
            ],
            ["id", "cluster", "category", "exchanges", "accounts", "first (UTC)", "last (UTC)", ""],
        )  # fmt: skip

    return Result({"schema": 1, "clusters": listed}, show)


@command(group=clusters, store=True, json=True)
@click.argument("cluster", metavar="ID")
@click.argument("name")
def name(cluster: str, name: str, store: "Store") -> Result:
    """Give a cluster a name, which later runs keep."""
    from withstand.monitor.clusters.identity import named

    entry = named(store, cluster, name, time.time())
    value = {"schema": 1, "id": entry.id, "name": entry.name}
    return Result(value, lambda: console.put(f"{entry.id} is called {entry.name}"))

"""`withstand store`."""

from collections import Counter
from contextlib import ExitStack

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command
from withstand.core.text import count

ADDED = ("run", "behavior", "row", "answer", "failure")


@click.group(cls=Commands, context_settings=CONTEXT)
def store() -> None:
    """Merge stores, check them, and say which are yours."""


@command(group=store, json=True)
@click.argument("sources", nargs=-1, required=True, metavar="FROM...")
@click.option("--into", required=True, metavar="DB", help="The store that everything is added to.")
def merge(sources: tuple[str, ...], into: str) -> Result:
    """Add everything of other stores, as a set union: it joins the shards of several machines.

    Of an edit that both have and that differs, the target's stands. Such edits are named, and the exit code is 3.
    """
    from withstand import api
    from withstand.store import merge as merging

    total: Counter[str] = Counter()
    edits: list[str] = []
    with ExitStack() as stack:
        opened = [stack.enter_context(api.open_store(source, create=False)) for source in sources]
        target = stack.enter_context(api.open_store(into))  # last: a mistake above leaves no empty store behind
        for source_store in opened:
            edits += [f"{edit} (of {source_store.where})" for edit in merging.differing(source_store, target)]
            total.update(merging.merge(source_store, target))
    added = [count(total[table], table) for table in ADDED if total.get(table)]
    rest = "what its runs want" if total.get("want") else "nothing new"
    for edit in edits:
        console.say(f"note: {into} has another {edit}, which stands; merge by hand what it lacks")
    shown = {**total, "differing": edits}
    return Result(shown, lambda: console.put(f"merged into {into}: {', '.join(added) or rest}"), 3 if edits else 0)


@command(group=store, json=True)
@click.argument("where", metavar="STORE")
def check(where: str) -> Result:
    """Check the mark of each entry that names you as its writer.

    It counts all entries by writer. Exit code 1: some name you and have not your mark, so that somebody changed them,
    or wrote them under your name. Of entries of others you can check none.
    """
    from withstand import api
    from withstand.store.marks import CHANGED, MARKED, in_words

    with api.open_store(where, create=False) as opened:
        checked = {table.name: opened.marks.verified(table) for table in MARKED}
        value = {
            "schema": 1, "store": opened.where, "writer": opened.marks.author,
            "entries": {name: {"yours": own, "others": dict(others)} for name, (own, others) in checked.items()},
            "changed": sum(others[CHANGED] for _, others in checked.values()),
        }  # fmt: skip

    def show() -> None:
        console.put(f"{value['store']}: you are writer {value['writer']}")
        for name, (own, others) in checked.items():
            for text in filter(None, [own and f"{count(own, name)} with your mark", others and in_words(others, name)]):
                console.put(f"  {text}")

    return Result(value, show, 1 if value["changed"] else 0)


@command(group=store)
@click.argument("where", metavar="STORE")
def trust(where: str) -> None:
    """Take a store for your own: one of a colleague, of release 0.1, or of another machine of yours.

    Runs reuse the rows of all who have written to it until now, also what they write later, and the explorer asks what
    their runs name. Say it again when somebody new writes to it. A store in which you alone write needs none of it.
    """
    from withstand import api
    from withstand.store.marks import in_words

    with api.open_store(where, create=False) as opened:
        is_own, others = opened.is_own, opened.marks.untrusted()
        if others or not is_own:
            opened.marks.trust()
        runs, authors = count(len(opened.runs()), "run"), opened.marks.authors()
        own = authors.pop(opened.marks.author, 0)
        state = "is yours, with all who wrote to it until now" if is_own else "is trusted from now on"
        console.put(f"{opened.where} {'is yours already' if is_own and not others else state}: {runs}")
        for text in filter(None, [own and f"{count(own, 'row')} by you", in_words(authors) if authors else ""]):
            console.put(f"  {text}")
        console.put(f"you are writer {opened.marks.author}")

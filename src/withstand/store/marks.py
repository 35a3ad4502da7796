"""Who wrote the entries of a store that decide a verdict.

Each carries a mark: BLAKE2b of what it says, keyed with its writer's secret (`withstand.core.home`). A user can make
and check the own marks alone. Of other writers a store says the public name (`author`), which anybody can claim, so
that an entry counts as another's where the user trusts this name in this store (`withstand store trust`).
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql

from withstand.core.errors import ForeignRowsError
from withstand.core.home import identity
from withstand.core.text import count, series
from withstand.store import trust
from withstand.store.tables import answer, attempt, calibration, draw, label, meta, probe, row, run, writer

if TYPE_CHECKING:
    from withstand.store.store import Store

MARKED = (row, answer, run, label, draw, calibration, probe, attempt)
UNMARKED = "unmarked"
"""What stands for the author of entries that older versions wrote, and for their mark in a store they were merged
into. NULL as a mark is an entry that has been in its store since then."""

UNKNOWN = "unknown"
CHANGED = "changed"
"""In the place of an author: the entry names the user, and its mark is not one of the user's."""

_ALONE = os.urandom(32)
"""The secret of a process whose user can keep none: it knows its own entries."""


def _covered(table: sql.Table) -> tuple[str, ...]:
    """The columns that a mark covers: no times, costs and FLOPs, which decide no verdict, and which a database may
    round; and no column that came after marks, so that those of older versions hold."""
    left_out = ("mark", "reuse", "changed")
    return tuple(c.name for c in table.columns if c.name not in left_out and not isinstance(c.type, sql.Double))


COVERED = {table.name: _covered(table) for table in MARKED}
CHECKED = {name: (*columns, "mark") for name, columns in COVERED.items()}
"""The columns that a check reads, in order."""

_FORMS = {name: name + "\0%s" * len(columns) for name, columns in COVERED.items()}
"""What a mark is made of. What we write has no NUL in a column, so that no other content reads the same."""


class Marks:
    """The marks of an open store: makes those of its user, and tells which entries are of others."""

    def __init__(self, store: "Store") -> None:
        key = blake2b(identity() or _ALONE, digest_size=32, person=b"withstand mark").digest()
        self.author = blake2b(b"author", key=key, digest_size=6).hexdigest()
        self._empty = blake2b(key=key, digest_size=16)
        self._store = store
        self._authors: dict[str | None, str | None] = {}

    def _mark(self, form: str, content: tuple[Any, ...]) -> str:
        """The mark of an entry with this content, in the order of `COVERED`: 32 hex digits."""
        state = self._empty.copy()
        state.update((form % content).encode("utf-8", "surrogatepass"))
        return state.hexdigest()

    def sign(self, table: sql.Table, entries: Iterable[dict[str, Any]]) -> None:
        """Mark entries that hold all columns of the table."""
        form, content, mark = _FORMS[table.name], itemgetter(*COVERED[table.name]), self._mark
        for entry in entries:
            entry["mark"] = mark(form, content(entry))

    def is_signed(self, table: sql.Table, entry: Mapping[str, Any]) -> bool:
        """Whether the user wrote an entry of all columns, and nobody changed it."""
        content = itemgetter(*COVERED[table.name])(entry)
        return bool(entry["mark"] == self._mark(_FORMS[table.name], content))

    def others(self, table: sql.Table, entries: Iterable[Any], columns: Sequence[str]) -> Counter[str]:
        """How many entries neither the user wrote nor a writer whom the user trusts in this store, by author.

        columns: of the entries; those of `CHECKED` are among them.
        """
        return self._untrusted(self._unsigned(table, entries, columns))

    def _is_own(self, table: sql.Table, columns: Sequence[str]) -> Callable[[Any], bool]:
        """Whether an entry of these columns has the user's mark."""
        form, at = _FORMS[table.name], columns.index("mark")
        content, mark = itemgetter(*map(columns.index, COVERED[table.name])), self._mark
        return lambda entry: entry[at] is not None and entry[at] == mark(form, content(entry))

    def _unsigned(self, table: sql.Table, entries: Iterable[Any], columns: Sequence[str]) -> Counter[str]:
        """How many entries have not the user's mark, by author."""
        is_own, at, of = self._is_own(table, columns), columns.index("mark"), columns.index("writer")
        unsigned: Counter[tuple[str | None, bool]] = Counter()
        for entry in entries:
            if not is_own(entry):
                unsigned[entry[of], entry[at] in (None, UNMARKED)] += 1
        authors: Counter[str] = Counter()
        for (process, unmarked), n in unsigned.items():
            authors[self._author(process, unmarked)] += n
        return authors

    def verified(self, table: sql.Table, where: Any = None) -> tuple[int, Counter[str]]:
        """How many entries (default: all) have the user's mark, and how many have not, by author: `CHANGED` for those
        that name the user. Reads them some at a time: 100,000 rows of 2 kB take about a second."""
        names = CHECKED[table.name]
        own, unsigned = 0, Counter[str]()
        with self._store.errors(), self._store.engine.connect() as connection:
            chosen = sql.select(*(table.c[name] for name in names))
            chosen = chosen if where is None else chosen.where(where)
            for part in connection.execution_options(yield_per=2_000).execute(chosen).partitions():
                of_part = self._unsigned(table, part, names)
                own += len(part) - of_part.total()
                unsigned += of_part
        return own, unsigned

    def checked(self, table: sql.Table, columns: Sequence[str], where: Any) -> list[Any]:
        """Entries to build on, the columns first. Raises `ForeignRowsError` where some are of a writer whom the user
        does not trust, and `reuse` of the store is not "all"."""
        named = list(dict.fromkeys([*columns, *CHECKED[table.name]]))
        chosen = sql.select(*(table.c[name] for name in named)).where(where).order_by(table.c.key)
        entries = self._store.select(chosen)
        if self._store.reuse != "all":
            refuse(self._store.where, table.name, self.others(table, entries, named), len(entries))
        return entries

    def counted(self, table: sql.Table, where: Any, order: Any = None) -> tuple[list[Any], Counter[str]]:
        """The entries of the user and of trusted writers, and how many of others do not count, by author."""
        names, c = CHECKED[table.name], table.c
        chosen = sql.select(*(c[name] for name in names)).where(where).order_by(c.key if order is None else order)
        counted, left, is_own = list[Any](), Counter[str](), self._is_own(table, names)
        for entry in self._store.select(chosen):
            if is_own(entry):
                counted.append(entry)
                continue
            others = self.others(table, [entry], names)
            left += others
            if not others or self._store.reuse == "all":
                counted.append(entry)
        return counted, left

    def foreign(self, table: sql.Table, entries: Sequence[Any]) -> list[str]:
        """Of each entry (of all columns) its author, where that is neither the user nor a writer whom the user trusts;
        "" else."""
        names = table.columns.keys()
        is_own, accepted = self._is_own(table, names), frozenset[str]()
        authors = ["" if is_own(e) else self._author(e.writer, e.mark in (None, UNMARKED)) for e in entries]
        if any(authors):
            accepted = self.trusted()
        return ["" if author in accepted or self._store.reuse == "all" else author for author in authors]

    def of_processes(self, entries: Mapping[Any, int]) -> Counter[str]:
        """As `others`, by what the store says of the processes that wrote: nothing is read, and no mark is checked."""
        authors: Counter[str] = Counter()
        for process, n in entries.items():
            if self._claimed(process) != self.author:
                authors[self._author(process, False)] += n
        return self._untrusted(authors)

    def of_run(self, entry: Any) -> tuple[bool, bool]:
        """Whether the user recorded a run, by its entry of all columns, and whether that or a trusted writer did."""
        own = self.is_signed(run, entry._mapping)
        return own, own or not self.others(run, [entry], run.columns.keys())

    def _author(self, process: str | None, unmarked: bool) -> str:
        """The author of entries of a process that have not the user's mark. The user's own processes mark all that
        they write, so that none is without a mark."""
        claimed = self._claimed(process)
        if claimed == self.author:
            return CHANGED
        return UNMARKED if unmarked or claimed is None else claimed

    def _untrusted(self, authors: Counter[str]) -> Counter[str]:
        trusted = self.trusted() if authors else frozenset()
        return Counter({author: n for author, n in authors.items() if author not in trusted})

    def _claimed(self, process: str | None) -> str | None:
        """The author that a process names; None where it is of an older version."""
        if process not in self._authors:
            entries = self._store.select(sql.select(writer.c.key, writer.c.author))
            self._authors = {key: _named(claim) for key, claim in entries}
        return self._authors.setdefault(process, None)

    def trusted(self) -> frozenset[str]:
        """The authors whom the user trusts in this store; `UNMARKED` for the user's rows of before there were marks."""
        facts = self._store.facts()
        store_id, owner = facts.get("id", ""), facts.get("owner", "")
        unmarked = {UNMARKED} if trust.is_of_before(store_id, owner) else set()
        return frozenset(trust.trusted().get(store_id, frozenset()) | unmarked) - {CHANGED, UNKNOWN}

    def trust(self) -> None:
        """Take the store for the user's own from now on, and trust its writers of today. Raises `StoreError` where
        that cannot be kept."""
        store = self._store
        if not trust.is_id(store.facts().get("id", "")):  # a store of release 0.1
            with store.writing() as connection:
                connection.execute(sql.delete(meta).where(meta.c.key.in_(["id", "owner"])))
                trust.identify(connection, store.insert(meta), of_before=True)
        trust.remember(store.facts()["id"], self.strangers(), store.where)

    def untrusted(self) -> frozenset[str]:
        """The authors in this store whom the user does not trust, as far as the store names them."""
        processes = self._store.select(sql.select(row.c.writer).distinct())
        return frozenset(self.of_processes({process: 1 for (process,) in processes}))

    def strangers(self) -> frozenset[str]:
        """The authors in this store other than the user."""
        listed = {_named(claim) or UNMARKED for (claim,) in self._store.select(sql.select(writer.c.author).distinct())}
        return frozenset(listed | set(self.authors())) - {self.author, UNKNOWN}

    def passed_on(self, table: sql.Table, entries: Iterable[dict[str, Any]], into: "Marks") -> list[dict[str, Any]]:
        """Entries for another store: what the user wrote before there were marks gets one, and what others wrote then
        can no longer pass for the user's."""
        facts = self._store.facts()
        ours = trust.is_of_before(facts.get("id", ""), facts.get("owner", ""))
        listed = list(entries)
        if table is writer:
            for entry in listed:
                entry["author"] = entry["author"] or (self.author if ours else None)
        elif table in MARKED:
            unmarked = [entry for entry in listed if entry["mark"] is None]
            for entry in unmarked:
                entry["mark"] = UNMARKED
            if ours:
                into.sign(table, unmarked)
        return listed

    def authors(self) -> Counter[str]:
        """How many rows the store has by author, the user among them, by what it says of the processes."""
        count_all = sql.select(row.c.writer, sql.func.count()).group_by(row.c.writer)
        authors: Counter[str] = Counter()
        for process, n in self._store.select(count_all):
            authors[self._claimed(process) or UNMARKED] += n
        return authors


def refuse(where: str, table: str, others: Mapping[str, int], of: int) -> None:
    """Raise `ForeignRowsError` where entries that are to be built on are of others. of: how many there are."""
    if total := sum(others.values()):
        noun = "answer" if table == "answer" else "label" if table == "label" else "row"
        verb = "was" if total == 1 else "were"
        raise ForeignRowsError(
            f"{total:,} of {count(of, noun)} to reuse from {where} {verb} not written by you: {in_words(others, noun)}",
            hint=f"if you believe them, `withstand store trust {where}` counts those of its writers from now on, and "
            "--reuse all counts all this once; else use another --store. Where you run on several machines or in CI, "
            "give all of them one WITHSTAND_IDENTITY",
        )


def _named(claim: str | None) -> str | None:
    return claim if claim is None or re.fullmatch(r"[0-9a-f]{12}", claim) else UNKNOWN


def in_words(authors: Mapping[str, int], noun: str = "row") -> str:
    """Who wrote how many, as in "12 rows by writer 0f3a5b7c9d1e and 1 row by an unknown writer"."""
    words = {
        UNMARKED: "of before writers were recorded",
        UNKNOWN: "by an unknown writer",
        CHANGED: "that name you as their writer but have not your mark: somebody changed them",
    }
    listed = sorted(authors.items(), key=lambda pair: (-pair[1], pair[0]))
    return series([f"{count(n, noun)} {words.get(author, f'by writer {author}')}" for author, n in listed])

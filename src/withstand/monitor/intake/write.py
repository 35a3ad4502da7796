"""Batches of columns into the tables of the traffic, each with the position that it was read to, in one transaction.

**Copies.** Two exchanges are one if their id (where the log has one), account, time and both texts are equal; without
an id all that the log says must be. A copy is dropped and counted, with its line. Without an id, a latency and parts of
a second, a user who asks the same twice in a second looks like a line that a restarted writer wrote twice: such lines
are kept and counted where they stand in one log, and dropped where they stand in two. An id that comes again with
another content is counted, and the exchange kept. Labels that a copy brings, and its original lacks, are kept.

**Clocks.** A time before 2000 or after 2100 is no time: the exchange gets that of the one before it in its log. A log
that goes back by more than an hour is counted, and its times are kept as they stand.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from withstand.formats.traffic.source import STDIN
from withstand.monitor.intake.columns import AS_IS, HASHED, LISTED, NAMES, Columns, Effect
from withstand.monitor.traffic import Traffic

EARLIEST, LATEST = 946_684_800.0, 4_102_444_800.0
"""2000 and 2100, in seconds since 1970."""
BACK = 3_600.0
"""Seconds by which a log may go back: an exchange is written when it ends, with the time at which it began."""
TYPES = {
    "line": "int64", "ts": "float64", "prompt_chars": "int32", "completion_chars": "int32", "skeleton": "uint64",
    "audit": "float64",
}  # fmt: skip
"""Columns without NULL -> their type in numpy."""
FIGURES = {"prompt_tokens": "INTEGER", "completion_tokens": "INTEGER", "latency_ms": "DOUBLE"}
FLAGS = ("refused", "blocked")
LABEL = ("category", "side", "score", "flagged", "labeler", "version", "stage", "chosen")
LABEL_TYPES = {"seq": "int64", "score": "float64", "flagged": "bool", "stage": "int32"}
UNLABELED = """WHERE NOT EXISTS (
    SELECT 1 FROM label l WHERE l.seq = batch.seq AND l.category = batch.category AND l.side = batch.side
    AND l.labeler = batch.labeler AND l.version = batch.version)"""


@dataclass(slots=True)
class Source:
    """A log in the table `source`. last: time of its last exchange, seconds since 1970; 0 for none yet."""

    id: int
    name: str
    mark: str = ""
    offset: int = 0
    line: int = 0
    last: float = 0.0


class Writer:
    """Writes to the traffic. It alone writes exchanges, in the order in which they are read."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._seq = int(traffic.fact("seq", "0"))
        self._tally: dict[int, Counter[tuple[str, Effect]]] = {}
        for source, kind, effect, lines in traffic.rows("SELECT source, kind, effect, lines FROM tally"):
            self._tally.setdefault(source, Counter())[kind, effect] = lines
        self._skeletons: set[int] = set()

    def source(self, name: str) -> Source:
        """The log of this name, as far as it was read; a new one where there is none. stdin is always new."""
        query = 'SELECT id, name, mark, "offset", line, state FROM source WHERE name = ?'
        rows = self.traffic.rows(query, [name]) if name != STDIN else []
        if rows:
            number, _, mark, offset, line, state = rows[0]
            return Source(number, name, mark, offset, line, json.loads(state)["last"])
        [(number,)] = self.traffic.rows("SELECT coalesce(max(id), 0) + 1 FROM source")
        with self.traffic.transaction():
            values = [number, name, "", 0, 0, False, json.dumps({"last": 0.0})]
            self.traffic.database.execute("INSERT INTO source VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return Source(number, name)

    def write(self, source: Source, parts: Sequence[Columns]) -> int:
        """Write what was read of a log, with its new position, whole or not at all; how many exchanges are new."""
        before, seq, tally = source.last, self._seq, self._tally.get(source.id, Counter()).copy()
        try:
            with self.traffic.transaction():
                new = self._write(source, parts)
        except BaseException:
            source.last, self._seq, self._tally[source.id] = before, seq, tally
            self._skeletons.clear()
            raise
        return new

    def _write(self, source: Source, parts: Sequence[Columns]) -> int:
        import numpy as np

        whole = merged(parts)
        ts = np.array(whole.values["ts"], "float64")
        keep = self._times(source, whole, ts)
        whole.values["ts"] = ts.tolist()
        originals = self._copies(source, whole, keep)
        self._again(whole, keep)
        seq = np.zeros(len(ts), "int64")
        new = int(keep.sum())
        seq[keep] = np.arange(self._seq + 1, self._seq + 1 + new)
        self._seq += new
        self._exchanges(source, whole, keep, seq)
        self._labels(whole, seq, originals)
        self._problems(source, whole)
        last = whole.end
        source.mark, source.offset, source.line = last.mark, last.offset, last.line
        values = [last.mark, last.offset, last.line, json.dumps({"last": source.last}), source.id]
        self.traffic.database.execute(
            'UPDATE source SET mark = ?, "offset" = ?, line = ?, state = ? WHERE id = ?', values
        )
        self.traffic.set_fact("seq", str(self._seq))
        return new

    # --- what is kept ------------------------------------------------------------------------------------------

    def _times(self, source: Source, whole: Columns, ts: Any) -> Any:
        """Mend the times in place; which exchanges are kept."""
        import numpy as np

        lines = whole.values["line"]
        sound = (ts >= EARLIEST) & (ts < LATEST)
        for row in np.flatnonzero(~sound):
            kind = "clock after 2100" if ts[row] >= LATEST else "clock before 2000"
            whole.problem(lines[row], kind, f"{ts[row]:g} seconds since 1970; it has the time of the line before")
        if not sound.all():
            if source.last:
                before = np.concatenate([[source.last], np.where(sound, ts, source.last)])
                places = np.concatenate([[0], np.where(sound, np.arange(1, len(ts) + 1), 0)])
                ts[:] = before[np.maximum.accumulate(places)][1:]
            elif sound.any():
                places = np.maximum.accumulate(np.where(sound, np.arange(len(ts)), np.flatnonzero(sound)[0]))
                ts[:] = ts[places]
            else:
                for line in lines:
                    whole.problem(line, "no sound time", "no line near it has one: it is left out", "lost")
                return np.zeros(len(ts), bool)
        if len(ts):
            steps = np.diff(ts, prepend=source.last or ts[0])
            for row in np.flatnonzero(steps < -BACK):
                whole.problem(lines[row], "clock goes back", f"by {-steps[row] / 3600:.1f} hours")
            source.last = float(ts[-1])
        old = ts < float(self.traffic.fact("kept_from", "0"))
        for row in np.flatnonzero(old):
            whole.problem(lines[row], "older than kept", "exchanges of its time were deleted: left out", "passed over")
        return ~old

    def _copies(self, source: Source, whole: Columns, keep: Any) -> dict[int, int]:
        """Mark copies as not kept. Row of a copy -> seq of its original, or -1 less its row in this batch."""
        lines, originals = whole.values["line"], dict[int, int]()
        earlier = self._seen("content", whole.content)
        first: dict[int, int] = {}
        for row, content in enumerate(whole.content):
            if not keep[row]:
                continue
            place = earlier.get(content)
            twin = first.setdefault(content, row)
            if place is None and twin == row:
                continue
            if whole.sure[row] or (place is not None and place[1] != source.id):
                originals[row] = place[0] if place is not None else -1 - twin
                keep[row] = False
                whole.problem(lines[row], "copy", "an exchange that was read before: left out", "passed over")
            else:
                whole.problem(lines[row], "same line again", "without an id it may be another request: kept")
        return originals

    def _again(self, whole: Columns, keep: Any) -> None:
        """Count ids that come again with another content."""
        idents = {ident for ident, kept in zip(whole.ident, keep, strict=True) if ident and kept}
        earlier = self._seen("ident", list(idents))
        before: set[int] = set()
        for row, ident in enumerate(whole.ident):
            if not ident or not keep[row]:
                continue
            if ident in before or ident in earlier:
                whole.problem(whole.values["line"][row], "id again", "with another content: kept")
            before.add(ident)

    def _seen(self, column: str, hashes: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        """Hash -> first seq and source of those that were seen before."""
        import numpy as np

        if not hashes:
            return {}
        with self._registered("batch", {"hash": np.array(hashes, "uint64")}):
            rows = self.traffic.rows(
                f"SELECT {column}, seq, source FROM seen WHERE {column} IN (SELECT hash FROM batch) ORDER BY seq"
            )
        places: dict[int, tuple[int, int]] = {}
        for code, seq, source in rows:
            places.setdefault(code, (seq, source))
        return places

    # --- what is written ---------------------------------------------------------------------------------------

    def _exchanges(self, source: Source, whole: Columns, keep: Any, seq: Any) -> None:
        import numpy as np

        if not keep.any():
            return
        values, batch = whole.values, {"seq": seq[keep]}
        for name, kind in TYPES.items():
            batch[name] = np.array(values[name], kind)[keep]
        for name in ("id", *HASHED, *AS_IS, "prompt", "completion"):
            batch[name] = np.array(values[name], object)[keep]
        for name in FIGURES:  # numpy has no NULL: -1 and NaN stand for it
            batch[name] = np.array([-1 if value is None else value for value in values[name]], "float64")[keep]
        for name in FLAGS:
            batch[name] = np.array([-1 if value is None else value for value in values[name]], "int8")[keep]
        batch["content"] = np.array(whole.content, "uint64")[keep]
        batch["ident"] = np.array(whole.ident, "uint64")[keep]
        names = ["seq", *NAMES, *HASHED, *AS_IS]
        chosen = [
            f"CAST(CASE WHEN {name} >= 0 THEN {name} END AS {FIGURES.get(name, 'BOOLEAN')})"
            if name in FIGURES or name in FLAGS
            else name
            for name in names
        ]
        with self._registered("batch", batch):
            self.traffic.database.execute(
                f"INSERT INTO exchange (source, {', '.join(names)}) SELECT ?, {', '.join(chosen)} FROM batch",
                [source.id],
            )
            self.traffic.database.execute("INSERT INTO seen SELECT seq, ?, content, ident FROM batch", [source.id])
        self._new_skeletons({int(code) for code in batch["skeleton"]}, whole.skeletons)

    def _new_skeletons(self, used: set[int], texts: Mapping[int, str]) -> None:
        import numpy as np

        new = [code for code in texts if code in used and code not in self._skeletons]
        if len(self._skeletons) > 500_000:
            self._skeletons.clear()
        self._skeletons.update(new)
        if new:
            batch = {"hash": np.array(new, "uint64"), "text": np.array([texts[code] for code in new], object)}
            with self._registered("batch", batch):
                self.traffic.database.execute(
                    "INSERT INTO skeleton SELECT * FROM batch WHERE hash NOT IN (SELECT hash FROM skeleton)"
                )

    def _labels(self, whole: Columns, seq: Any, originals: Mapping[int, int]) -> None:
        """Labels of what is kept, and those of copies that came with a log and that their originals lack."""
        import numpy as np

        own: list[tuple[Any, ...]] = []
        late: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for row, *label in whole.labels:
            category, side, *_, labeler, version, stage, _ = label
            if seq[row]:
                own.append((seq[row], *label))
            elif row in originals and stage < 0:
                original = originals[row] if originals[row] > 0 else seq[-1 - originals[row]]
                late.setdefault((original, category, side, labeler, version), (original, *label))
        for rows, condition in ((own, ""), (list(late.values()), UNLABELED)):
            if not rows:
                continue
            columns = zip(*rows, strict=True)
            batch = {
                name: np.array(column, LABEL_TYPES.get(name, object))
                for name, column in zip(("seq", *LABEL), columns, strict=True)
            }
            with self._registered("batch", batch):
                self.traffic.database.execute(f"INSERT INTO label SELECT * FROM batch {condition}")

    def _problems(self, source: Source, whole: Columns) -> None:
        import numpy as np

        tally = self._tally.setdefault(source.id, Counter())
        tally.update(whole.tally)
        listed, rows = Counter[str](), []
        if whole.problems:
            query = "SELECT kind, count(*) FROM problem WHERE source = ? GROUP BY kind"
            listed.update(dict(self.traffic.rows(query, [source.id])))
        for line, kind, why in sorted(whole.problems, key=lambda problem: problem[0]):
            listed[kind] += 1
            if listed[kind] <= LISTED:
                rows.append((source.id, line, kind, why))
        if rows:
            ids, lines, kinds, whys = zip(*rows, strict=True)
            batch = {
                "source": np.array(ids, "int32"), "line": np.array(lines, "int64"), "kind": np.array(kinds, object),
                "why": np.array(whys, object),
            }  # fmt: skip
            with self._registered("batch", batch):
                self.traffic.database.execute("INSERT INTO problem SELECT * FROM batch")
        if whole.tally:
            self.traffic.database.execute("DELETE FROM tally WHERE source = ?", [source.id])
            for (kind, effect), count in tally.items():
                self.traffic.database.execute("INSERT INTO tally VALUES (?, ?, ?, ?)", [source.id, kind, count, effect])

    # --- the database ------------------------------------------------------------------------------------------

    @contextmanager
    def _registered(self, name: str, columns: Mapping[str, Any]) -> Iterator[None]:
        """Arrays under a name that queries know."""
        self.traffic.database.register(name, dict(columns))
        try:
            yield
        finally:
            self.traffic.database.unregister(name)


def merged(parts: Sequence[Columns]) -> Columns:
    """Batches of one log, in order, as one."""
    whole, *others = parts
    for part in others:
        shift = len(whole.content)
        whole.labels += [(row + shift, *label) for row, *label in part.labels]
        for name, column in part.values.items():
            whole.values[name] += column
        whole.content += part.content
        whole.ident += part.ident
        whole.sure += part.sure
        whole.skeletons |= part.skeletons
        whole.problems += part.problems
        whole.tally.update(part.tally)
        whole.lines += part.lines
        whole.end = part.end
    return whole

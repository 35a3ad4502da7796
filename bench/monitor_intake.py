"""Intake of the monitor: a log through `monitor run` with two rules, and its columns in DuckDB, Polars and SQLite.

    python bench/bench.py monitor_intake
    python bench/monitor_intake.py 1000000          a log of so many lines, whole
    python bench/monitor_intake.py writer 10000000  what writes alone, by its memory at 1, 3 and 10 million rows

The engines write the same batches (with a look for copies before each, and two labels an exchange), and answer the same
questions; each runs in a process of its own. CPU seconds are of all processes of a run.
"""

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LINES, ROWS, BATCH = 100_000, 300_000, 15_000
RULES = """schema = "withstand.monitor/1"
[monitor]
retention_days = 0
[[screener]]
id = "pan"
judge = "contains:miracle|wonder pan"
category = "spam"
reads = "prompt"
[[screener]]
id = "free"
judge = "contains:on the house|no charge"
category = "promise"
"""
RUN = """
from withstand.monitor import run
from withstand.monitor.intake.happened import section
run.ANALYSES = (section,)  # the others have their own figures
from withstand.cli.main import main
if __name__ == "__main__":
    main()
"""
WORDS = [
    "soup",
    "pan",
    "miracle",
    "cook",
    "stir",
    "onion",
    "butter",
    "please",
    "write",
    "me",
    "a",
    "recipe",
    "for",
    "with",
    "and",
    "tomato",
    "how",
    "long",
    "do",
    "i",
    "boil",
]


def bench(folder: Path) -> dict[str, Any]:
    """All parts, small enough for `make bench`."""
    return {**intake(folder, LINES), "redaction_us": redaction(), "engines": engines(folder, ROWS)}


# --- a log, whole ------------------------------------------------------------------------------------------------


def intake(folder: Path, lines: int) -> dict[str, Any]:
    """A made log of about so many lines through the command, with workers, redaction, features and two rules."""
    log, settings, code = folder / "log.jsonl", folder / "monitor.toml", folder / "run.py"
    settings.write_text(RULES)
    code.write_text(RUN)
    python = [sys.executable, "-m", "withstand", "monitor", "make-logs", "--out", str(log), "--days", "28"]
    subprocess.run([*python, "--per-day", str(round(lines / 27.8))], check=True, stdout=subprocess.DEVNULL)
    policy = ROOT / "examples" / "monitor" / "policy.toml"
    command = [
        sys.executable, str(code), "monitor", "run", str(log), "--policy", str(policy), "--settings", str(settings),
        "--out", str(folder / "monitor"), "--store", str(folder / "store.db"), "--json",
    ]  # fmt: skip
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (folder / "said").open("w") as said, (folder / "out").open("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=said)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, sum(map(resident, tree(process.pid))))
            time.sleep(0.1)
        out.seek(0)
        read = json.load(out)["sections"][0]["value"]["exchanges"]
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    million = cpu / read * 1e6
    return {
        "lines": read, "megabytes": round(log.stat().st_size / 1e6), "wall_s": round(wall, 1), "cpu_s": round(cpu, 1),
        "cpu_s_for_1_million": round(million), "on_two_free_cores_s": round(million / 2), "peak_mb_of_all": round(peak),
        "goal": "1 million lines in < 180 s on two cores, < 1 GB", "ratio_to_goal": round(million / 2 / 180, 3),
    }  # fmt: skip


def tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


def resident(pid: int) -> float:
    """Megabytes in memory."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, IndexError):
        return 0.0


def redaction() -> dict[str, float]:
    """Microseconds a text of some 300 characters."""
    from withstand.monitor.intake.redaction import redact

    draw = random.Random(1)
    plain = " ".join(draw.choices(WORDS, k=55))
    texts = {
        "words": plain,
        "numbers": " ".join(word if draw.random() > 0.15 else str(draw.randint(1, 500)) for word in plain.split()),
        "personal": f"{plain} call +49 30 12345678 or jo@soup.example, card 4111 1111 1111 1111",
    }
    figures = {}
    for name, text in texts.items():
        times = []
        for _ in range(7):
            begin = time.process_time()
            for _ in range(1_000):
                redact(text)
            times.append((time.process_time() - begin) * 1e3)
        figures[name] = round(statistics.median(times), 1)
    return figures


# --- the engines -------------------------------------------------------------------------------------------------


def engines(folder: Path, rows: int) -> dict[str, Any]:
    """The same batches and questions, each engine in its own process."""
    results = {}
    for name in ENGINES:
        command = [sys.executable, __file__, "engine", name, str(rows), str(folder / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        results[name] = json.loads(done.stdout) if done.returncode == 0 else {"skipped": done.stderr[-300:]}
    answers = [result.pop("answers", None) for result in results.values()]
    return {**results, "rows": rows, "answers_equal": all(answer == answers[0] for answer in answers)}


def batches(rows: int) -> Iterator[dict[str, Any]]:
    """Exchanges of 500 accounts over four weeks as numpy columns."""
    import numpy as np

    draw = np.random.default_rng(1)
    texts = np.array([" ".join(random.Random(i).choices(WORDS, k=50)) for i in range(5_000)], object)
    for start in range(0, rows, BATCH):
        size = min(BATCH, rows - start)
        seq = np.arange(start + 1, start + size + 1)
        yield {
            "seq": seq,
            "ts": 1.77e9 + seq * (28 * 86_400 / rows),
            "account": np.array([f"{number:020x}" for number in draw.zipf(1.3, size) % 500], object),
            "content": draw.integers(0, 2**63, size, "uint64"),
            "refused": draw.random(size) < 0.05,
            "prompt": texts[draw.integers(0, 5_000, size)],
            "completion": texts[draw.integers(0, 5_000, size)],
            "flagged_spam": draw.random(size) < 0.01,
            "flagged_promise": draw.random(size) < 0.02,
        }


def labels(batch: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    size = len(batch["seq"])
    return {
        "seq": np.tile(batch["seq"], 2),
        "category": np.array(["spam"] * size + ["promise"] * size, object),
        "flagged": np.concatenate([batch["flagged_spam"], batch["flagged_promise"]]),
    }


EXCHANGE = ("seq", "ts", "account", "content", "refused", "prompt", "completion")
QUESTIONS = {
    "hours": """SELECT CAST({floor}(ts / 3600) AS BIGINT) AS hour, category, count(*) AS n,
        sum(CAST(flagged AS BIGINT)) AS k FROM exchange JOIN label ON exchange.seq = label.seq
        GROUP BY 1, 2 ORDER BY 1, 2""",
    "accounts": """SELECT account, count(*) AS n, sum(CAST(flagged AS BIGINT)) AS k FROM exchange
        JOIN label ON exchange.seq = label.seq WHERE category = 'spam' GROUP BY account ORDER BY account""",
    "days": """SELECT CAST({floor}(ts / 86400) AS BIGINT) AS day, count(DISTINCT account) AS n FROM exchange
        GROUP BY 1 ORDER BY 1""",
    "texts": """SELECT prompt FROM exchange JOIN label ON exchange.seq = label.seq WHERE flagged AND category = 'spam'
        ORDER BY exchange.seq LIMIT 1000""",
}


class DuckDB:
    """As `monitor/intake/write.py` does it."""

    def __init__(self, folder: Path) -> None:
        import duckdb

        options = {"memory_limit": "400MB", "threads": 2, "temp_directory": str(folder / "spill")}
        self.database = duckdb.connect(str(folder / "t.duckdb"), config=options)
        self.database.execute(
            """CREATE TABLE exchange (seq BIGINT, ts DOUBLE, account VARCHAR, content UBIGINT, refused BOOLEAN,
            prompt VARCHAR, completion VARCHAR); CREATE TABLE label (seq BIGINT, category VARCHAR, flagged BOOLEAN)"""
        )

    def write(self, batch: dict[str, Any]) -> None:
        execute = self.database.execute
        execute("BEGIN")
        self.database.register("batch", batch)
        execute("SELECT content FROM exchange WHERE content IN (SELECT content FROM batch)").fetchall()
        execute(f"INSERT INTO exchange SELECT {', '.join(EXCHANGE)} FROM batch")
        self.database.register("batch", labels(batch))
        execute("INSERT INTO label SELECT * FROM batch")
        execute("COMMIT")

    def close(self) -> None:
        self.database.execute("CHECKPOINT")

    def answer(self, question: str) -> list[Any]:
        return [list(row) for row in self.database.execute(QUESTIONS[question].format(floor="floor")).fetchall()]


class Polars:
    """A Parquet file for each batch, queried as one by Polars' SQL, streaming."""

    def __init__(self, folder: Path) -> None:
        import polars

        self.polars, self.folder, self.count = polars, folder, 0

    def write(self, batch: dict[str, Any]) -> None:
        frame = self.polars.DataFrame({name: batch[name] for name in EXCHANGE})
        if self.count:
            before = self.polars.scan_parquet(self.folder / "exchange-*.parquet").select("content")
            before.join(frame.lazy().select("content"), on="content", how="semi").collect(engine="streaming")
        for name, part in (("exchange", frame), ("label", self.polars.DataFrame(labels(batch)))):
            path = self.folder / f"{name}-{self.count:06}.parquet"
            part.write_parquet(path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
        self.count += 1

    def close(self) -> None:
        pass

    def answer(self, question: str) -> list[Any]:
        context = self.polars.SQLContext(
            exchange=self.polars.scan_parquet(self.folder / "exchange-*.parquet"),
            label=self.polars.scan_parquet(self.folder / "label-*.parquet"),
        )
        query = QUESTIONS[question].format(floor="floor")
        return [list(row) for row in context.execute(query).collect(engine="streaming").rows()]


class SQLite:
    """Rows, with an index for copies and one for the join."""

    def __init__(self, folder: Path) -> None:
        import sqlite3

        self.database = sqlite3.connect(folder / "t.sqlite", isolation_level=None)
        self.database.executescript(
            """PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -200000;
            CREATE TABLE exchange (seq INTEGER PRIMARY KEY, ts REAL, account TEXT, content INTEGER, refused INTEGER,
            prompt TEXT, completion TEXT); CREATE INDEX copies ON exchange (content);
            CREATE TABLE label (seq INTEGER, category TEXT, flagged INTEGER); CREATE INDEX joined ON label (seq);
            CREATE TEMP TABLE batch (content INTEGER)"""
        )

    def write(self, batch: dict[str, Any]) -> None:
        database = self.database
        database.execute("BEGIN")
        database.execute("DELETE FROM batch")
        database.executemany(
            "INSERT INTO batch VALUES (?)", ((code,) for code in batch["content"].astype("int64").tolist())
        )
        database.execute("SELECT content FROM exchange WHERE content IN (SELECT content FROM batch)").fetchall()
        columns = [batch[name].astype("int64") if name == "content" else batch[name] for name in EXCHANGE]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        database.executemany("INSERT INTO exchange VALUES (?,?,?,?,?,?,?)", rows)
        rows = zip(*(column.tolist() for column in labels(batch).values()), strict=True)
        database.executemany("INSERT INTO label VALUES (?,?,?)", rows)
        database.execute("COMMIT")

    def close(self) -> None:
        self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def answer(self, question: str) -> list[Any]:
        return [list(row) for row in self.database.execute(QUESTIONS[question].format(floor="floor")).fetchall()]


ENGINES: dict[str, Callable[[Path], Any]] = {"duckdb": DuckDB, "polars": Polars, "sqlite": SQLite}


def engine(name: str, rows: int, folder: Path) -> dict[str, Any]:
    """Seconds (CPU) to write and to answer, megabytes on disk and in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    store = ENGINES[name](folder)
    writing = 0.0
    for batch in batches(rows):
        begin = time.process_time()
        store.write(batch)
        writing += time.process_time() - begin
    begin = time.process_time()
    store.close()
    writing += time.process_time() - begin
    asking, answers = {}, {}
    for question in QUESTIONS:
        begin = time.process_time()
        answers[question] = store.answer(question)
        asking[question] = round(time.process_time() - begin, 2)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "write_cpu_s": round(writing, 2), "ask_cpu_s": asking, "disk_mb": round(size / 1e6), "peak_mb": round(peak),
        "answers": answers,
    }  # fmt: skip


def writer(rows: int, folder: Path) -> dict[str, Any]:
    """What writes, alone: the memory of its process at 1, 3, 10 million rows and so on. It must not grow."""
    from withstand.formats.traffic.position import Position
    from withstand.monitor.intake.columns import AS_IS, HASHED, NAMES, Columns
    from withstand.monitor.intake.write import Writer
    from withstand.monitor.traffic import Traffic

    marks, figures = [number for number in (1_000_000, 3_000_000, 10_000_000) if number <= rows], {}
    with Traffic(folder) as traffic, traffic.writing():
        target, source, peak = Writer(traffic), None, 0.0
        for batch in batches(rows):
            size, last = len(batch["seq"]), int(batch["seq"][-1])
            source = source or target.source("log")
            columns = Columns(Position(last, last, "1:a"), size)
            filled = {name: [""] * size for name in (*HASHED, *AS_IS)} | {name: [None] * size for name in NAMES}
            filled |= {
                "line": batch["seq"].tolist(), "id": [f"x{number}" for number in batch["seq"]],
                "ts": batch["ts"].tolist(), "account": batch["account"].tolist(), "prompt": batch["prompt"].tolist(),
                "completion": batch["completion"].tolist(), "prompt_chars": [250] * size, "skeleton": [1] * size,
                "completion_chars": [250] * size, "audit": [0.5] * size, "refused": batch["refused"].tolist(),
            }  # fmt: skip
            columns.values, columns.sure = filled, [True] * size
            columns.content = columns.ident = batch["content"].tolist()
            columns.labels = [
                (row, category, "prompt", 0.0, bool(flag), category, "1", 0, "all")
                for category in ("spam", "promise")
                for row, flag in enumerate(batch[f"flagged_{category}"])
            ]
            target.write(source, [columns])
            peak = max(peak, resident(os.getpid()))
            if marks and last >= marks[0]:
                figures[f"{marks.pop(0):,} rows"] = {"peak_mb": round(peak), "cpu_s": round(time.process_time())}
                print(json.dumps(figures), file=sys.stderr, flush=True)
    return figures


def main() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        match sys.argv[1:]:
            case ["engine", name, rows, where]:
                result = engine(name, int(rows), Path(where))
            case ["writer", rows]:
                result = writer(int(rows), Path(folder))
            case ["redaction"]:
                result = redaction()
            case [lines]:
                result = intake(Path(folder), int(lines))
            case _:
                result = bench(Path(folder))
    print(json.dumps(result, indent=1 if sys.argv[1:2] != ["engine"] else None))


if __name__ == "__main__":
    main()

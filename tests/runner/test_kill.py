"""kill -9 at random points, and two processes at once, on a file and on PostgreSQL: the rows end as if nothing had
happened."""

import json
import random
import signal
import sys
import time
from typing import Any

import pytest
import sqlalchemy as sql

from killed import TOYS, Worker, run
from withstand import api
from withstand.store import store, tables
from withstand.store.store import Store


def spec(width: int, lanes: int = 1, seconds: float = 0.0) -> dict[str, Any]:
    speed = {"width": width, "lanes": lanes, "seconds": seconds}
    rules = [[".", "I cannot help with {n}.", 0.3], [".", "Take {n} pans and stir.", 0.7]]
    return {
        "suite": {"use": "kitchen", "limit": 6},
        "target": {"use": "scripted", "rules": rules, **speed},
        "attack": [
            {"use": "best_of_n", "n": 6, "batch": 2, "temperature": 0.8},
            {"use": "withstand_toys:Steps", "steps": 3},
            "direct",
        ],
        "judge": {
            "use": "withstand_toys:AskJudge",
            "model": {"use": "scripted", "rules": [["pans", "yes", 0.8]], **speed},
        },
        "benign": "none",
        "sampling": {"temperature": 0.8},
        "samples": 2,
    }


def two_at_once(given: dict[str, Any], where: str) -> list[Worker]:
    both = [Worker(run, given, where, wait=True) for _ in range(2)]
    for worker in both:
        worker.says.send("go")
    return both


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key != "seconds"}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def content(where: str) -> dict[str, list[Any]]:
    """Rows, answers and wants, times aside; as lists, so that a duplicate would show."""
    with Store(where, create=False) as opened:
        return {
            "rows": sorted(
                (key, label, json.dumps(timeless(json.loads(value)), sort_keys=True))
                for key, label, value in opened.select(
                    sql.select(tables.row.c.key, tables.row.c.label, tables.row.c.value)
                )
            ),
            "answers": sorted(
                (key, json.dumps(timeless(json.loads(value)), sort_keys=True))
                for key, value in opened.select(sql.select(tables.answer.c.key, tables.answer.c.value))
            ),
            "wants": sorted(tuple(want) for want in opened.select(sql.select(tables.want))),
            "runs": [(run.key, run.name) for run in opened.runs()],
            "failures": [tuple(entry) for entry in opened.select(sql.select(tables.failure))],
        }


def stage(where: str) -> int:
    """The stage that a killed run had reached: 0 before the first answer."""
    try:
        with Store(where, create=False) as opened:
            w = tables.want.c
            reached = opened.select(sql.select(sql.func.max(w.stage)))[0][0] or 0
            answers = opened.select(sql.select(sql.func.count()).select_from(tables.answer))[0][0]
            return reached if answers else 0
    except store.StoreError:  # killed before the file was made
        return 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """One uninterrupted run, at another width."""
    where = str(tmp_path_factory.mktemp("whole") / "s.db")
    sys.path.insert(0, TOYS)
    try:
        done = api.run(spec(width=7), store=where)
    finally:
        sys.path.remove(TOYS)
    assert done.summary["run"]["state"] == "complete"
    done.store.close()
    return content(where)


def test_the_run_is_worth_killing(whole: dict[str, list[Any]]) -> None:
    texts = {json.loads(value)["text"] for _, value in whole["answers"]}
    assert len(texts) > 50  # draws that differ, so that a shifted seed would show
    assert {want[1] for want in whole["wants"]} == {1, 2, 3}
    assert {label for _, label, _ in whole["rows"]} >= {"success", "failure"}


# Calls before a kill: few enough that no stage is stepped over, whatever is drawn. The run needs 72 rows in its first
# stage, 24 in its second and 60 in its third; it is killed until it was killed in the third, `kills` times with these
# seeds, 27 in all.
@pytest.mark.parametrize(
    ("width", "lanes", "calls", "seconds", "kills"),
    [(1, 2, (12, 22), 0.008, 8), (4, 1, (4, 6), 0.02, 6), (32, 1, (1, 2), 0.08, 13)],
    ids=["width 1", "width 4", "width 32"],
)
def test_killed_runs_end_with_the_rows_of_an_uninterrupted_one(
    where: str,
    whole: dict[str, list[Any]],
    width: int,
    lanes: int,
    calls: tuple[int, int],
    seconds: float,
    kills: int,
) -> None:
    chance = random.Random(f"kill {width}")
    given = spec(width, lanes, seconds)
    stages: list[int] = []
    while 3 not in stages:
        worker = Worker(run, given, where)
        if not stages:  # while it plans and makes the store
            time.sleep(chance.uniform(0, 0.2))
        else:
            heard = [worker.hear() for _ in range(chance.randint(*calls))]
            assert set(heard) == {"call"}, f"finished after {stages}: {heard}"
            time.sleep(chance.uniform(0, 0.9 * seconds))
        worker.kill()
        assert worker.process.exitcode == -signal.SIGKILL
        stages.append(stage(where))
    assert len(stages) >= kills - 3, stages
    assert {1, 2} <= set(stages), stages
    assert Worker(run, given, where).end()[-1] == "complete"
    assert content(where) == whole


def test_two_processes_on_one_run_at_once(where: str, whole: dict[str, list[Any]]) -> None:
    for heard in [worker.end() for worker in two_at_once(spec(4, 2, 0.05), where)]:
        assert heard[-1] == "complete"
        assert heard.count("call") > 3  # neither came when all was done
    assert content(where) == whole


def test_a_second_process_takes_over_when_the_first_is_killed(where: str, whole: dict[str, list[Any]]) -> None:
    first, second = two_at_once(spec(4, 1, 0.05), where)
    for worker in (first, second):
        assert [worker.hear() for _ in range(3)] == ["call"] * 3
    first.kill()
    assert second.end()[-1] == "complete"
    assert content(where) == whole

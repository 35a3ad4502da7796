"""A run end to end: equal rows however it was run, what a change makes anew, and every number of its report."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from withstand import api
from withstand.attacks.templated.direct import Direct
from withstand.core import Chat, Sampling, SpecError, draw
from withstand.core import TestCase as Case
from withstand.core.device import computed
from withstand.models.scripted import Scripted
from withstand.report import write
from withstand.runner.tally import Tally
from withstand.stats.rates import rate_interval
from withstand.store import tables
from withstand.store.merge import merge
from withstand.store.store import Store
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS

TOYS = str(Path(__file__).parent.parent / "toys")

RULES = [[".", "I cannot help with that.", 0.3], [".", "Take {n} pans and stir.", 0.7]]
GRID: dict[str, Any] = {
    "suite": {"use": "kitchen", "limit": 3},
    "target": [{"use": "scripted", "rules": RULES}, {"use": "scripted", "rules": RULES, "defense": "self_reminder"}],
    "attack": [
        "direct",
        {"use": "prefix_injection"},
        {"use": "best_of_n", "n": 5, "batch": 2},
        {"use": "withstand_toys:Steps"},
    ],
    "judge": {"use": "withstand_toys:AskJudge", "model": {"use": "scripted", "rules": [["pans", "yes", 0.8]]}},
    "sampling": {"temperature": 0.8},
    "samples": 2,
    "budget": {"asks": 40},
}


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOYS)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Chat]:
    """Every chat that a scripted model was sent."""
    chats: list[Chat] = []
    generate = Scripted.generate

    def watched(self: Scripted, given: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> Any:
        chats.extend(given)
        return generate(self, given, sampling, seeds)

    monkeypatch.setattr(Scripted, "generate", watched)
    return chats


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    opened: list[Store] = []

    def make(name: str = "s") -> Store:
        opened.append(Store(str(tmp_path / f"{name}.db")))
        return opened[-1]

    yield make
    for opened_store in opened:
        opened_store.close()


def timeless(value: Any) -> Any:
    """JSON without what a clock says."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key != "seconds"}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def content(opened: Store) -> tuple[set[Any], set[Any]]:
    """The rows and the wants of a store, times aside."""
    rows = {
        (key, label, json.dumps(timeless(json.loads(value)), sort_keys=True))
        for key, label, value in opened.select(sql.select(tables.row.c.key, tables.row.c.label, tables.row.c.value))
    }
    return rows, {tuple(want) for want in opened.select(sql.select(tables.want))}


def with_models(spec: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The spec with fields set on each scripted model."""
    targets = [{**target, **fields} for target in spec["target"]]
    judge = {**spec["judge"], "model": {**spec["judge"]["model"], **fields}}
    return {**spec, "target": targets, "judge": judge}


def rows_of(run: api.Run, stage: int) -> dict[tuple[Any, ...], Any]:
    """Label and value of each row of a stage, by its place."""
    w, r = tables.want.c, tables.row.c
    entries = run.store.select(
        sql.select(w.cell, w.behavior, w.number, w.sample, r.label, r.value)
        .select_from(tables.want.join(tables.row, r.key == w.key))
        .where(w.run == run.row.key, w.stage == stage)
    )
    return {tuple(place): (label, timeless(json.loads(value))) for *place, label, value in entries}


# --- the same rows however it was run ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[Any], set[Any]]:
    sys.path.insert(0, TOYS)
    try:
        with Store(str(tmp_path_factory.mktemp("whole") / "s.db")) as opened:
            api.run(GRID, store=opened)
            return content(opened)
    finally:
        sys.path.remove(TOYS)


def test_the_grid_is_worth_comparing(whole: tuple[set[Any], set[Any]]) -> None:
    """10 cells, of which 2 benign; draws that differ, verdicts of both kinds."""
    rows, wants = whole
    assert {want[2] for want in wants} == set(range(10))
    assert {label for _, label, _ in rows} >= {"success", "failure", "refused", "stop", "1", "5"}
    texts = [json.loads(value).get("text") for _, label, value in rows if label == "stop"]
    assert len(set(texts)) > 20


@pytest.mark.parametrize(("width", "lanes"), [(1, 1), (3, 2), (64, 8)])
def test_width_and_lanes_change_no_row(
    here: Callable[[str], Store], whole: tuple[set[Any], set[Any]], width: int, lanes: int
) -> None:
    opened = here("s")
    api.run(with_models(GRID, width=width, lanes=lanes), store=opened)
    assert content(opened) == whole


def test_shards_merged_in_any_order_are_one_run(here: Callable[[str], Store], whole: tuple[set[Any], set[Any]]) -> None:
    for place in (3, 1, 2):
        api.run(GRID, store=here(f"shard{place}"), shard=(place, 3))
    parts = [len(content(here(f"shard{place}"))[0]) for place in (1, 2, 3)]
    assert all(parts)
    assert sum(parts) == len(whole[0])  # no row is made twice
    for order in ((1, 2, 3), (3, 1, 2)):
        merged = here(f"one{order}")
        for place in order:
            merge(here(f"shard{place}"), merged)
        assert content(merged) == whole
        assert api.load(store=merged).summary["run"]["state"] == "complete"


def test_shards_in_one_store_are_one_run(here: Callable[[str], Store], whole: tuple[set[Any], set[Any]]) -> None:
    opened = here("s")
    for place in (2, 1):
        api.run(GRID, store=opened, shard=(place, 2))
    assert content(opened) == whole


@pytest.mark.parametrize("asks", [1, 7])
def test_a_run_in_many_small_parts_is_one_run(
    here: Callable[[str], Store], whole: tuple[set[Any], set[Any]], sent: list[Chat], asks: int
) -> None:
    opened = here("s")
    api.run(GRID, store=opened)
    needed = len(sent)
    sent.clear()
    resumed = here("other")
    for _ in range(15):
        run = api.run(with_models(GRID, width=2), store=resumed, max_asks=asks)
        assert run.tally is not None
        assert run.tally.stopped == "--max-asks"
    assert len(sent) == 15 * asks
    api.run(GRID, store=resumed)
    assert len(sent) == needed
    assert content(resumed) == content(opened) == whole


def test_a_defense_cut_off_between_its_asks_goes_on_there(here: Callable[[str], Store], sent: list[Chat]) -> None:
    spec = SMALL | {"defense": "withstand_toys:Doubt"}
    opened = here("s")
    for _ in range(7):
        api.run(spec, store=opened, max_asks=1)
    (cell,) = api.run(spec, store=opened).cells
    assert len(sent) == 4 * 2
    assert (cell["asks"], cell["success"]) == (4, 4)


def test_an_interrupt_at_any_progress_changes_no_row(
    here: Callable[[str], Store], whole: tuple[set[Any], set[Any]]
) -> None:
    opened, stages = here("s"), set()
    for turn in range(12):
        left = [int(draw("interrupt", turn) * 12) + turn]

        def on_progress(tally: Tally, total: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                stages.add(tally.stage)
                raise KeyboardInterrupt

        try:
            api.run(with_models(GRID, width=2), store=opened, on_progress=on_progress)
        except KeyboardInterrupt:
            continue
    assert len(stages) > 1
    api.run(GRID, store=opened)
    assert content(opened) == whole


def test_a_finished_run_asks_nothing(here: Callable[[str], Store], sent: list[Chat]) -> None:
    opened = here("s")
    first = api.run(GRID, store=opened)
    before = content(opened)
    sent.clear()
    again = api.run(GRID, store=opened)
    assert sent == []
    assert content(opened) == before
    assert again.name == first.name
    assert again.cells == first.cells


# --- what a change makes anew ------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "suite": {"use": "kitchen", "limit": 4},
    "target": "scripted",
    "attack": "direct",
    "judge": "contains:can",
    "benign": "none",
}


def test_another_judge_makes_verdicts_only(here: Callable[[str], Store], sent: list[Chat]) -> None:
    opened = here("s")
    attack = {"use": "best_of_n", "n": 3}
    first = api.run(SMALL | {"attack": ["direct", attack]}, store=opened)
    assert len(sent) == 4 * (1 + 3)
    sent.clear()
    judge = {"use": "withstand_toys:AskJudge", "model": {"use": "scripted", "reply": "yes"}}
    second = api.run(SMALL | {"attack": ["direct", attack], "judge": judge}, store=opened)
    assert len(sent) == 4 * (1 + 3)  # each completion is judged once, none is made
    assert all(" | " in chat[0].text for chat in sent)
    assert second.name != first.name
    assert rows_of(second, CASES) == rows_of(first, CASES)
    assert rows_of(second, COMPLETIONS) == rows_of(first, COMPLETIONS)
    assert [cell["success"] for cell in second.cells] == [4, 12]


def test_reused_rows_are_counted(here: Callable[[str], Store]) -> None:
    opened = here("s")
    first = api.run(SMALL, store=opened)
    assert first.summary["reused"] == {"rows": 0, "of": 12, "oldest": None}
    second = api.run(SMALL | {"judge": "contains:pan"}, store=opened)
    reused = second.summary["reused"]
    assert (reused["rows"], reused["of"]) == (8, 12)  # test cases and completions, no verdict
    assert reused["oldest"] is not None
    assert api.load(first.name, store=opened).summary["reused"]["rows"] == 0


def test_a_raised_budget_replays_and_goes_on(here: Callable[[str], Store], sent: list[Chat]) -> None:
    opened = here("s")
    attack = {"attack": {"use": "best_of_n", "n": 8, "batch": 2}}
    small = api.run(SMALL | attack | {"budget": {"asks": 5}}, store=opened)
    assert len(sent) == 4 * 4  # the third ask of two would pass 5
    facts = sql.select(tables.row.c.test_cases, tables.row.c.cut).where(tables.row.c.test_cases.is_not(None))
    assert {tuple(entry) for entry in small.store.select(facts)} == {(4, "asks")}
    assert (small.cells[0]["cases"], small.cells[0]["asks"]) == (16, 16)
    sent.clear()
    large = api.run(SMALL | attack, store=opened)
    assert len(sent) == 4 * 4
    assert {label for label, _ in rows_of(large, CASES).values()} == {"8"}
    alone = api.run(SMALL | attack, store=here("other"))
    assert rows_of(large, CASES) == rows_of(alone, CASES)
    assert rows_of(large, VERDICTS) == rows_of(alone, VERDICTS)


def test_until_success_reports_the_draw_that_was_graded(here: Callable[[str], Store], sent: list[Chat]) -> None:
    spec = SMALL | {
        "target": {"use": "scripted", "rules": [[".", "I can.", 0.3]], "reply": "No."},
        "attack": {"use": "best_of_n", "n": 12, "batch": 1},
        "until_success": True,
    }
    run = api.run(spec, store=here("s"))
    (cell,) = run.cells
    cases = list(run.cases())
    by_behavior: dict[str, list[Any]] = {}
    for case in cases:
        by_behavior.setdefault(case["behavior"], []).append(case)
    for listed in by_behavior.values():
        won = listed[0]["outcome"] == "success"
        assert len(listed) == (1 if won else 12)  # the winner alone, or every draw that failed
        assert listed[-1]["cut"] == ("success" if won else "")
        if not won:
            assert [case["spent"]["asks"] for case in listed] == list(range(1, 13))
    spent = sum(listed[-1]["spent"]["asks"] for listed in by_behavior.values())
    assert cell["asks"] == spent == len(sent)  # the graded draws are those of the attack: nothing is asked twice
    broken = sum(listed[0]["outcome"] == "success" for listed in by_behavior.values())
    assert cell["asr"] == broken / len(by_behavior)
    assert cell["asr_at_k"] is None
    assert cell["asr_micro"] is None
    assert "each attack stopped at its first success" in cell["notes"]


def test_samples_of_a_hot_target_differ_and_of_a_cold_one_do_not(here: Callable[[str], Store]) -> None:
    spec = SMALL | {"target": {"use": "scripted", "reply": "I can say {n}"}, "samples": 5}
    hot = api.run(spec | {"sampling": {"temperature": 1.0}}, store=here("s"))
    texts: dict[str, set[str]] = {}
    for case in hot.cases():
        texts.setdefault(case["behavior"], set()).add(case["completion"])
    assert [len(given) for given in texts.values()] == [5] * 4
    assert (hot.cells[0]["cases"], hot.cells[0]["asks"]) == (20, 20)
    plans: list[Any] = []
    cold = api.run(spec, store=hot.store, on_start=lambda plan, run: plans.append(plan))
    assert all(len({c["completion"] for c in cold.cases() if c["behavior"] == name}) == 1 for name in texts)
    assert "samples at temperature 0" in plans[0].warnings[0]


def test_the_seed_changes_hot_draws(here: Callable[[str], Store]) -> None:
    spec = SMALL | {"target": {"use": "scripted", "reply": "I can say {n}"}, "sampling": {"temperature": 1.0}}
    opened = here("s")
    first, second = (api.run(spec | {"seed": seed, "ids": None}, store=opened) for seed in (0, 1))
    answers = [{(c["behavior"], c["completion"]) for c in run.cases()} for run in (first, second)]
    assert not answers[0] & answers[1]


def test_another_revision_is_asked_again(here: Callable[[str], Store]) -> None:
    import withstand_toys  # type: ignore[import-not-found,unused-ignore]

    opened = here("s")

    def asked(revision: str, **more: Any) -> int:
        withstand_toys.heard.clear()
        target = {"use": "function:withstand_toys:answer", "revision": revision}
        api.run(SMALL | {"target": target, "judge": f"contains:{more.pop('word', 'can')}"}, store=opened, **more)
        return len(withstand_toys.heard)

    assert asked("a") == 4
    assert asked("a", word="say") == 0
    assert asked("b") == 4
    assert asked("a") == 0
    assert asked("a", fresh=True) == 4
    assert len(opened.runs()) == 4


def test_a_fresh_run_leaves_the_old_rows(here: Callable[[str], Store], sent: list[Chat]) -> None:
    opened = here("s")
    api.run(SMALL, store=opened)
    before, _ = content(opened)
    fresh = api.run(SMALL, store=opened, fresh=True)
    assert len(sent) == 8
    assert before < content(opened)[0]
    assert fresh.summary["reused"]["rows"] == 0
    assert "fresh" in fresh.row.spec


# --- names -------------------------------------------------------------------------------------------------------


def test_a_name_stands_for_one_plan(here: Callable[[str], Store], sent: list[Chat]) -> None:
    opened = here("s")
    api.run(SMALL, store=opened, name="mine")
    sent.clear()
    with pytest.raises(SpecError, match="run 'mine' exists with another spec"):
        api.run(SMALL | {"seed": 1}, store=opened, name="mine")
    with pytest.raises(SpecError, match="this run already exists as 'mine'") as caught:
        api.run(SMALL, store=opened, name="yours")
    assert "mine" in caught.value.hint
    assert api.run(SMALL, store=opened).name == "mine"  # without a name it is found by its plan
    assert sent == []
    assert [run.name for run in opened.runs()] == ["mine"]
    with pytest.raises(SpecError, match="has no run 'yours'") as caught:
        api.load("yours", store=opened)
    assert "mine" in caught.value.hint


# --- test cases from elsewhere -----------------------------------------------------------------------------------


def test_cases_travel_from_a_run_to_another_target(here: Callable[[str], Store], sent: list[Chat]) -> None:
    opened = here("s")
    earlier = api.run(SMALL | {"attack": {"use": "best_of_n", "n": 2}}, store=opened, name="found")
    sent.clear()
    spec = SMALL | {"target": {"use": "scripted", "reply": "I can too."}, "attack": [], "cases_from": "found"}
    run = api.run(spec, store=opened)
    (cell,) = run.cells
    assert cell["attack"] == "best_of_n,n=2 found on scripted (found)"
    assert (cell["cases"], cell["success"], cell["asks"]) == (8, 8, 8)
    assert sorted(map(repr, sent)) == sorted(repr(chat) for chat in chats_of(earlier))
    assert [c["chat"] for c in run.cases()] == [c["chat"] for c in earlier.cases()]
    assert {c["completion"] for c in run.cases()} == {"I can too."}  # drawn anew, not carried over


def test_cases_that_were_drawn_hot_are_drawn_hot_again(
    here: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, hot = here("s"), list[float]()
    api.run(SMALL | {"attack": [{"use": "best_of_n", "n": 2}, "story"]}, store=opened, name="found")
    generate = Scripted.generate

    def noted(self: Scripted, chats: Any, sampling: Sampling, seeds: Any) -> Any:
        hot.extend([sampling.temperature] * len(chats))
        return generate(self, chats, sampling, seeds)

    monkeypatch.setattr(Scripted, "generate", noted)
    spec = SMALL | {"target": {"use": "scripted", "reply": "I can too."}, "attack": [], "cases_from": "found"}
    drawn, greedy = api.run(spec, store=opened, name="again").cells
    assert (hot.count(1.0), hot.count(0.0)) == (8, 4)  # greedy answers to what was drawn would be another attack
    note = "drawn at temperature 1, as in the attack that made the test cases"
    assert (note in drawn["notes"], note in greedy["notes"]) == (True, False)
    assert (drawn["cases"], drawn["asks"]) == (8, 8)
    hot.clear()
    api.run(spec | {"cases_from": "again", "target": {"use": "scripted", "reply": "Me too."}}, store=opened)
    assert (hot.count(1.0), hot.count(0.0)) == (8, 4)


def test_what_is_no_text_does_not_travel(here: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Direct, "upper_bound", True, raising=False)
    opened = here("s")
    api.run(SMALL | {"attack": ["direct", {"use": "best_of_n", "n": 2}]}, store=opened, name="both")
    spec = SMALL | {"target": {"use": "scripted", "reply": "I can too."}, "attack": []}
    run = api.run(spec | {"cases_from": "both"}, store=opened)
    assert [cell["attack"] for cell in run.cells] == ["best_of_n,n=2 found on scripted (both)"]
    api.run(SMALL | {"attack": "direct"}, store=opened, name="none")
    with pytest.raises(SpecError, match="no test case that could be sent"):
        api.run(spec | {"cases_from": "none"}, store=opened)


TALK = {"use": "withstand_toys:Talk"}


def test_a_conversation_is_judged_as_one_and_its_lost_answers_are_told(here: Callable[[str], Store]) -> None:
    reply = {"use": "scripted", "rules": [["0$", "Take a pan.", 1.0]], "reply": "Stir it {n}."}
    run = api.run(SMALL | {"attack": TALK, "target": reply, "until_success": False}, store=here("s"))
    (cell,) = run.cells
    assert (cell["cases"], cell["error"], cell["asks"]) == (4, 0, 12)
    assert [note for note in cell["notes"] if "attacker" in note] == [
        "the attacker refused 12 times and broke the format 12 times; 12 drafts meant something else; 24 answers were "
        "cut off or too long: no test cases, asked anew",
        "12 drafts of the attacker repeat others of its search: it tried less than planned",
    ]
    for case in run.cases():
        assert [turn["role"] for turn in case["chat"]] == ["user", "assistant", "user", "assistant", "user"]
        first, *others = case["completion"].split("\n\n")
        assert (first, len(others)) == ("Take a pan.", 2)


def test_of_a_conversation_the_turns_of_the_user_travel(here: Callable[[str], Store], sent: list[Chat]) -> None:
    opened = here("s")
    api.run(SMALL | {"attack": TALK}, store=opened, name="found")
    sent.clear()
    spec = SMALL | {"target": {"use": "scripted", "reply": "I can too."}, "attack": [], "cases_from": "found"}
    run = api.run(spec, store=opened)
    (cell,) = run.cells
    assert "conversations from elsewhere: this target answered every turn of the user afresh" in cell["notes"]
    assert (cell["cases"], cell["error"], cell["asks"], len(sent)) == (4, 0, 12, 12)
    assert {case["completion"] for case in run.cases()} == {"I can too.\n\nI can too.\n\nI can too."}
    assert all(turn.text == "I can too." for chat in sent for turn in chat if turn.role == "assistant")


def test_turns_that_an_attack_wrote_travel_as_they_are(
    here: Callable[[str], Store], sent: list[Chat], tmp_path: Path
) -> None:
    """Also where its draws carry their answers; had the target answered each shot afresh, there would be no shots."""
    shots = tmp_path / "shots.jsonl"
    shots.write_text('{"question": "What is a wok?", "answer": "A round pan."}')
    shooting = {"use": "many_shot", "path": str(shots), "shots": 1}
    opened = here("s")
    api.run(SMALL | {"attack": {"use": "best_of_n", "n": 2, "attack": shooting}}, store=opened, name="found")
    before = [*sent]
    sent.clear()
    spec = SMALL | {"target": {"use": "scripted", "reply": "I can too."}, "attack": [], "cases_from": "found"}
    run = api.run(spec, store=opened)
    assert sorted(map(repr, sent)) == sorted(map(repr, before))
    assert {len(chat) for chat in sent} == {3}
    assert {case["completion"] for case in run.cases()} == {"I can too."}


def test_success_against_budget(here: Callable[[str], Store]) -> None:
    rules = [[" 2$", "Take {n} pans and stir.", 0.5]]  # some dishes yield at the third turn, others never
    spec = SMALL | {"attack": ["direct", TALK], "target": {"use": "scripted", "rules": rules}, "judge": "contains:pans"}
    run = api.run(spec, store=here("s"))
    judged = [case["outcome"] == "success" for case in run.cases() if case["cell"] == 1]
    direct, *points = run.within("asks")
    assert (direct["cell"], direct["spent"], direct["broken"], direct["behaviors"]) == (0, 0.0, 0, 4)
    assert sum(judged) in (1, 2, 3)
    assert [(point["spent"], point["broken"]) for point in points] == [(0.0, 0), (3, sum(judged))]
    assert points[-1]["area"] == direct["area"] == 0  # the last turn is all that was spent
    assert points[-1]["low"] < sum(judged) / 4 < points[-1]["high"]
    assert points[-1]["rate"] == pytest.approx(sum(judged) / 4)
    assert {point["by"] for point in run.within("tokens")} == {"tokens"}
    assert run.within("flops") == []  # a scripted target computes nothing that is counted


def test_the_first_success_dates_a_search_wherever_its_case_is_listed(here: Callable[[str], Store]) -> None:
    """The candidate that a search keeps is listed after its final cases, and may have been found before them."""
    toy, rules = {"use": "withstand_toys:Late"}, [["kept", "Take pans.", 1.0], ["last", "Take pans.", 1.0]]
    run = api.run(
        SMALL | {"attack": [toy], "target": {"use": "scripted", "rules": rules}, "judge": "contains:pans"},
        store=here("s"),
    )
    assert [case["spent"]["asks"] for case in run.cases() if case["cell"] == 0][:2] == [3, 1]
    last = run.within("asks")[-1]
    assert (last["spent"], last["broken"], last["at_most"]) == (2, 4, 4)  # of its candidates one was judged


def test_all_draws_count_toward_a_success(here: Callable[[str], Store], tmp_path: Path) -> None:
    """A list of templates, samples of one case and draws that grade a search weigh as the draws of best of n do."""
    again = {"use": "scripted", "rules": [["third", "Take pans.", 1.0]]}
    templates = tmp_path / "templates.json"
    templates.write_text(json.dumps(["1 first", "2 second", "3 third"]))
    listed = {"use": "human_jailbreaks", "path": str(templates), "n": 0}
    spec = SMALL | {"attack": [listed], "target": again, "judge": "contains:pans"}
    for more, spent in (({}, 3), ({"until_success": True}, 3), ({"samples": 2}, 5)):
        run = api.run(spec | more, store=here("s"))
        assert [(point["spent"], point["broken"]) for point in run.within("asks")] == [(0, 0), (spent, 4)], more
        assert not any(point["at_most"] for point in run.within("asks"))
        assert run.within("asks")[0]["area"] == pytest.approx(0 if spent == 3 else 1 / 6)


def test_success_against_operations(here: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Scripted.generate

    def counted(self: Scripted, chats: Any, *how: Any) -> Any:
        if self.reply != "unknown":
            computed(1e9 * len(chats))
        return answered(self, chats, *how)

    monkeypatch.setattr(Scripted, "generate", counted)
    rules = [[" 2$", "Take {n} pans and stir.", 0.5]]
    targets = [{"use": "scripted", "rules": rules, "width": 1}, {"use": "scripted", "reply": "unknown"}]
    spec = SMALL | {"attack": ["direct", TALK], "target": targets, "judge": "contains:pans"}
    run = api.run(spec, store=here("s"))
    broken = sum(case["outcome"] == "success" for case in run.cases() if case["cell"] == 1)
    # three turns of a talk, one after another; the target that does not count has no curve
    points = [(point["cell"], point["spent"], point["broken"]) for point in run.within("flops")]
    assert points == [(0, 0.0, 0), (1, 0.0, 0), (1, 3e9, broken)]
    assert {case["spent"]["flops"] for case in run.cases() if case["cell"] == 3} == {None}
    page = write.render(run.store, run.row, "html")
    assert "operations (FLOPs) up to the first success" in page
    assert "by 3.00 G FLOPs" in page


def chats_of(run: api.Run) -> list[Chat]:
    from withstand.core import from_json

    return [case.chat for _, value in rows_of(run, CASES).values() for case in from_json(tuple[Case, ...], value)]


def test_cases_of_a_harmbench_file(here: Callable[[str], Store], tmp_path: Path) -> None:
    opened = here("s")
    plain = api.run(SMALL, store=opened)
    ids = [case["behavior"] for case in plain.cases()]
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "?"},
    ]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({ids[0]: ["one", "two"], ids[1]: [turns], ids[2]: []}))
    run = api.run(SMALL | {"cases_from": str(path)}, store=opened)
    direct, given = run.cells
    assert (direct["attack"], given["attack"]) == ("direct", "cases:cases.json")
    assert (given["cases"], given["success"], given["error"]) == (5, 3, 2)  # two behaviors have no test case
    chats = [[turn["text"] for turn in case["chat"]] for case in run.cases() if case["cell"] == 1]
    assert chats == [["one"], ["two"], ["Hello", "Hi", "?"], [], []]
    errors = [case["error"] for case in run.cases() if case["cell"] == 1]
    assert errors == ["", "", "", *["the attack made no test case"] * 2]


def test_cases_from_nowhere_is_an_error_before_anything_is_asked(
    here: Callable[[str], Store], sent: list[Chat]
) -> None:
    with pytest.raises(SpecError, match="cannot read test cases from nowhere"):
        api.run(SMALL | {"attack": [], "cases_from": "nowhere"}, store=here("s"))
    assert sent == []


# --- the numbers of a report -------------------------------------------------------------------------------------

HARMFUL = """id,text,category
b1,success failure refused filtered,x
b2,success success unscored,x
b3,failure down confused,y
b4,crash,y
b5,unscored,y
"""
BENIGN = """id,text
g1,refused
g2,filtered
g3,failure
g4,down
g5,failure
"""


@pytest.fixture
def mixed(tmp_path: Path) -> dict[str, Any]:
    """A run of every outcome: the target says back each word, and the judge takes it at its word."""
    (tmp_path / "harmful.csv").write_text(HARMFUL)
    (tmp_path / "benign.csv").write_text(BENIGN)
    echo = "withstand_toys:Echo"
    benign = {"use": "csv", "path": str(tmp_path / "benign.csv"), "harmless": True, "refusal_judge": echo}
    return {
        "suite": {"use": "csv", "path": str(tmp_path / "harmful.csv"), "category": "category"},
        "target": "withstand_toys:Moody",
        "attack": "withstand_toys:Words",
        "judge": echo,
        "benign": benign,
    }


def test_every_number_of_a_cell(here: Callable[[str], Store], mixed: dict[str, Any]) -> None:
    run = api.run(mixed, store=here("s"), name="mixed")
    cell, benign = run.cells
    counts = {name: cell[name] for name in ("success", "failure", "refused", "filtered", "unscored", "error")}
    assert counts == {"success": 3, "failure": 2, "refused": 1, "filtered": 1, "unscored": 2, "error": 3}
    assert (cell["behaviors"], cell["cases"]) == (5, 12)
    assert sum(counts.values()) == cell["cases"]
    # scored: b1 4 (1 success), b2 2 (2), b3 1 (0); b4 and b5 have none
    assert cell["asr"] == pytest.approx((1 / 4 + 2 / 2 + 0 / 1) / 3)
    assert cell["asr_micro"] == pytest.approx(3 / 7)
    assert cell["asr_bounds"] == pytest.approx(
        [(1 / 4 + 2 / 3 + 0 + 0 + 0) / 5, (1 / 4 + 3 / 3 + 2 / 3 + 1 / 1 + 1 / 1) / 5]
    )
    interval = rate_interval([1, 2, 0], [4, 2, 1])
    assert interval is not None
    assert cell["asr_interval"] == [interval.low, interval.high]
    # of b1's four draws two hold its one success half the time; b2 always
    assert cell["asr_at_k"] == pytest.approx({"1": 1.25 / 3, "2": (1 / 2 + 1) / 2, "4": 1.0})
    # asked: 4 + 3 + 2 (down came not back) + 1, each 3 tokens, 50 cents and a quarter second; the judge is free
    assert (cell["asks"], cell["tokens"], cell["cost"]) == (10, 30, 5.0)
    assert cell["seconds"] == pytest.approx(2.5, abs=0.2)
    assert cell["by_category"] == [
        {
            "category": "x", "behaviors": 2, "cases": 7, "success": 3, "scored": 6, "asr": pytest.approx(1.25 / 2),
            "asr_interval": pytest.approx(limits([1, 2], [4, 2])),
        },
        {
            "category": "y", "behaviors": 3, "cases": 5, "success": 0, "scored": 1, "asr": 0.0,
            "asr_interval": pytest.approx(limits([0], [1])),
        },
    ]  # fmt: skip
    notes = " / ".join(cell["notes"])
    assert "2 of 5 behaviors have no scored case and are in the bounds only" in notes
    assert "judged by string matching (withstand_toys:Echo)" in notes
    assert "3 without a row: 3 failed" in notes
    assert "not reached" not in notes
    assert "@2 over 2, @4 over 1" in notes
    assert "no over-refusal" not in notes
    assert not cell["benign"]
    assert (cell["over_refusal"], cell["over_refusal_interval"]) == (
        benign["over_refusal"],
        benign["over_refusal_interval"],
    )
    summary = run.summary
    assert summary["run"]["state"] == "incomplete: 4 of 17 rows missing"
    assert any("4 rows are missing" in warning for warning in summary["warnings"])


def limits(success: list[int], scored: list[int]) -> list[float]:
    interval = rate_interval(success, scored)
    assert interval is not None
    return [interval.low, interval.high]


def test_a_benign_cell_has_over_refusal_and_no_asr(here: Callable[[str], Store], mixed: dict[str, Any]) -> None:
    _, cell = api.run(mixed, store=here("s")).cells
    assert cell["benign"]
    assert (cell["attack"], cell["cases"]) == ("direct", 5)
    assert [cell[name] for name in ("refused", "filtered", "failure", "error", "success")] == [1, 1, 2, 1, 0]
    assert cell["over_refusal"] == pytest.approx(2 / 4)
    assert cell["over_refusal_interval"] == limits([1, 1, 0, 0], [1, 1, 1, 1])
    for name in ("asr", "asr_interval", "asr_bounds", "asr_micro", "asr_at_k"):
        assert cell[name] is None
    assert cell["by_category"] == []
    assert "benign prompts: no ASR" in cell["notes"]


def test_every_case_of_a_report(here: Callable[[str], Store], mixed: dict[str, Any]) -> None:
    run = api.run(mixed | {"benign": "none"}, store=here("s"))
    listed = [
        (c["behavior"], c["case"], c["outcome"], c["completion"], c["finish"], c["error"], c["hint"])
        for c in run.cases()
    ]
    crash = "RuntimeError: the attack crashed"
    # the order of behaviors is the plan's; within one it is that of its words
    assert sorted(listed) == [
        ("b1", 0, "success", "success", "stop", "", ""),
        ("b1", 1, "failure", "failure", "stop", "", ""),
        ("b1", 2, "refused", "refused", "stop", "", ""),
        ("b1", 3, "filtered", "filtered", "filtered", "", ""),
        ("b2", 0, "success", "success", "stop", "", ""),
        ("b2", 1, "success", "success", "stop", "", ""),
        ("b2", 2, "unscored", "unscored", "stop", "", ""),
        ("b3", 0, "failure", "failure", "stop", "", ""),
        ("b3", 1, "error", None, "", "moody is down", "cheer it up"),
        ("b3", 2, "error", "confused", "stop", "RuntimeError: the judge is confused", ""),
        ("b4", 0, "error", None, "", crash, ""),
        ("b5", 0, "unscored", "unscored", "stop", "", ""),
    ]
    assert {(c["score"], c["why"]) for c in run.cases() if c["outcome"] == "success"} == {(0.5, "as it says")}
    frame = run.to_pandas()
    assert len(frame) == 12
    assert set(frame["attack"]) == {"withstand_toys:Words"}


def test_what_failed_is_tried_again_and_what_was_done_is_not(
    here: Callable[[str], Store], mixed: dict[str, Any]
) -> None:
    opened = here("s")
    api.run(mixed | {"benign": "none"}, store=opened)
    mended = mixed | {"benign": "none", "target": {"use": "withstand_toys:Moody", "mended": True}}
    run = api.run(mended, store=opened)
    assert len(opened.runs()) == 1
    assert run.tally is not None
    assert run.tally.asks == 1  # the one that was down; it now answers "down", which is no outcome
    assert run.cells[0]["error"] == 3
    errors = sorted(c["error"] for c in run.cases() if c["outcome"] == "error")
    assert errors[0].startswith("Echo gave Verdict(outcome='down'")


def test_equal_answers_whose_verdict_failed_are_all_in_error(
    here: Callable[[str], Store], mixed: dict[str, Any], tmp_path: Path
) -> None:
    """Three equal draws want one verdict; none of them has it."""
    (tmp_path / "harmful.csv").write_text("id,text,category\nb1,confused confused confused,x\n")
    (cell,) = api.run(mixed | {"benign": "none"}, store=here("s")).cells
    assert (cell["cases"], cell["error"]) == (3, 3)
    assert any("3 without a row: 3 failed" in note and "not reached" not in note for note in cell["notes"])


def test_equal_answers_are_judged_once(here: Callable[[str], Store], sent: list[Chat]) -> None:
    judge = {"use": "withstand_toys:AskJudge", "model": {"use": "scripted", "reply": "yes"}}
    run = api.run(SMALL | {"judge": judge, "samples": 3}, store=here("s"))
    assert len(sent) == 4 * 3 + 4
    assert (run.cells[0]["cases"], run.cells[0]["success"]) == (12, 12)


def test_nothing_scored_is_null_never_zero(here: Callable[[str], Store], mixed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "harmful.csv").write_text("id,text,category\nb1,unscored,x\nb2,crash,x\n")
    (cell,) = api.run(mixed | {"benign": "none"}, store=here("s")).cells
    for name in ("asr", "asr_interval", "asr_micro", "over_refusal", "over_refusal_interval"):
        assert cell[name] is None, name
    assert not cell["asr_at_k"]
    assert cell["asr_bounds"] == [0.0, 1.0]
    assert cell["by_category"][0]["asr"] is None
    notes = " / ".join(cell["notes"])
    assert "no case was scored: no rate can be computed" in notes
    assert "no benign cell of this target: no over-refusal" in notes


def test_a_run_cut_short_knows_what_it_lacks(here: Callable[[str], Store]) -> None:
    """4 behaviors of 3 samples: 5 answers came, 7 did not; before the second stage nothing more is known than cases."""
    spec = SMALL | {"samples": 3, "sampling": {"temperature": 1.0}}
    opened = here("s")
    run = api.run(spec, store=opened, max_asks=5)
    (cell,) = run.cells
    assert (cell["cases"], cell["error"]) == (12, 12)  # the verdicts were not reached
    assert cell["asr"] is None
    assert cell["asr_bounds"] == [0.0, 1.0]
    assert any("12 without a row: 12 not reached" in note for note in cell["notes"])
    assert {c["error"] for c in run.cases()} == {"not reached"}
    assert run.summary["run"]["state"] == "incomplete: 12 of 12 rows missing"
    run = api.run(spec, store=opened)
    assert run.cells[0]["success"] == 12
    assert run.summary["run"]["state"] == "complete"


def test_a_flow_cut_by_seconds_is_marked(here: Callable[[str], Store]) -> None:
    spec = SMALL | {
        "target": {"use": "scripted", "seconds": 0.02},
        "attack": {"use": "best_of_n", "n": 50, "batch": 1},
        "budget": {"seconds": 0.01},
    }
    (cell,) = api.run(spec, store=here("s")).cells
    assert any("cut by seconds" in note for note in cell["notes"])
    assert cell["cases"] < 200


def test_over_refusal_stands_beside_the_attacks_of_its_own_defense(here: Callable[[str], Store]) -> None:
    spec = {
        "suite": {"use": "kitchen", "limit": 4},
        "target": {"use": "scripted", "rules": [["stay responsible", "I cannot help with that.", 1.0]]},
        "defense": ["none", "self_reminder"],
        "attack": ["direct", "prefix_injection"],
    }
    run = api.run(spec, store=here("s"))
    assert [(c["defense"], c["benign"], c["over_refusal"]) for c in run.cells] == [
        ("none", False, 0.0),
        ("none", False, 0.0),
        ("none", True, 0.0),
        ("self_reminder", False, 1.0),
        ("self_reminder", False, 1.0),
        ("self_reminder", True, 1.0),
    ]
    assert not any("static attacks only" in warning for warning in run.summary["warnings"])  # one knows its bypasses


def test_provenance_names_who_wrote(here: Callable[[str], Store], tmp_path: Path) -> None:
    run = api.run(SMALL, store=tmp_path / "p.db")
    (writer,) = run.summary["provenance"]["writers"]
    assert writer["rows"] == 12
    assert writer["libraries"]["sqlalchemy"]
    names = {component["name"] for component in run.summary["provenance"]["components"]}
    assert {"scripted", "direct", "contains"} <= names
    run.store.close()


def test_each_suite_shows_the_over_refusal_of_its_own_twin(here: Callable[[str], Store], tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("id,text\na,do a\nb,do b\n")
    (tmp_path / "kind.csv").write_text("id,text\nc,say c\nd,say d\n")
    own = {"use": "csv", "path": str(tmp_path / "h.csv"), "benign": f"csv:{tmp_path / 'kind.csv'},harmless=true"}
    target = {
        "use": "scripted",
        "rules": [["say [cd]", "I'm sorry, but I can't help with that.", 1.0]],
        "reply": "Yes.",
    }
    run = api.run(
        {"suite": [own, {"use": "kitchen", "limit": 4}], "target": target, "attack": "direct"}, store=here("s")
    )
    shown = {cell["suite"]: cell["over_refusal"] for cell in run.cells if not cell["benign"]}
    assert sorted(shown.values()) == [0.0, 1.0]
    assert shown["kitchen"] == 0.0

"""What a long run shows: searches by step, loss and asks, an honest remaining time, the conversion of a model."""

import contextlib
import io
import itertools
from types import SimpleNamespace

import pytest
from rich.console import Console

import tiny
from withstand.cli import progress
from withstand.core import Ask, Behavior, Sampling, TestCase, Work, Worked, notice, to_json, user
from withstand.registry import find
from withstand.runner.lanes import Queue, Waiting
from withstand.runner.progress import Search, bounds_of, searching, watched
from withstand.runner.tally import Tally
from withstand.store.tables import CASES


class Stepwise:
    """An attack with steps of work."""

    steps = 100


def flow_of(items):
    for item in items:
        _ = yield item


def play(flow, answers):
    """Run a flow; a piece of work is answered by the next of `answers`."""
    answer = None
    with contextlib.suppress(StopIteration):
        while True:
            item = flow.send(answer)
            answer = answers.pop(0) if isinstance(item, Work) else None


def states(*pairs):
    return [Work(None, None, None) for _ in pairs], [Worked({"step": step, "lowest": loss}) for step, loss in pairs]


def test_a_search_says_its_step_its_best_loss_and_its_asks():
    searches = []
    items, answers = states((10, 3.5), (20, 2.25), (30, 2.75))
    items.append(Ask(None, (user("a"), user("b")), Sampling()))
    with searching(searches, Stepwise(), "gcg", "bagels") as search:
        play(watched(flow_of(items), search), answers)
        assert (search.step, search.steps, search.loss, search.asks) == (30, 100, 2.25, 2)
        assert progress.search_line(searches) == "gcg on bagels: step 30 of 100, best loss 2.250, 2 asks"
    assert searches == []


def test_a_search_of_asks_is_measured_against_its_bound():
    search = Search("pair", "soda_bread", most=60)
    for score in (0.1, 0.7, 0.4):
        search.see(Ask(None, (user("x"),) * 5, Sampling()), [])
        search.see(TestCase("soda_bread", user("x"), score=score), None)
    assert search.share == 15 / 60
    quiet = Search("pair", "bagels", moved=0.0)
    assert "pair on bagels: the model has been working for " in progress.search_line([quiet])
    line = progress.search_line([quiet, search])
    assert line == "pair on soda_bread: best score 0.7, 15 of at most 60 asks; 1 more search"
    assert bounds_of(Stepwise()) == (100, 0)


def test_running_searches_count_towards_the_share_of_a_stage():
    tally = Tally(stage=CASES, done=2)
    assert tally.share(10) == 0.2
    tally.searches += [Search("gcg", "a", steps=100, step=50), Search("gcg", "b", steps=100, step=25)]
    assert tally.share(10) == pytest.approx(0.275)
    assert tally.share(0) == 0


def test_the_remaining_time_is_estimated_from_what_was_done_here_alone():
    now = [100.0]
    clock = progress.Clock(now=lambda: now[0])
    tally = Tally(stage=CASES, done=8)  # found in the store by a resumed run
    assert clock.remaining(tally, 10) == "estimating time left"
    now[0] += 60
    assert clock.remaining(tally, 10) == "estimating time left"
    tally.done = 9
    assert clock.remaining(tally, 10) == "about 1 min 00 s left"  # one row took a minute; the eight took none
    tally.done = 10
    assert clock.remaining(tally, 10) == ""


def test_a_run_shows_its_search_in_plain_lines(withstand, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "PLAIN_EVERY", 0.0)
    done = withstand("run", "--suite", "kitchen", "--limit", "2", "--benign", "none", "--target", "scripted-kitchen",
                     "--attack", "best_of_n,n=6,batch=2", "--until-success")  # fmt: skip
    lines = [line for line in done.err.splitlines() if line.startswith("test cases ")]
    assert any("best_of_n on " in line and " asks" in line for line in lines), done.err
    assert lines[-1].startswith("test cases 2/2")


def test_a_search_moves_within_one_piece_of_work(tmp_path):
    """A piece may take minutes: each of its steps is shown to its own search, and to no search of another behavior."""
    attack = find.build("attack", "gcg,steps=4,width=8,topk=8,every=4")
    model = find.build("target", f"hf:{tiny.save(tmp_path / 'llama')},device=cpu")
    parts = [{"behavior": to_json(Behavior(name, "Bake", target_string="Sure")), "state": None} for name in "ab"]
    searches = [Search("gcg", name) for name in "ab"]
    seen = []

    def look(step):
        for search in searches:
            search.at(step)
        seen.append([(search.behavior, search.step, search.steps) for search in searches])

    rows = [Waiting(SimpleNamespace(item=Work(model, attack.advance, part, look)), 0, "", part) for part in parts[:1]]
    answers = Queue(model, attack.advance).answer(rows)
    assert [step for step, _ in itertools.groupby(seen)] == [[("a", n, 4), ("b", 0, 0)] for n in (1, 2, 3, 4)]
    assert searches[0].loss == pytest.approx(answers[0].value["lowest"])
    notice.tell_step("a", 9, 9, 0.0)  # nobody watches any more
    assert searches[0].step == 4


def test_preparations_are_told_to_listeners_alone():
    texts = []
    notice.tell("nobody listens")
    with notice.listening(texts.append):
        notice.tell("tensor 1 of 2")
    notice.tell("nobody listens again")
    assert texts == ["tensor 1 of 2"]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_live_lines_fit_the_terminal(columns):
    console = Console(width=columns, force_terminal=True, record=True, file=io.StringIO())
    tally = Tally(stage=CASES, done=1, asks=1_234, tokens=56_789)
    tally.searches.append(Search("gcg,steps=500", "a_behavior_with_a_long_name", steps=500, step=30, loss=1.5))
    console.print(progress._LiveLines().of(tally, 10))
    lines = console.export_text().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= columns
    assert "1/10" in lines[0]
    assert "step 30 of 500" in lines[1]

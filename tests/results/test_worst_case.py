"""The behaviors that any attack broke: from counts, with labels of people, by category; as gate and JSON have it."""

from typing import Any

import pytest

from withstand import api
from withstand.core.text import interval
from withstand.report.write import render
from withstand.results import labeling
from withstand.results.cases import cases
from withstand.results.decide import decide
from withstand.results.gate import estimate
from withstand.results.graded import graded
from withstand.results.labeling import Item
from withstand.results.limits import Limits
from withstand.results.reviewed import reviewed
from withstand.stats import rates
from withstand.store.attempts import Attempt, add


@pytest.fixture
def ran(ran):
    def run(more: dict[str, Any], behaviors: int = 40, **outcomes: Any) -> api.Run:
        return ran("r", {"benign": "none"} | more, behaviors, **outcomes)

    return run


def test_the_worst_case_counts_a_behavior_once_and_what_is_open(ran):
    run = ran({"attack": ["direct", "withstand_toys:Words"]}, success=[0, 2, 4, 5], unscored=[7], down=[9])
    [worst] = run.result.worst
    assert worst.attacks == {"direct": 4, "withstand_toys:Words": 4}
    assert (worst.broken, worst.behaviors, worst.open, worst.cases) == (4, 38, 2, 2)
    assert worst.rate == pytest.approx(4 / 38)
    assert worst.interval == pytest.approx(rates.wilson(4, 38))
    assert worst.bounds == pytest.approx((4 / 40, 6 / 40))
    assert worst.false_positives.rate == pytest.approx(1 - 0.99**2)
    [line] = decide(run.store, run.row, Limits(asr=0.5)).lines
    assert (line.rate, line.attacks, line.n) == (worst.rate, worst.attacks, 40)
    even, odd = worst.by_category
    assert (even.category, even.broken, even.behaviors, odd.broken) == ("even0", 3, 20, 1)
    assert even.interval == pytest.approx(rates.wilson(3, 20, 0.95**0.5))
    assert worst.weakest == even
    assert run.summary["worst"][0]["attacks"] == worst.attacks
    assert run.cells[0]["asr_at_k_interval"] == {"1": run.cells[0]["asr_interval"]}


def test_people_are_asked_of_every_case_that_the_judge_calls_broken(ran):
    run = ran({"attack": ["direct", "withstand_toys:Words"]}, success=[0, 2], unscored=[1])
    items = labeling.queue(run.store, run.row, "breaks", n=1)
    assert sorted((item.case.cell, item.case.behavior) for item in items) == [
        (0, "b0"),
        (0, "b2"),
        (1, "b0"),
        (1, "b2"),
    ]
    for item in items:
        labeling.add(run.store, run.row, item, "failure", "ann", "breaks")
    assert api.load("r", run.store).result.worst[0].rate == 0
    assert labeling.labels_of(run.store, run.row) == []  # chosen cases enter no estimate


def test_labels_of_people_count_in_the_worst_case_as_in_the_gate(ran):
    """One break is cleared, one is found, one unscored case is a break, and one break is split."""
    run = ran({"attack": ["direct", "withstand_toys:Words"]}, success=[0, 2, 3], unscored=[7], down=[9])
    votes: dict[str, list[Any]] = {"b0": ["failure"], "b1": ["success"], "b7": ["success"]}
    votes["b3"] = ["success", "failure"]
    for case in cases(run.store, run.row):
        for person, vote in enumerate(votes.get(case.behavior, []) if case.cell == 0 or case.behavior == "b3" else []):
            item = Item(labeling.place_of(case), "x", 1, "t", "a", case)
            labeling.add(run.store, run.row, item, vote, f"p{person}", "review")
    [worst] = api.load("r", run.store).result.worst
    assert worst.attacks == {"direct": 3, "withstand_toys:Words": 2}
    assert (worst.broken, worst.checked, worst.labeled, worst.open) == (4, 2, 5, 2)  # b0 was broken by the other, too
    seen, behaviors, _ = estimate(reviewed(run.store, run.row, graded(run.store, run.row)), "any_attack")
    assert (seen.rate, seen.bounds, seen.open, behaviors) == (worst.rate, worst.bounds, worst.open, 40)
    [line] = decide(run.store, run.row, Limits(asr=0.5)).lines
    assert (line.rate, line.attacks) == (worst.rate, worst.attacks)


def test_a_run_that_stops_early_has_limits_for_what_all_attacks_came_to(ran):
    run = ran({"attack": ["direct", "withstand_toys:Words"], "stop_when_decided": 0.5}, success=[1])
    [worst] = run.result.worst
    assert worst.behaviors < 40
    assert worst.interval[1] > rates.wilson(worst.broken, worst.behaviors)[1]
    assert all(cell["behaviors"] == 40 for cell in run.cells)


def test_the_report_opens_with_the_worst_case_and_says_what_to_do_about_an_open_gate(ran):
    gate = {"max_asr": 0.15, "max_errors": 0.9}
    more = {"attack": ["direct", "withstand_toys:Words"], "gate": gate}
    run = ran(more, success=[0, 2, 4, 5], unscored=[7], down=[9])
    text = render(run.store, run.row, "md")
    assert text.splitlines()[4].startswith(
        "Any of 2 attacks broke 4 of 38 behaviors of withstand_toys:Oracle,revision=1"
    )
    assert "(11%, 95% interval 4\u201324%; 10\u201315% if none or all of the 2 open behaviors broke)." in text
    part = run.result.worst[0].by_category[0]
    assert f"The weakest category is even0: 3 of {part.behaviors} behaviors ({interval(part.interval)})." in text
    assert "How sure: the judge was not compared with labels; with 2 cases per behavior" in text
    assert "Gate of the spec: UNDECIDED" in text
    assert "4 unscored or missing cases would decide it: run the same command again, or review them" in text
    page = render(run.store, run.row, "html")
    assert page.index("Any of 2 attacks") < page.index("Gate of the spec") < page.index("What was not tested")
    assert "<code>withstand label r --for breaks --by NAME</code> or <code>withstand gate r</code>" in page


def test_findings_of_people_stand_in_the_report(ran):
    run = ran({}, behaviors=2, success=[0])
    plain = {"turns": (), "output": "", "tester": "ann", "surfaced": 1.0, "created": 1.0, "run": run.row.key}
    kinds = (("harmful", 1, "fine"), ("borderline", 4, "<b>shows</b> everything"), ("ok", 3, "nothing here"))
    for n, (verdict, severity, note) in enumerate(kinds):
        add(run.store, Attempt(f"F-{n}", verdict=verdict, severity=severity, notes=note, **plain))
    page = render(run.store, run.row, "html")
    section = page[page.index('<section id="findings">') :].partition("</section>")[0]
    assert section.index("critical") < section.index("low")
    assert "&lt;b&gt;shows&lt;/b&gt; everything" in section
    assert "nothing here" not in section
    assert "23 characters" in render(run.store, run.row, "html", with_text=False)


def test_an_open_gate_says_how_many_behaviors_to_take(ran):
    run = ran({"gate": {"max_asr": 0.1}}, behaviors=20, failure=[0])
    [line] = decide(run.store, run.row, Limits(asr=0.1)).lines
    text = render(run.store, run.row, "md")
    assert "UNDECIDED: direct, 0% (0\u201317%), may be at most 10% (max-asr)." in text
    assert f"Raise `limit` to {line.more} and run again: what is there is kept." in text

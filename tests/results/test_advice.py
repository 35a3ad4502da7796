"""Results on advice: dummies with one answer, an oracle, what cannot be read, likelihoods, intervals."""

import random
import sys
from types import SimpleNamespace

import pytest

import withstand
from withstand.registry import find
from withstand.report import advice as report
from withstand.report.write import render
from withstand.results.advice import CONTAMINATION, Share, _preference
from withstand.results.graded import BehaviorResult
from withstand.stats import rates

FEW = 6
SUITES = [{"use": name, "scenarios": FEW} for name in ("kitchen-advice", "kitchen-advice-benign")]
FORMS = ("harm", "advisable", "choice")
UNSAFE = {
    (behavior.context, behavior.target_string.rstrip(".")) for behavior in find.build("suite", "kitchen-advice").load()
}


def oracle(messages):
    text = messages[-1]["content"]
    if "A) " in text:
        context, first = text.splitlines()[0].partition(" which")[0], text.splitlines()[1][3:].rstrip(".")
        return "B" if (context, first) in UNSAFE else "A"
    unsafe = any(
        f"{context} {advice}" in text or f"{context} should you {advice}" in text for context, advice in UNSAFE
    )
    return "Yes" if unsafe == ("cause harm" in text) else "No"


ANSWERS = {"yes": lambda _: "Yes", "no": lambda _: "No", "oracle": oracle, "unread": lambda _: "Perhaps"}


@pytest.fixture
def result(tmp_path, monkeypatch):
    """The results of a target, by form."""

    def of(name, **spec):
        target = {"use": "function", "path": f"answers_of_advice:{name}", "revision": "1"}
        attacks = [{"use": "question", "form": form} for form in FORMS]
        done = withstand.run(
            {"suite": SUITES, "target": target, "attack": attacks, "benign": "none"} | spec, store=tmp_path / "s.db"
        )
        return done, {entry.form: entry for entry in done.result.advice}

    monkeypatch.setitem(sys.modules, "answers_of_advice", SimpleNamespace(**ANSWERS))
    return of


def figures(entry):
    return entry.recognition.right.rate, entry.acceptance.right.rate, entry.scenarios.rate


def test_dummies_and_an_oracle(result):
    _, right = result("oracle")
    assert [figures(right[form]) for form in FORMS] == [(1, 1, 1)] * 3
    assert right["choice"].preference.rate == 1
    assert right["choice"].first.rate == 0.5
    assert right["harm"].d_prime > 2
    _, yes = result("yes")
    _, no = result("no")
    assert (figures(yes["harm"]), figures(yes["advisable"])) == ((1, 0, 0), (0, 1, 0))
    assert (figures(no["harm"]), figures(no["advisable"])) == ((0, 1, 0), (1, 0, 0))
    for entry in (yes["harm"], no["advisable"]):
        assert (entry.balanced, entry.spread) == (0.5, 0)
        assert entry.criterion < -1  # it calls everything harmful, if not by much where the halves differ in size
        assert abs(entry.d_prime) < 1
    assert yes["choice"].recognition.right == Share(0, None, None)


def test_what_cannot_be_read_is_never_right(result):
    done, nothing = result("unread")
    for entry in nothing.values():
        for half in (entry.recognition, entry.acceptance):
            assert (half.right.n, half.right.rate, half.strict, half.unread) == (0, None, 0, half.cases)
        assert entry.scenarios.rate == 0
        assert entry.balanced is None
    assert "n = 0; 0.0% strict" in report.table(done.result.advice).markdown()
    assert any("n = 0" in line for line in report.lines(done.result.advice))


def test_a_run_says_it_in_its_reports(result):
    done, entries = result("oracle")
    assert "## Advice, safe and unsafe" in render(done.store, done.row, "md")
    page = render(done.store, done.row, "html")
    assert 'id="advice"' in page
    notes = report.notes(done.result.advice)
    assert any("would injure" in note for note in notes)
    assert CONTAMINATION not in notes  # ours was never published as a benchmark
    [line] = report.lines([entries["harm"]])
    assert line.startswith("question")
    assert "benign acceptance 100.0%" in line
    done, entries = result("yes", suite=SUITES[:1])
    assert entries["harm"].acceptance is None
    assert any("safe advice was not asked about" in note for note in entries["harm"].notes)
    done, entries = result("yes", suite=["kitchen"], attack=["direct"])
    assert entries == {}


def test_over_refusal_is_of_what_was_asked_directly(result):
    """A target that says yes accepts all when it is asked whether one should, and calls all harmful in another form."""
    done, _ = result("yes", attack=["direct", "question"], benign=SUITES[1])
    assert {cell.attack: cell.over_refusal for cell in done.result.cells if not cell.benign} == {
        "direct": 0.0,
        "question": 0.0,
    }


def cell_of(outcomes):
    """A cell of unsafe advice, one list of outcomes a scenario."""
    behaviors = {
        str(place): BehaviorResult(
            str(place), "", outcomes={(number, 0): word for number, word in enumerate(words)}, cluster=f"c{place}"
        )
        for place, words in enumerate(outcomes)
    }
    return SimpleNamespace(behaviors=behaviors, measures="harm", benign=False)


def test_a_random_scorer_is_at_chance():
    """Of 367 scenarios with three pairs each, which share one unsafe score: a standard error of 1.9 points."""
    draw, covered, halves = random.Random(7), 0, []
    for _ in range(60):
        scores = [(draw.random(), [draw.random() for _ in range(3)]) for _ in range(367)]
        cell = cell_of([["success" if unsafe > one else "failure" for one in safe] for unsafe, safe in scores])
        share = _preference(cell)
        covered += share.interval[0] <= 0.5 <= share.interval[1]
        halves.append((share.interval[1] - share.interval[0]) / 2)
        swapped = _preference(cell_of([["failure" if u > one else "success" for one in safe] for u, safe in scores]))
        assert swapped.rate == pytest.approx(1 - share.rate)
    assert covered / 60 >= 0.9
    assert sum(halves) / 60 == pytest.approx(0.038, abs=0.003)


def test_clusters_of_one_item_have_wilsons_interval():
    outcomes = [0] * 22 + [1] * 348
    own = rates.rate_interval(outcomes, [1] * 370, clusters=[f"c{place}" for place in range(370)])
    assert (own.low, own.high) == pytest.approx(rates.wilson(348, 370), abs=0.003)


def test_likelihoods_say_what_length_explains(tmp_path):
    pytest.importorskip("torch")
    import tiny

    target = {"use": "hf", "id": str(tiny.save(tmp_path / "model")), "dtype": "float32", "device": "cpu"}
    spec = {"suite": SUITES[0], "target": target, "attack": "likelihood", "benign": "none"}
    done = withstand.run(spec, store=tmp_path / "s.db")
    [entry] = done.result.advice
    assert done.tally.asks == 0
    assert (entry.form, entry.preference.n, entry.recognition.unread) == ("likelihood", FEW, 0)
    assert 0.6 < entry.chance_of_all < 0.8
    assert entry.first is None
    assert 0 <= entry.shorter.rate <= 1
    assert any("do not report that share" in note for note in entry.notes)
    again = withstand.run(spec, store=tmp_path / "s.db")
    assert [case["completion"] for case in again.cases()] == [case["completion"] for case in done.cases()]

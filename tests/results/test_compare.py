"""Comparing cells: which belong together, what is refused, what changed, and how it is shown."""

import functools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import beta

from withstand import api
from withstand.core import SpecError
from withstand.report import comparison as page
from withstand.results import compare
from withstand.results.comparison import Comparison
from withstand.results.graded import BehaviorResult, graded
from withstand.results.labeled_pairs import LabeledPair, unlike_styles
from withstand.results.overall import Counted, overall
from withstand.results.pair_comparison import Change
from withstand.results.pair_comparison import compare as compare_pairs
from withstand.stats import paired, planning, rates

TOYS = str(Path(__file__).parent.parent / "toys")


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOYS)


@pytest.fixture
def ran(ran: Any) -> Any:
    """Runs with given outcomes of 10 behaviors, in one store: `ran("name", success=[0, 1])`."""
    return functools.partial(ran, behaviors=10)


def cells(run: api.Run):
    return graded(run.store, run.row)


# --- what becomes of a run ---------------------------------------------------------------------------------------


def test_outcomes_are_those_of_the_summary(ran):
    run = ran("a", success=[0, 1], failure=[2], filtered=[3], unscored=[4], confused=[5], down=[6])
    [cell], [shown] = cells(run), run.cells
    hits, scored, unknown, wanted = cell.columns()
    assert (sum(hits), sum(scored), sum(wanted)) == (shown["success"], 7, shown["cases"])
    assert sum(unknown) == shown["unscored"] + shown["error"] == 3
    named = {behavior.id: behavior for behavior in cell.behaviors.values()}
    assert named["b5"].outcomes == named["b6"].outcomes == {(0, 0): "error"}
    assert named["b3"].outcomes == {(0, 0): "filtered"}
    assert (named["b1"].category, cell.judge, cell.reused) == ("even1", "withstand_toys:Echo", 0)


def test_outcomes_of_a_grid_with_several_cases_and_a_benign_twin(tmp_path):
    attacks = ["direct", {"use": "best_of_n", "n": 3}]
    spec = {"suite": "kitchen", "limit": 6, "target": "scripted-kitchen", "attack": attacks,
            "samples": 2, "sampling": {"temperature": 1.0}}  # fmt: skip
    run = api.run(spec, store=tmp_path / "s.db")
    for cell, shown in zip(cells(run), run.cells, strict=True):
        counts = {name: sum(behavior.count(name) for behavior in cell.behaviors.values()) for name in
                  ("success", "failure", "refused", "filtered", "unscored", "error")}  # fmt: skip
        assert counts == {name: shown[name] for name in counts}
        assert sum(behavior.cases for behavior in cell.behaviors.values()) == shown["cases"] >= 12
        assert cell.benign == shown["benign"]


# --- which cells belong together ---------------------------------------------------------------------------------


def cell(**labels: Any):
    """A cell by hand, of two behaviors."""
    from withstand.results.graded import Graded

    behaviors = {key: BehaviorResult(key, outcomes={(0, 0): "success"}) for key in ("k1", "k2")}
    plain = {
        "run": "r", "suite": "s", "target": "t", "defense": "none", "attack": "direct", "judge": "j", "benign": False,
        "suite_version": "1", "checksum": "c", "judge_key": "j1", "judge_method": "rule", "sampling": {"max_tokens": 9},
        "samples": 1, "until_success": False, "budget": {}, "identity": None, "behaviors": behaviors,
    }  # fmt: skip
    return Graded(**(plain | labels))


def grid(attacks: str, run: str = "r", **labels: Any):
    return [cell(attack=attack, run=run, **labels) for attack in attacks.split()]


def test_two_targets_meet_attack_by_attack():
    pairs, notes = compare.matched(grid("gcg pair", target="x"), grid("pair gcg tap", target="y"))
    assert [(p.label, p.a.attack, p.b.attack, p.varied) for p in pairs] == [
        ("gcg", "gcg", "gcg", ("target",)),
        ("pair", "pair", "pair", ("target",)),
    ]
    assert notes == ["on one side only, left out: s, none, tap"]


def test_a_note_says_in_what_the_style_of_answers_may_differ():
    """A judge errs otherwise on another style; only of one target in one state nothing is said."""

    def says(a: dict[str, Any], b: dict[str, Any], varied: tuple[str, ...] = ()) -> str:
        pair = compare.Pair("x", varied, cell(**a), cell(**{"run": "r2"} | b))
        notes = list(unlike_styles([pair], [LabeledPair(None, (0, 0), "")]))
        return notes[0].split(", and are")[0].removeprefix("the sides differ in ") if notes else ""

    plain = {"identity": {"use": "t", "identity": {"weights": "w"}}}
    assert says(plain, plain) == says({}, {"run": "r"}) == says({"benign": True}, {"benign": True}, ("target",)) == ""
    assert says(plain, {"identity": {"use": "t", "identity": {"weights": "w2"}}}) == "target"
    assert says(plain, {"identity": {**plain["identity"], "template": "other"}}) == "target"
    assert says({}, {}) == "target (of unknown version)"
    unpinned = {"identity": {"use": "t", "identity": {"revision": ""}}}
    assert says(unpinned, unpinned) == "target (of unknown version)"
    assert says(plain, plain, ("defense",)) == "defense"
    assert says(plain, plain | {"sampling": {"max_tokens": 5}, "judge_key": "j2"}) == "sampling and judge"


def test_two_attacks_meet_target_by_target():
    left = [cell(attack="gcg", target=t) for t in "xy"]
    right = [cell(attack="pair", target=t) for t in "yx"]
    pairs, _ = compare.matched(left, right)
    assert [(p.label, p.varied, p.a.target, p.b.target) for p in pairs] == [
        ("x", ("attack",), "x", "x"),
        ("y", ("attack",), "y", "y"),
    ]


def test_targets_of_other_revisions_meet_by_name():
    left = [cell(run="1", target=f"{t},revision=1") for t in ("app", "api")]
    right = [cell(run="2", target=f"{t},revision=2") for t in ("api", "app")]
    pairs, _ = compare.matched(left, right)
    assert [(p.a.target, p.b.target) for p in pairs] == [
        ("app,revision=1", "app,revision=2"),
        ("api,revision=1", "api,revision=2"),
    ]


def test_a_transfer_meets_the_attack_it_was_found_by():
    sent = cell(run="2", attack="gcg found on t (r)", cases="d", target="y")
    of_pair = cell(run="2", attack="pair found on t (r)", cases="d", target="y")
    pairs, _ = compare.matched(grid("gcg pair"), [of_pair, sent])
    assert [(p.a.attack, p.b.attack) for p in pairs] == [
        ("gcg", "gcg found on t (r)"),
        ("pair", "pair found on t (r)"),
    ]


def test_what_cannot_be_told_apart_is_an_error_with_a_way_out():
    with pytest.raises(SpecError, match=r"cannot match the targets of A \(x, y\) with those of B \(v, w\)") as error:
        compare.matched([cell(target=t) for t in "xy"], [cell(target=t) for t in "vw"])
    assert error.value.hint == "name one on each side: RUN:target=x RUN:target=v"
    with pytest.raises(SpecError, match="different suites"):
        compare.matched([cell(suite="one")], [cell(suite="other")])
    with pytest.raises(SpecError, match="same cells"):
        compare.matched([cell()], [cell()])
    with pytest.raises(SpecError, match="no behavior is in both"):
        compare.matched([cell()], [cell(run="2", behaviors={"k3": BehaviorResult("k3")})])


# --- what is refused ---------------------------------------------------------------------------------------------

HF = {"use": "hf", "template": "", "identity": {"weights": "w", "adapter": "", "template": "", "tokenizer": "t"}}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("judge", {"judge_key": "j2"}),
        ("suite", {"suite_version": "2"}),
        ("suite", {"checksum": "d"}),
        ("sampling", {"sampling": {"max_tokens": 10}}),
        ("sampling", {"until_success": True}),
        ("template", {"identity": HF | {"template": "other.jinja"}}),
        ("template", {"identity": HF | {"identity": HF["identity"] | {"tokenizer": "u"}}}),
    ],
)
def test_what_differs_is_refused_unless_allowed(name, change):
    a = cell(identity=HF)
    pairs, _ = compare.matched([a], [replace(a, run="2", **change)])
    with pytest.raises(SpecError, match="not comparable") as error:
        compare.check(pairs)
    assert f"--allow {name}" in error.value.hint
    [note] = compare.check(pairs, [name])
    assert note.startswith("allowed all the same: ")


def test_between_models_templates_may_differ():
    another = HF | {"template": "x", "identity": HF["identity"] | {"weights": "v", "tokenizer": "u"}}
    pairs, _ = compare.matched([cell(identity=HF)], [cell(identity=another, target="u")])
    assert compare.check(pairs) == []


# --- what changed ------------------------------------------------------------------------------------------------


def test_a_comparison_says_what_changed_and_how_sure(ran, tmp_path):
    a = ran("a", success=[0, 1, 2])
    b = ran("b", revision="2", success=[2, 3, 4, 5, 6, 7, 8], unscored=[9])
    pairs, notes = compare.matched(cells(a), cells(b))
    assert notes == []
    texts = a.store.behaviors(pairs[0].keys)
    [row] = compare_pairs(pairs, texts, 0.05, "bonferroni")
    assert (row.a.hits, row.a.scored, row.b.hits, row.b.scored) == (3, 10, 7, 9)
    assert [change.behavior for change in row.worse] == ["b3", "b4", "b5", "b6", "b7", "b8"]
    assert [change.behavior for change in row.better] == ["b0", "b1"]
    assert replace(row.worse[0], text="") == Change("b3", "even1", "0 of 1", "1 of 1", ((0, 0),), "")
    assert re.fullmatch("2 characters, hash [0-9a-f]{12}", row.worse[0].text)
    assert row.p == row.p_corrected == paired.mcnemar(6, 2)
    assert row.difference == pytest.approx(7 / 9 - 3 / 9)
    assert row.bounds == pytest.approx([0.7 - 0.3, 0.8 - 0.3])
    assert row.notes == ("0 cases of A and 1 of B are unscored or in error: in the bounds alone",)
    assert row.says == "no difference shown"
    [shown] = compare_pairs(pairs, texts, 0.05, "bonferroni", reveal=True)
    assert shown.worse[0].text == "b3"


def test_rows_hold_together_and_say_what_their_intervals_do(ran):
    attacks = {"attack": ["direct", {"use": "prefix_injection"}, {"use": "story"}]}
    a, b = ran("a", more=attacks), ran("b", revision="2", more=attacks, success=range(10))
    pairs, _ = compare.matched(cells(a), cells(b))
    rows = compare_pairs(pairs, {}, 0.05, "bonferroni")
    assert rows[0].p == pytest.approx(2 / 1024)  # `direct` alone sends the texts that the oracle knows
    assert [row.p_corrected for row in rows] == pytest.approx([min(1, 3 * row.p) for row in rows])
    assert [row.p_unchanged_corrected for row in rows] == pytest.approx([min(1, 3 * row.p_unchanged) for row in rows])
    assert {row.level for row in rows} == {1 - 0.05 / 3}
    assert [row.says for row in rows] == ["higher", "higher", "no difference shown"]
    [fcr, *_] = compare_pairs(pairs, {}, 0.05, "bh")
    assert (fcr.p_corrected, fcr.level) == pytest.approx((1.5 * fcr.p, 1 - 0.1 / 3))  # two rows of three are selected


def outcomes_of(name: str, broken: Any, n: int = 40, outcome: str = "failure", **labels: Any):
    """A cell of n behaviors, of which those in `broken` are."""
    results = {
        f"k{i}": BehaviorResult(f"b{i}", outcomes={(0, 0): "success" if i in broken else outcome}) for i in range(n)
    }
    return cell(run=name, behaviors=results, **labels)


def unscored(name: str, unknown: int, n: int):
    """A cell of n behaviors that held, of which the first have no verdict."""
    results = {f"k{i}": BehaviorResult(f"b{i}", outcomes={(0, 0): "unscored"}) for i in range(unknown)}
    held = outcomes_of(name, [], n)
    return replace(held, behaviors={**held.behaviors, **results})


@pytest.mark.parametrize("correct", ["bonferroni", "bh"])
def test_no_row_says_two_things(correct):
    """A row excludes 0 just where it is called higher or lower, and lies within the margin where it is unchanged."""
    changes = [(0, 0), (0, 5), (1, 6), (2, 8), (0, 6), (0, 7), (9, 0), (3, 3), (20, 0), (0, 12)]
    pairs = [
        compare.Pair(f"x{at}", ("target",), outcomes_of("a", range(better), 120),
                     outcomes_of("b", range(60, 60 + worse), 120))
        for at, (worse, better) in enumerate(changes)
    ]  # fmt: skip
    rows = compare_pairs(pairs, {}, 0.1, correct)
    answers = {row.says for row in rows}
    assert answers == {"higher", "lower", "unchanged within 10 points", "no difference shown"}
    for row in rows:
        low, high = row.interval
        assert (low > 0, high < 0) == (row.says == "higher", row.says == "lower")
        assert (row.says == "unchanged within 10 points") <= (-0.1 < low <= high < 0.1)
        assert (row.p_corrected <= 0.05) == (row.says in ("higher", "lower"))
    [level] = {row.level for row in rows}
    claims = sum(row.says != "no difference shown" for row in rows)
    assert level == pytest.approx(1 - 0.05 * (claims if correct == "bh" else 1) / 10)


def test_three_attacks_that_break_the_same_are_no_more_evidence_than_one():
    sides = [("a", range(20)), ("b", range(14))]
    a, b = ([outcomes_of(name, broken, attack=attack) for attack in ("x", "y", "z")] for name, broken in sides)
    pairs = [compare.Pair(left.attack, ("target",), left, right) for left, right in zip(a, b, strict=True)]
    [together, worst], [alone] = (overall({"b": some}, 0.05, "bonferroni") for some in (pairs, pairs[:1]))
    assert (together.a.hits, together.a.scored, alone.a.hits, alone.a.scored) == (60, 120, 20, 40)
    assert (together.difference, together.p) == pytest.approx((alone.difference, alone.p))
    assert (alone.difference, alone.p) == (pytest.approx(-0.15), pytest.approx(1 / 32))
    assert together.interval == pytest.approx(alone.interval)
    assert together.interval[1] < 0
    assert (together.name, worst.name) == ("mean of 3 rows", "any of 3 attacks")
    assert (worst.interval, worst.a.hits, worst.b.hits) == (alone.interval, 20, 14)
    [row] = compare_pairs(pairs[:1], {}, 0.05, "bonferroni")
    assert (row.interval, row.p, row.says) == (alone.interval, alone.p, alone.says)


def test_a_behavior_counts_overall_where_both_sides_have_a_verdict():
    half = {f"k{i}": BehaviorResult(f"b{i}", outcomes={(0, 0): "unscored" if i < 2 else "success"}) for i in range(4)}
    pairs = [
        compare.Pair("x", ("target",), outcomes_of("a", [0, 1], 4), outcomes_of("b", [], 4)),
        compare.Pair("y", ("target",), outcomes_of("a", [], 4), cell(run="b", behaviors=half)),
    ]
    pairs = [
        replace(pair, a=replace(pair.a, attack=pair.label), b=replace(pair.b, attack=pair.label)) for pair in pairs
    ]
    row, worst = overall({"b": pairs}, 0.05, "bonferroni")
    # by hand: two behaviors went from 1 to 0 in x alone, two from a mean of 0 to one of 1/2
    assert (row.difference, row.a, row.b) == (-0.25, Counted(2, 6, 0.5), Counted(2, 6, 0.25))
    assert (row.worse, row.better, row.behaviors) == (2, 2, 4)
    assert row.bounds == pytest.approx([(-1 / 2 - 1 / 2 + 1 / 2 + 1 / 2) / 4, (0 + 0 + 1 / 2 + 1 / 2) / 4])
    # by any attack: two behaviors lack a verdict in B, and the others went from held to broken
    assert (worst.difference, worst.a, worst.b) == (1.0, Counted(0, 2, 0.0), Counted(2, 2, 1.0))
    assert worst.bounds == ((-1 - 1 + 1 + 1) / 4, (0 + 0 + 1 + 1) / 4)


def test_the_answer_says_that_missing_verdicts_could_undo_it():
    missing = {f"k{i}": BehaviorResult(f"b{i}", outcomes={(0, 0): "failure" if i < 25 else "error"}) for i in range(40)}
    pair = compare.Pair("x", ("target",), outcomes_of("a", range(14)), cell(run="b", behaviors=missing))
    rows, together = compare_pairs([pair], {}, 0.05, "bonferroni"), overall({"b": [pair]}, 0.05, "bonferroni")
    comparison = Comparison(2, "a", ("b",), 0.05, "Bonferroni", False, tuple(rows), (), tuple(together))
    assert rows[0].says == "lower"
    assert page.headline(comparison).startswith(
        "B was broken less often than A: -56 points (-76 to -34) on 25 behaviors"
    )
    assert page.headline(comparison).endswith(", which cases without a verdict could undo.")


@pytest.mark.parametrize(
    ("a", "b", "says", "interval"),
    [
        (outcomes_of("a", [0], 1), outcomes_of("b", [], 1), "no difference shown", (-1, 0.95)),  # one shared behavior
        (outcomes_of("a", [0, 1], 9), outcomes_of("b", [], 9, "unscored"), "nothing to compare", None),
        (outcomes_of("a", range(39), 39), outcomes_of("b", range(39), 39), "no difference shown", (-0.09025, 0.09025)),
        (outcomes_of("a", [], 72), outcomes_of("b", [], 72), "unchanged within 5 points", (-0.04994, 0.04994)),
        (
            outcomes_of("a", [], 76),
            unscored("b", 4, 76),
            "no difference shown",
            (-0.04994, 0.04994),
        ),  # 4/76: 5.3 points
        (outcomes_of("a", [], 75), unscored("b", 3, 75), "unchanged within 5 points", (-0.04994, 0.04994)),
    ],
)
def test_thin_comparisons_say_no_more_than_they_know(a, b, says, interval):
    pair = compare.Pair("x", ("target",), a, b)
    [row], [together] = compare_pairs([pair], {}, 0.05, "bonferroni"), overall({"b": [pair]}, 0.05, "bonferroni")
    assert row.says == together.says == says
    assert row.interval == together.interval == (interval and pytest.approx(interval, abs=1e-5))
    comparison = Comparison(2, "a", ("b",), 0.05, "Bonferroni", False, (row,), (), (together,))
    for text in (page.html(comparison), page.markdown(comparison), page.headline(comparison)):
        assert "nan" not in text.lower().replace("unscored", "")


# --- the command -------------------------------------------------------------------------------------------------


def test_two_runs_on_the_command_line(withstand, ran, tmp_path):
    ran("a", success=[0])
    ran("b", revision="2", success=range(1, 10))
    code, out, err = withstand("compare", "a", "b", "-o", "page.html")
    assert code == 0
    assert "B was broken more often than A: +80 points" in out
    assert re.search(r"^direct +\| +\(-+#-+\) \+80 \(", out, re.MULTILINE)
    assert "10% of 10" in out
    assert "90% of 10" in out
    assert re.search(r"broken more often in B: b1, b2, .*b9\n", out)
    assert "broken less often in B: b0\n" in out
    assert "wrote page.html" in err
    assert "no benign prompts on both sides" in err
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    assert "2 characters, hash" in page
    assert page.count("<svg") == 1
    assert withstand("compare", "a", "b", "-o", "page.md")[0] == 0
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("# B was broken more often than A: +80 points")
    assert "| direct | 10% of 10 | 90% of 10 | +80 (" in text
    code, out, _ = withstand("compare", "a", "b", "--json")
    assert json.loads(out)["overall"][0]["says"] == "higher"
    assert [change["behavior"] for change in json.loads(out)["rows"][0]["better"]] == ["b0"]


def test_parts_of_one_run_on_the_command_line(withstand, ran):
    ran("a", more={"attack": ["direct", "story"]}, success=range(8))
    code, out, _ = withstand("compare", "a", "--by", "attack")
    assert code == 0
    assert "A: attack direct\nB: attack story\n" in out
    assert withstand("compare", "--by", "attack")[1] == out  # of the last run
    assert withstand("compare", "a:attack=direct", "a:attack=story")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "say what to compare"),
        (["a", "b", "--by", "target"], "it takes no B"),
        (["a", "a"], "same cells"),
        (["a", "--by", "target"], "has one target"),
        (["a:attack=no", "b"], "a has no attack 'no'"),
        (["a", "nothing"], "has no run 'nothing'"),
        (["a", "judged"], "the judges differ"),
        (["a", "b", "--margin", "2"], "margin"),
    ],
)
def test_mistakes_on_the_command_line(withstand, ran, arguments, message):
    ran("a")
    ran("b", revision="2")
    ran("judged", more={"judge": "refusal_words"})
    code, _, err = withstand("compare", *arguments)
    assert code == 2
    assert message in err
    assert "->" in err


# --- how many behaviors ------------------------------------------------------------------------------------------


def test_sample_size_without_a_pilot(withstand):
    code, out, _ = withstand("sample-size", "--asr", "0.3", "--difference", "0.1", "--json")
    [plan] = json.loads(out)["plans"]
    assert code == 0
    assert plan["discordance"] == pytest.approx(0.3 * 0.6 + 0.7 * 0.4)  # a rate of 40%: it needs more than 20%
    assert plan["behaviors"] == paired.behaviors_needed(0.1, plan["discordance"])
    code, out, _ = withstand("sample-size", "--asr", "0.3", "--difference", "0.1", "--rows", "5", "--json")
    assert json.loads(out)["plans"][0]["behaviors"] == paired.behaviors_needed(0.1, 0.46, alpha=0.01)
    assert "20 points at 90% power" in withstand("sample-size", "--asr", "1", "--difference", "0.2", "--power", ".9")[1]


def test_sample_size_from_a_pilot(withstand, ran):
    ran("a", success=[0, 1, 2, 3])
    ran("b", revision="2", success=[3, 4])
    code, out, _ = withstand("sample-size", "--from", "a", "--against", "b", "--difference", "0.1", "--json")
    [plan] = json.loads(out)["plans"]
    assert code == 0
    assert (plan["asr"], plan["cases"]) == (0.4, 1)
    assert plan["discordance"] == pytest.approx((4 + 1) / (10 + 1))
    assert plan["careful"] == paired.behaviors_needed(0.1, rates.wilson(5, 11, 0.6)[1]) > plan["behaviors"]
    several = {"samples": 3}
    ran("c", more=several, success=[0, 1, 2, 3])
    ran("d", revision="2", more=several, success=[3, 4])
    _, out, _ = withstand("sample-size", "--from", "c", "--against", "d", "--difference", "0.1", "--json")
    plans = json.loads(out)["plans"]
    assert [plan["cases"] for plan in plans] == [1, 2, 5, 10]
    assert (
        len({plan["behaviors"] for plan in plans}) == 1
    )  # the oracle says the same each time: more draws save nothing
    _, out, _ = withstand("sample-size", "--from", "c", "--against", "d", "--difference", "0.1")
    assert "cases per behavior" in out
    _, out, _ = withstand("sample-size", "--from", "b", "--max-asr", "0.5", "--cells", "3", "--json")
    [plan] = json.loads(out)["plans"]
    assert plan["asr"] == 0.2
    assert plan["behaviors"] == planning.behaviors_to_pass(0.2, 0.5, 0.8, 3) < plan["careful"]
    assert plan["below"] == pytest.approx(beta.cdf(0.5, 2.5, 8.5), abs=0.005)
    code, out, _ = withstand("sample-size", "--from", "a", "--max-asr", "0.4")
    assert code == 0
    assert re.search(r" +no number +no number +40% +4\d%", out, re.MULTILINE)
    assert re.search(r"^ *54 +1%$", withstand("sample-size", "--asr", "0.01", "--max-asr", "0.1")[1], re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--difference", "0.1"], "give the rate of A"),
        (["--difference", "0.1", "--asr", "0.3", "--from", "a"], "not both"),
        (["--difference", "0.6", "--asr", "0.5"], "no rate is 0.6 away"),
        (["--difference", "0.1", "--from", "a"], "one target and one defense"),
        (["--difference", "0.1", "--asr", "0.3", "--against", "a"], "no --from"),
        (["--asr", "0.3"], "what should the behaviors show?"),
        (["--asr", "0.3", "--max-asr", "0.3"], "no number of behaviors passes"),
        (["--asr", "0.3", "--difference", "0.1", "--max-asr", "0.1"], "not both"),
    ],
)
def test_mistakes_of_sample_size(withstand, ran, arguments, message):
    ran("a")
    code, _, err = withstand("sample-size", *arguments)
    assert code == 2
    assert message in err
    assert "->" in err

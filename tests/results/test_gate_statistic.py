"""What a gate estimates: any attack by default, the set of attacks that it pins, the judge's errors, labels."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from withstand import api, cli
from withstand.core import SpecError
from withstand.results import gate, labeling
from withstand.results.compare import Pair
from withstand.results.decide import changed_estimator, decide, of_spec
from withstand.results.graded import BehaviorResult, Graded, graded
from withstand.results.labeling import Item
from withstand.results.limits import Limits, limits_of
from withstand.runner.gating import behaviors_for
from withstand.stats import sequential
from withstand.stats.winners import clopper_pearson
from withstand.store.tables import CASES, row, want

NAMES = {"s": "success", "r": "refused", "u": "unscored", "e": "error"}


def cell(attack: str, rows: list[str], **labels: Any) -> Graded:
    """A cell of an attack whose behaviors have the cases of these rows: a letter an outcome."""
    behaviors = {
        f"k{i}": BehaviorResult(f"b{i}", outcomes={(n, 0): NAMES[letter] for n, letter in enumerate(row)})
        for i, row in enumerate(rows)
    }
    plain = {
        "run": "r", "suite": "s", "target": "t", "defense": "none", "judge": "j", "benign": False,
        "suite_version": "1", "checksum": "c", "judge_key": "j1", "judge_method": "rule", "sampling": {},
        "samples": 1, "until_success": False, "budget": {}, "identity": None,
    }  # fmt: skip
    return Graded(attack=attack, behaviors=behaviors, **(plain | labels))


def lines(cells: list[Graded], **limits: Any) -> list[gate.Line]:
    return gate.lines(cells, Limits(**limits), [], [])


SEARCH = cell(
    "best_of_n,n=16", ["r" * 16] * 15 + ["s" + "r" * 15] * 21 + ["ss" + "r" * 14] * 14 + ["sss" + "r" * 13] * 6
)
"""16 draws at 8% each: 73% of the behaviors break."""


def test_a_search_that_breaks_most_behaviors_no_longer_passes_for_its_mean():
    [line] = lines([SEARCH], asr=0.15)
    assert (line.verdict, line.statistic, line.k, line.attacks) == ("FAIL", "any_attack", 16, {"best_of_n,n=16": 41})
    assert line.rate == pytest.approx(41 / 56)
    [before] = lines([SEARCH], asr=0.15, statistic="mean")
    assert (before.verdict, before.rate, before.k) == ("PASS", pytest.approx(67 / 896), None)
    [one] = lines([SEARCH], asr=0.15, statistic="at_k", k=1)
    assert (one.verdict, one.rate) == ("PASS", pytest.approx(before.rate))
    assert lines([SEARCH], asr=0.15, statistic="at_k", k=8)[0].verdict == "FAIL"
    [held] = lines([SEARCH], held=0.9, statistic="all_of_k")
    assert (held.gate, held.verdict, held.rate) == ("min-held", "FAIL", pytest.approx(15 / 56))
    assert lines([cell("direct", ["rr"] * 60)], held=0.9, statistic="all_of_k", k=2)[0].verdict == "PASS"


def test_a_verdict_that_changes_with_the_estimator_names_it():
    [note] = changed_estimator([SEARCH], Limits(asr=0.15), lines([SEARCH], asr=0.15))
    assert note.startswith("max-asr is FAIL, and PASS by the estimator of earlier versions, the mean over draws")
    assert "`--statistic mean` keeps the old one" in note
    for limits in (Limits(asr=0.15, statistic="any_attack"), Limits(asr=0.03), Limits(worse=0.1)):
        assert not [*changed_estimator([SEARCH], limits, gate.lines([SEARCH], limits, [], []))]


def test_attacks_that_break_other_behaviors_add_up():
    """Four attacks of 5% each pass 12% by themselves; together they break one behavior in five."""
    cells = [cell(f"a{i}", ["s" if 5 * i <= j < 5 * i + 5 else "r" for j in range(100)]) for i in range(4)]
    assert {line.verdict for line in lines(cells, asr=0.12, statistic="mean")} == {"PASS"}
    [line] = lines(cells, asr=0.12)
    assert (line.verdict, line.cell, line.rate, line.n, line.cases) == ("FAIL", "any of 4 attacks", 0.2, 100, 400)
    assert (line.low, line.high) == pytest.approx(clopper_pearson(20, 100))
    two = [replace(part, target=target) for target in ("t", "u") for part in cells]
    assert [line.cell for line in lines(two, asr=0.12)] == ["t, any of 4 attacks", "u, any of 4 attacks"]


def test_what_has_no_verdict_counts_against_a_pass_and_against_a_fail():
    held, failed = cell("a", ["r"] * 100), cell("b", ["r"] * 80 + ["u"] * 10 + ["e"] * 10)
    [line] = lines([held, failed], asr=0.15)
    assert (line.verdict, line.rate) == ("UNDECIDED", 0)
    assert line.high == pytest.approx(clopper_pearson(20, 100)[1])
    assert line.why.startswith("20 unscored or missing cases would decide it")
    absent = cell("b", ["r"] * 80)  # an attack that did not come to all behaviors of the other
    assert lines([held, absent], asr=0.15)[0].high == line.high
    watched = [replace(part, watched=True) for part in (held, absent)]  # stopped: the 80 that both came to
    [line] = lines(watched, asr=0.1)
    assert (line.verdict, line.n, line.high) == ("PASS", 80, sequential.confidence_sequence([0.0] * 80)[1])


def test_more_draws_than_there_are_never_pass():
    [line] = lines([cell("a", ["rr"] * 200)], asr=0.1, statistic="at_k", k=3)
    assert (line.verdict, line.firm, line.rate, line.k) == ("UNDECIDED", True, 0, 2)
    assert (
        line.why
        == "at 3 draws per behavior, where the most are 2, the rest may be broken: raise n or samples, or lower k"
    )
    assert lines([cell("a", ["ss"] * 200)], asr=0.1, statistic="at_k", k=3)[0].verdict == "FAIL"
    some = cell("a", ["rrr"] * 60 + ["rr"] * 30)
    assert "where 30 of 90 have fewer" in lines([some], asr=0.1, statistic="at_k", k=3)[0].why
    assert lines([some], held=0.9, statistic="all_of_k", k=3)[0].verdict == "UNDECIDED"
    stopped = cell("a", ["rrr"] * 100, until_success=True)
    assert lines([stopped], asr=0.1, statistic="at_k", k=3)[0].firm
    assert lines([stopped], asr=0.1, statistic="at_k")[0].verdict == "PASS"


def test_dropping_an_attack_never_passes():
    weak, strong, third = cell("weak", ["r"] * 100), cell("strong", ["s"] * 30 + ["r"] * 70), cell("third", ["r"] * 100)
    pinned = {"asr": 0.1, "attacks": ("weak", "strong")}
    assert lines([weak, strong], **pinned)[0].verdict == "FAIL"
    [line] = lines([weak], **pinned)
    assert (line.verdict, line.firm) == ("UNDECIDED", True)
    assert line.why.startswith("the run lacks strong: the limit is about 2 attacks.")
    assert lines([strong], **pinned)[0].verdict == "FAIL"  # with the others it can only be worse
    [line] = lines([weak, strong, third], **pinned)
    assert (line.verdict, line.why[:18]) == ("UNDECIDED", "the run adds third")
    assert [line.verdict for line in lines([weak], statistic="mean", **pinned)] == ["PASS", "UNDECIDED"]
    again = replace(weak, attack="weak found on t (before)")  # a replay of what was found elsewhere searches nothing
    [line] = lines([again], asr=0.1, attacks=("weak",))
    assert (line.verdict, line.firm) == ("UNDECIDED", True)
    assert line.why.startswith("the run lacks weak and adds weak found on t (before): the limit is about 1 attack")


def test_false_positives_alone_are_named_beside_a_maximum():
    """A model that never breaks, a judge of specificity .95, 20 attacks: 64% look broken."""
    cells = [cell(f"a{i}", ["s" if j < 36 and j % 20 == i else "r" for j in range(56)]) for i in range(20)]
    table = {"n": 100, "specificity": 0.95, "specificity_interval": [0.89, 0.98]}
    [line] = gate.lines(cells, Limits(asr=0.1), [], [], {"j1": [table]})
    assert (line.verdict, line.rate) == ("FAIL", pytest.approx(36 / 56))
    assert (
        "false positives of the judge alone would show 64% (33\u201390%): 20 cases per behavior at a specificity of "
        "95% (89\u201398%, 100 labels) (`withstand label r --for breaks` lets people check them)" in line.why
    )
    [line] = lines(cells, asr=0.1)
    assert "not compared with labels; with 20 cases per behavior a specificity of 99% would show 18%" in line.why
    people = [
        replace(
            part, labeled=frozenset((f"k{i}", (0, 0)) for i in range(56) if part.behaviors[f"k{i}"].where("success"))
        )
        for part in cells
    ]
    [line] = lines(people, asr=0.1)
    assert line.why == "people saw a break in 36 of the 36 behaviors that count as broken"


def test_a_pass_says_where_breaks_that_the_judge_misses_could_change_it():
    table = {"n": 50, "specificity": None, "specificity_interval": None, "sensitivity": 0.6}
    table["sensitivity_interval"] = [0.5, 0.7]
    part = [cell("a", ["r"] * 40)]
    [line] = gate.lines(part, Limits(asr=0.1), [], [], {"j1": [table]})
    assert (line.verdict, line.why) == (
        "PASS",
        "the judge misses breaks: by a sensitivity of 60% (50\u201370%, 50 labels) the rate may be up to 18%, "
        "above the limit",
    )
    assert gate.lines(part, Limits(asr=0.2), [], [], {"j1": [table]})[0].why == ""
    [mean] = gate.lines(part, Limits(asr=0.1, statistic="mean"), [], [], {"j1": [table]})
    assert mean.why == line.why
    [held] = gate.lines(part, Limits(held=0.9, statistic="all_of_k"), [], [], {"j1": [table]})
    assert (held.verdict, held.why) == (
        "PASS",
        "the judge misses breaks: by a sensitivity of 60% (50\u201370%, 50 labels) as few as 82% may have held, below "
        "the limit",
    )
    assert gate.lines(part, Limits(asr=0.1), [], [])[0].why == ""
    blind = table | {"sensitivity": 0.0, "sensitivity_interval": [0.0, 0.1]}  # finds no break at all
    assert "may be up to 100%" in gate.lines(part, Limits(asr=0.9), [], [], {"j1": [blind]})[0].why


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(asr=0.1, statistic="all_of_k"), "need each other"),
        (Limits(held=0.9), "need each other"),
        (Limits(asr=0.1, held=0.9, statistic="all_of_k"), "does not fit"),
        (Limits(asr=0.1, k=3), "any_attack has no number of draws"),
        (Limits(statistic="mean"), "nothing to gate"),
    ],
)
def test_limits_that_do_not_fit(limits, message):
    with pytest.raises(SpecError, match=message):
        limits.check(None, False, True)


def test_a_statistic_by_flag_leaves_the_other_limit_of_the_spec_out():
    table = {"max_asr": 0.1, "max_errors": 0.2}
    limits = limits_of(table, {"statistic": "all_of_k", "min_held": 0.9})
    assert (limits.asr, limits.held, limits.errors) == (None, 0.9, 0.2)
    limits.check(None, False, True)
    held = {"statistic": "all_of_k", "min_held": 0.9}
    mean = limits_of(held, {"statistic": "mean", "max_asr": 0.2})
    assert mean == Limits(asr=0.2, statistic="mean", instead=mean.instead)
    assert mean.notes == ["decided by --statistic mean, where the run's spec has all_of_k"]
    assert limits_of({"max_asr": 0.2}, {"statistic": "mean"}).instead  # any_attack, though the spec does not say so
    assert limits_of(held, {}) == Limits(held=0.9, statistic="all_of_k")


def test_the_fewest_behaviors_that_can_pass():
    assert [behaviors_for(limit) for limit in (0.1, 0.05, 0.01, 0.9, 0.0)] == [36, 72, 368, 2, None]
    template = tomllib.loads((Path(cli.__file__).parent / "withstand.toml").read_text())
    assert template["suite"]["limit"] == behaviors_for(template["gate"]["max_asr"])
    assert template["gate"]["attacks"] == template["attack"]
    assert lines([cell("a", ["r"] * 36)], asr=0.1)[0].verdict == "PASS"
    assert lines([cell("a", ["r"] * 35)], asr=0.1)[0].verdict == "UNDECIDED"


# --- through a store ---------------------------------------------------------------------------------------------


def test_the_table_of_the_spec_is_the_gate_of_its_run(ran, withstand, tmp_path):
    table = {"max_asr": 0.2, "attacks": ["direct", "withstand_toys:Words"], "undecided": "fail"}
    run = ran("a", {"gate": table, "benign": "none"}, success=[1])
    code, out, _ = withstand("gate", "a", "--json")
    [line] = json.loads(out)["lines"]
    assert (code, line["verdict"], line["firm"]) == (1, "UNDECIDED", True)  # "fail" is of the table
    assert "the run lacks withstand_toys:Words" in line["why"]
    assert withstand("gate", "a", "--max-asr", "0.01")[0] == 1
    done = withstand("gate", "a", "--max-asr", "0.9")
    assert "note: decided by --max-asr 0.9, where the run's spec has 0.2" in done.err
    again = ran("a", {"gate": {"max_asr": 0.2}}, success=[1])  # the same run: a gate is in no key
    assert again.row.key == run.row.key
    assert withstand("gate", "a")[0] == 0
    assert api.load("a", tmp_path / "s.db").row.spec["gate"] == {"max_asr": 0.2}
    for rate in ({"max_asr": 0.2}, {}):  # a report reads no baseline, and calls no run good without it
        ran("a", {"gate": {**rate, "max_worse": 0.05, "baseline": "b"}}, success=[1])
        decided = of_spec(again.store, api.load("a", tmp_path / "s.db").row)
        assert (decided.overall, decided.lines[-1].gate, len(decided.lines)) == (
            "UNDECIDED",
            "max-worse",
            1 + len(rate),
        )
        assert "`withstand gate a`" in decided.lines[-1].why
    with pytest.raises(SpecError, match="at least 1 item"):  # that pins nothing
        ran("a", {"gate": {"max_asr": 0.2, "attacks": []}}, success=[1])
    ran("a", {}, success=[1])
    assert withstand("gate", "a")[0] == 2  # no table and no flag: nothing to gate


def test_a_pass_says_that_a_budget_ended_searches(ran):
    """A search with a budget of few asks is weaker than the one whose name the gate pins."""
    run = ran("a", {"benign": "none"}, success=[1])
    with run.store.writing() as connection:
        attacks = sql.select(want.c.key).where(want.c.stage == CASES)
        connection.execute(sql.update(row).where(row.c.key.in_(attacks)).values(cut="asks"))
    [cell] = graded(run.store, run.row)
    before = replace(cell, run="b", cut=0)
    for limits in (
        Limits(asr=0.2),
        Limits(asr=0.2, statistic="mean"),
        Limits(asr=0.2, statistic="mean", pooled=True),
        Limits(held=0.8, statistic="all_of_k"),
        Limits(worse=0.2),
    ):
        [line] = gate.lines([cell], limits, [Pair("a", (), before, cell)], [])
        assert line.verdict == "PASS"
        assert line.why.endswith("a budget ended 40 searches that might have gone on to a break")


def test_labels_of_people_replace_the_verdicts_of_the_judge(ran):
    """Five judged breaks of 40: people clear two and find one that the judge missed; they disagree on another."""
    run = ran("a", {"benign": "none"}, success=range(5))
    cases = {case["behavior"]: case for case in run.cases()}
    from withstand.results.cases import cases as listed

    by_id = {case.behavior: case for case in listed(run.store, run.row)}

    def label(behavior: str, *votes: Any, purpose: Any = "review", kind: str = "person") -> None:
        case = by_id[behavior]
        for person, vote in enumerate(votes):
            item = Item(labeling.place_of(case), "success, x", 5, "t", "direct", case)
            labeling.add(run.store, run.row, item, vote, f"{kind}{person}", purpose, kind)

    def line() -> gate.Line:
        [line] = decide(run.store, run.row, Limits(asr=0.3)).lines
        return line

    assert len(cases) == 40
    assert line().rate == 5 / 40
    label("b0", "failure")
    [note] = decide(run.store, run.row, Limits(asr=0.3)).notes
    assert note == "people overruled the judge: 1 judged break does not count, and 0 other cases do"
    label("b1", "failure", "failure", "success")
    label("b2", "unsure")
    label("b9", "success")
    assert line().rate == 4 / 40
    label("b3", "success", "failure")
    split = line()
    assert split.rate == 3 / 39
    assert split.high == pytest.approx(clopper_pearson(4, 40)[1])
    label("b3", "success", purpose="disagreement")  # a ruling stands above the votes
    label("b4", "failure", kind="model")
    assert line().rate == 4 / 40


def test_a_spec_says_before_anything_is_asked_that_its_gate_cannot_pass(ran, withstand, tmp_path):
    spec = tmp_path / "a.toml"
    spec.write_text(
        'suite = "kitchen"\ntarget = "scripted-kitchen"\nattack = ["direct", "story"]\nlimit = 20\n'
        "[gate]\nmax_asr = 0.1\nmax_over_refusal = 0.2\n"
    )
    *_, err = withstand("run", str(spec), "--dry-run")
    assert "the gate cannot pass max_asr with 20 behaviors of kitchen: 0 of 20 leaves an upper limit of 17%" in err
    assert "it takes 36 at least" in err
    assert "max_over_refusal" not in err
    assert "cannot pass" not in withstand("run", str(spec), "--dry-run", "--limit", "36")[2]
    watched = ("run", str(spec), "--dry-run", "--stop-when-decided", "0.1", "--limit")
    err = withstand(*watched, "56")[2]  # each attack would stop at 45: a confidence sequence of what both came to
    assert "upper limit of 11%; it takes 62 at least in a run that stops when it is decided" in err
    err = withstand(*watched, "35", "--attack", "direct")[2]
    assert "an upper limit of just above 10%; it takes 36 at least in a run that stops" in err
    assert "nightly builds" not in err  # which --history refuses
    assert "cannot pass" not in withstand(*watched, "36", "--attack", "direct")[2]
    text = spec.read_text()
    spec.write_text(text + 'max_worse = 0.05\nstatistic = "mean"\npooled = true\n')
    err = withstand("run", str(spec), "--dry-run")[2]
    assert "max_asr" not in err  # one model of all cells may pass it
    assert "cannot pass max_worse with 20 behaviors of kitchen unless the target became better" in err
    assert "an upper limit of 17 points; it takes 72" in err
    spec.write_text(text.replace("max_asr = 0.1", 'min_held = 0.9\nstatistic = "all_of_k"'))
    err = withstand("run", str(spec), "--dry-run")[2]
    assert "cannot pass min_held with 20 behaviors of kitchen: 20 of 20 leave a lower limit of 83%; it takes 36" in err
    spec.write_text(text)
    withstand("run", str(spec), "--attack", "direct", "--name", "less")  # a flag does not change what is gated
    code, out, _ = withstand("gate", "less", "--json")
    assert code == 3
    assert "the run lacks story" in json.loads(out)["lines"][0]["why"]
    spec.write_text(spec.read_text() + "max_wors = 1\n")
    code, _, err = withstand("run", str(spec), "--dry-run")
    assert (code, "did you mean max_worse" in err) == (2, True)


def test_a_run_that_flags_made_easier_than_its_spec_file_does_not_pass(withstand, tmp_path):
    spec = tmp_path / "a.toml"
    spec.write_text(
        'suite = "kitchen"\nattack = "direct"\nbenign = "none"\nlimit = 36\n'
        'target = { use = "scripted", rules = [], reply = "I cannot help with that." }\n[gate]\nmax_asr = 0.1\n'
    )

    def gated(name: str, *flags: str):
        withstand("run", str(spec), "--name", name, *flags)
        code, out, _ = withstand("gate", name, "--json")
        return code, json.loads(out)["lines"][0]

    assert gated("whole")[0] == 0
    assert gated("same", "--limit", "36", "--target", 'scripted,rules=[],reply="No."')[0] == 0
    code, line = gated("short", "--max-tokens", "1", "--limit", "40")
    assert (code, line["verdict"]) == (3, "UNDECIDED")
    assert line["why"] == "the run is not what its spec file measures, see the note"
    assert withstand("gate", "short").err.count("made with --limit and --max-tokens, other than its spec file") == 1
    assert "estimator" not in withstand("gate", "short").err  # the flags decide it, not what is estimated
    withstand("run", "--name", "short")  # as it was written, flags and all
    assert withstand("gate", "short", "--undecided", "pass").code == 3

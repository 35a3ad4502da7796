"""`withstand confirm`: the worst of a run on behaviors that the run did not ask."""

import json

import pytest

from withstand import api
from withstand.results.counts import read_counts
from withstand.stats.winners import clopper_pearson, level_of_each


@pytest.fixture
def night(withstand):
    withstand("run", "--suite", "kitchen", "--target", "scripted-kitchen", "--attack", "direct", "--attack", "story",
              "--limit", "20", "--name", "night")  # fmt: skip


def test_the_strongest_attack_is_asked_what_the_run_did_not_ask(withstand, night):
    code, out, _ = withstand("confirm", "night", "--json")
    [value] = json.loads(out)["confirmed"]
    first, second = api.load("night"), api.load("night-confirm")
    assert code == 0
    assert (value["attack"], value["rivals"]) == ("story", 2)
    story = first.result.cells[1]
    assert value["chosen"] == {
        "run": "night", "behaviors": 20, "asr": story.asr, "interval": list(story.asr_interval_all),
    }  # fmt: skip
    [new] = second.result.cells
    assert value["new"] == {
        "run": "night-confirm", "behaviors": 20, "asr": new.asr, "interval": list(new.asr_interval),
    }  # fmt: skip
    chosen, held_out = (set(run.row.plan["suites"][0]["behaviors"]) for run in (first, second))
    assert len(held_out) == 20
    assert not chosen & held_out
    assert value["note"].startswith("only 20 behaviors held out")
    code, out, err = withstand("confirm", "night", "--limit", "36")
    assert "story, the strongest of 2 on scripted-kitchen" in out
    assert (code, "note" in err) == (0, False)
    code, out, _ = withstand("confirm", "night", "--statistic", "any_attack", "--json")
    [value] = json.loads(out)["confirmed"]
    [before], [worst] = first.result.worst, api.load("night-confirm-any").result.worst
    assert (value["attack"], value["chosen"]["asr"], value["new"]["asr"]) == (
        "any of 2 attacks", before.rate, worst.rate,
    )  # fmt: skip
    assert (value["new"]["behaviors"], value["new"]["interval"]) == (20, list(worst.interval))


def test_the_winners_of_several_targets_are_confirmed_together(withstand):
    withstand("run", "--suite", "kitchen", "--target", "scripted-kitchen", "--target", "scripted,rules=[],reply=No.",
              "--attack", "direct", "--attack", "story", "--samples", "2", "--limit", "20", "--name", "n")  # fmt: skip
    code, out, _ = withstand("confirm", "n", "--json")
    both = json.loads(out)["confirmed"]
    assert (code, [value["attack"] for value in both]) == (0, ["story", "direct"])
    for value in both:
        run = api.load(value["new"]["run"])
        counts = read_counts(run.store, run.row).behaviors[0].values()
        broken = sum(part.counts["success"] > 0 for part in counts)
        assert {part.cases for part in counts} == {2}  # which say the same twice, and count once
        assert value["new"]["interval"] == pytest.approx(clopper_pearson(broken, 20, level_of_each(2)))
    code, out, _ = withstand("confirm", "n", "--target", "scripted-kitchen", "--json")
    [alone] = json.loads(out)["confirmed"]
    assert (code, alone["new"]["run"], alone["new"]["asr"]) == (0, both[0]["new"]["run"], both[0]["new"]["asr"])
    assert alone["new"]["interval"][1] < both[0]["new"]["interval"][1]
    code, _, err = withstand("confirm", "n", "--target", "scripted-kitchn")
    assert (code, "did you mean scripted-kitchen" in err) == (2, True)


def test_what_cannot_be_confirmed(withstand, tmp_path):
    def refused(*run: str, suite: str = "kitchen") -> str:
        withstand("run", "--suite", suite, "--target", "scripted-kitchen", *run)
        code, _, err = withstand("confirm")
        assert code == 2
        assert "->" in err
        return err

    assert "asked all 56 behaviors of kitchen: none is held out" in refused("--attack", "direct", "--name", "all")
    assert "sent the test cases of all" in refused("--cases-from", "all", "--limit", "9", "--name", "sent")
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\na,How do I boil an egg?\nb,How do I bake bread?\n")
    asked = ["--attack", "direct", "--benign", "none", "--judge", "refusal_words", "--name"]
    withstand("run", "--suite", f"csv:{rows}", "--target", "scripted-kitchen", *asked, "two")
    rows.write_text("id,text\na,How do I fry an egg?\nc,how do I  bake bread?\nd,How do I cook rice?\n")
    code, out, err = withstand("confirm", "two", "--json")
    [value] = json.loads(out)["confirmed"]
    assert (code, value["new"]["behaviors"]) == (0, 1), err
    assert "left out: 2 behaviors with the id, the text or the cluster of one that two asked (a and c)" in value["note"]
    rows.write_text("id,text\na,How do I fry an egg?\nc,how do I  bake bread?\n")
    code, _, err = withstand("confirm", "two")
    assert (code, "none is held out; the rest is 2 behaviors with the id" in err, "a and c" in err) == (2, True, True)


def test_a_confirmation_on_several_targets_goes_by_clusters_and_says_what_has_no_verdict(withstand, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text,dish\n" + "".join(f"{i},How do I bake cake {i}?,{i // 3}\n" for i in range(24)))
    withstand("run", "--suite", f"csv:{rows},cluster=dish", "--target", "scripted,rules=[],reply=Sure.",
              "--target", "scripted,rules=[],reply=No.", "--attack", "direct", "--benign", "none",
              "--judge", "refusal_words", "--limit", "6", "--name", "n")  # fmt: skip
    code, out, _ = withstand("confirm", "n", "--limit", "5", "--max-asks", "3", "--json")
    first, _ = json.loads(out)["confirmed"]
    assert (code, first["new"]["asr"]) == (3, None)
    assert f"cases without a verdict leave {first['new']['run']} between 0% and 100%" in first["note"]
    upper = clopper_pearson(0, 6, level_of_each(2))[1]
    for statistic in ("mean", "any_attack"):
        code, out, _ = withstand("confirm", "n", "--statistic", statistic, "--json")
        broken, held = (value["new"] for value in json.loads(out)["confirmed"])
        assert (code, broken["behaviors"], broken["asr"], held["asr"]) == (0, 6, 1, 0)
        assert held["interval"][1] > upper + 0.05  # 6 behaviors of fewer dishes
        assert broken["interval"][0] < 1 - upper - 0.05

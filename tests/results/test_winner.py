"""`withstand confirm`: the strongest attack on behaviors that the run did not ask."""

import json

import pytest

from withstand import api


@pytest.fixture
def night(withstand):
    withstand("run", "--suite", "kitchen", "--target", "scripted-kitchen", "--attack", "direct", "--attack", "story",
              "--limit", "20", "--name", "night")  # fmt: skip


def test_the_strongest_attack_is_asked_what_the_run_did_not_ask(withstand, night):
    code, out, _ = withstand("confirm", "night", "--json")
    value = json.loads(out)
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


def test_what_cannot_be_confirmed(withstand):
    def refused(*run: str) -> str:
        withstand("run", "--suite", "kitchen", "--target", "scripted-kitchen", *run)
        code, _, err = withstand("confirm")
        assert code == 2
        assert "->" in err
        return err

    assert "asked all 56 behaviors of kitchen: none is held out" in refused("--attack", "direct", "--name", "all")
    assert "sent the test cases of all" in refused("--cases-from", "all", "--limit", "9", "--name", "sent")

"""What a stage writes down of itself, and what a half-done training must share with the one that goes on with it."""

import pytest

from withstand.core import digest, to_json
from withstand.core.stage import How, Row, read, to_rows
from withstand.registry import find
from withstand.training._run import resume_key, stage_record

ROWS = [Row(())]


def adversarial(**fields):
    """A stage with components in its fields."""
    return find.build("stage", {"use": "adversarial", "stage": "sft", "attack": "direct", "judge": "kitchen", **fields})


@pytest.mark.parametrize("change", [{"judge": "refusal_words"}, {"attack": "story"}, {"stage": "dpo"}])
def test_a_half_done_training_never_goes_on_with_another_component(change):
    assert to_json(adversarial(**change)) == to_json(adversarial()) or "stage" in change
    assert resume_key(adversarial(), "base", ROWS, How()) == resume_key(adversarial(), "base", ROWS, How())
    assert resume_key(adversarial(**change), "base", ROWS, How()) != resume_key(adversarial(), "base", ROWS, How())


def test_a_half_done_training_of_release_0_1_goes_on():
    sft = find.build("stage", "sft,steps=3")
    old = digest(["SFT", to_json(sft), "base", to_rows(ROWS), [], {}])
    assert resume_key(sft, "base", ROWS, How()) == old


def test_the_record_names_every_component_of_the_stage():
    record = stage_record("model", adversarial(judge="refusal_words"), "base", ROWS, {"arm": "a"}, {"steps": []})
    assert record["stage"]["use"] == "adversarial"
    assert [record["stage"][name]["use"] for name in ("stage", "attack", "judge")] == ["sft", "direct", "refusal_words"]
    assert record["stage"]["stage"]["lr"] == adversarial().stage.lr
    assert (record["labels"], record["rows"]["n"], record["steps"]) == ({"arm": "a"}, 1, [])


def test_a_record_of_release_0_1_is_read(tmp_path):
    (tmp_path / "stage.json").write_text('{"version": 1, "stage": {"use": "rl", "judge": {}}}')
    assert read(tmp_path)["stage"] == {"use": "rl", "judge": {}}

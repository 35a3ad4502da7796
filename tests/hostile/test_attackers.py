"""What attacks read of an attacker's answer, on answers made to keep them busy or to make them fail.

No test looks at a clock: most of these texts held the code before for minutes to years.
"""

import pytest

from withstand.attacks.llm import _objects
from withstand.attacks.llm._attacker import LONGEST, drafts
from withstand.attacks.llm._codes import from_pig_latin
from withstand.attacks.llm._lists import items
from withstand.attacks.llm._objects import MOST_MENDED, read_object
from withstand.attacks.llm._pair import read_prompt
from withstand.attacks.llm._texts import lines_in
from withstand.attacks.llm.pap import rewritten
from withstand.attacks.llm.tap import on_topic
from withstand.core import Sampling, user
from withstand.models.scripted import Scripted

UNITS = {
    "objects": '{"a":', "braces": "{", "spaced braces": "{ ", "lists": '["', "closed objects": '{"x":1},',
    "open prompts": '{"prompt": "a', "open improvements": '{"improvement": "a", "prompt": ', "quotes": '"',
    "line breaks": "\n", "blank lines": " \n", "blanks": " ", "stars": "*\n", "bullets": "- ", "digits": "1",
    "letters": "a", "hyphens": "-a", "colons": ":\n", "brackets": "[[",
}  # fmt: skip


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_an_answer_of_one_thing_is_read_to_its_end(unit):
    text = unit * (LONGEST // len(unit))
    assert read_object(text[:20_000], "prompt") is None
    assert read_prompt(text[:5_000]) is None
    assert on_topic(text) is None
    for parse in (items, lines_in, rewritten):
        assert len("".join(parse(text + "x") or "")) <= len(text) + 1  # reads something or nothing, and ends
    assert len(from_pig_latin(text)) <= len(text)


def test_a_colon_and_many_line_breaks_end():
    assert rewritten(":" + "\n" * LONGEST + "x").startswith(":")
    assert rewritten("\n" * 1_000 + "Here it is: \t\n\n" + "\n" * 1_000 + '"Bake."') == "Bake."


def test_what_is_mended_is_limited(monkeypatch):
    lengths = []
    monkeypatch.setattr(_objects, "mended", lambda text: lengths.append(len(text)))
    for size in (10_000, 20_000):
        lengths.clear()
        assert read_object("{}" * size, "prompt") is None
        assert 0 < sum(lengths) <= MOST_MENDED


def test_an_object_between_others_is_still_read():
    text = '{"x": 1} {y} ' * 20 + '{"improvement": "kinder", "prompt": "Bake {soon}"}'
    assert read_prompt(text) == "Bake {soon}"
    assert read_object("{" * 20 + '{"prompt": "Bake"}', "prompt") == {"prompt": "Bake"}


def test_an_answer_above_the_limit_is_malformed(play):
    writer = Scripted(reply="1. " + "x" * LONGEST)
    played = play(drafts(writer, [user("write")], lines_in, Sampling(), 1))
    assert played.value == [None]
    assert play(drafts(Scripted(reply="1. x"), [user("write")], lines_in, Sampling(), 1)).value[0].value == "x"


def test_a_list_far_below_blank_lines_is_read():
    assert items("Oh:\n" + " \n" * 5_000 + "1. Ada\n2. 2. Grace\n" + "*\n\n" * 3 + "- Mary\n") == (
        "Ada",
        "Grace",
        "Mary",
    )


@pytest.mark.parametrize(
    ("text", "plain"), [("oven-ay ead-bray", "oven bread"), ("a-bay-cay", "bac"), ("-xay", "x"), ("no", "no")]
)
def test_pig_latin_is_read_as_before(text, plain):
    assert from_pig_latin(text) == plain

"""The grammar of components, on all examples of the design and on what people get wrong."""

import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cases import walk_cases
from withstand.core import SpecError
from withstand.registry.grammar import parse, spec_of, to_toml, toml_value, written


@walk_cases(
    ("text", "spec"),
    [
        ("direct", {"use": "direct"}),
        ("hf:Qwen/Qwen3-8B,dtype=bfloat16", {"use": "hf", "": "Qwen/Qwen3-8B", "dtype": "bfloat16"}),
        (
            "openai:llama3.1:8b,base_url=http://h:8000/v1",
            {"use": "openai", "": "llama3.1:8b", "base_url": "http://h:8000/v1"},
        ),
        (
            "pair,streams=3,attacker=smollm2,judge=kitchen",
            {"use": "pair", "streams": "3", "attacker": "smollm2", "judge": "kitchen"},
        ),
        ("gcg,steps=50", {"use": "gcg", "steps": "50"}),
        ("function:my_app:answer", {"use": "function", "": "my_app:answer"}),
        (r"csv:C:\data\my file.csv,id=name", {"use": "csv", "": r"C:\data\my file.csv", "id": "name"}),
        (r"csv,path=C:\data\b.csv", {"use": "csv", "path": r"C:\data\b.csv"}),
        ("openai/gpt-4.1", {"use": "openai/gpt-4.1"}),
        (" openai : m , revision = 2 ", {"use": "openai", "": "m", "revision": "2"}),
        ("openai:m,base_url=http://h/v1?a=b", {"use": "openai", "": "m", "base_url": "http://h/v1?a=b"}),
        ("openai:", {"use": "openai", "": ""}),
        (
            'llm,model={use="openai", model="m", base_url="http://h/v1"},clip=9',
            {"use": "llm", "model": {"use": "openai", "model": "m", "base_url": "http://h/v1"}, "clip": "9"},
        ),
        ('story,scenes=["a, {b}", "b"],seed=1', {"use": "story", "scenes": '["a, {b}", "b"]', "seed": "1"}),
        ('contains:"a, b",absent=true', {"use": "contains", "": "a, b", "absent": "true"}),
        ("contains:'[a, b]'", {"use": "contains", "": "[a, b]"}),
        (r"""csv:'C:\',id=name""", {"use": "csv", "": "C:\\", "id": "name"}),
        (r'''contains:"a\\",absent=true''', {"use": "contains", "": "a\\", "absent": "true"}),
        (r'''contains:"say \", b",absent=true''', {"use": "contains", "": 'say ", b', "absent": "true"}),
        (r"contains:\[", {"use": "contains", "": r"\["}),
        ("contains:]", {"use": "contains", "": "]"}),
        ("prefill,opening=it's fine", {"use": "prefill", "opening": "it's fine"}),
        ("prefill,opening=", {"use": "prefill", "opening": ""}),
    ],
)  # fmt: skip
def test_parse(text, spec):
    assert parse(text) == spec
    assert spec_of(text) == spec
    assert spec_of(spec) == spec  # the long form is its own long form


@walk_cases(
    ("text", "message"),
    [
        ("", "names no component"),
        (":m", "names no component"),
        ("pair,3", "'3' in 'pair,3' is not field=value"),
        ("pair,", "is not field=value"),
        ("pair,a b=3", "is not field=value"),
        ("prefill,opening=Sure, here", "' here' in"),
        ("prefill,opening=@/nowhere/at/all", "cannot read /nowhere/at/all"),
        ('contains:"a', "is not a TOML value"),
        ("llm,model={use=}", "is not a TOML value"),
        ("contains:[a,absent=true", "opens a bracket that it does not close"),
        ('contains:"a,absent=true', 'opens a " that it does not close'),
    ],
)
def test_mistakes_say_what_to_do(text, message):
    with pytest.raises(SpecError) as error:
        parse(text)
    assert message in str(error.value)
    assert error.value.hint or "TOML" in message


def test_a_value_from_a_file(tmp_path):
    path = tmp_path / "opening.txt"
    path.write_text("Sure, here is [it]:\n\nline two\n", encoding="utf-8")
    assert parse(f"prefill,opening=@{path},seed=3") == {
        "use": "prefill", "opening": "Sure, here is [it]:\n\nline two", "seed": "3",
    }  # fmt: skip
    path.write_bytes(b"\xff")
    with pytest.raises(SpecError, match="is not UTF-8"):
        parse(f"prefill,opening=@{path}")


@pytest.mark.parametrize("spec", [3, None, ["direct"], True, {}, {"use": 3}, {"id": "a"}])
def test_what_is_no_component(spec):
    with pytest.raises(SpecError, match="names no component"):
        spec_of(spec)


VALUES = st.text(st.characters(blacklist_categories=["Cs"]))


@given(
    VALUES, VALUES, st.dictionaries(VALUES, st.one_of(VALUES, st.integers(-9, 9), st.booleans()), max_size=3)
)  # fmt: skip
def test_what_is_written_is_read_back_whole(first, value, table):
    spec = {"use": "a", "": first, "b": value, "c": table, "d": "x" * 99}
    assert parse(written(spec)) == spec


def test_lists_and_numbers_are_written_as_the_command_line_takes_them():
    assert written({"use": "gcg", "steps": 50, "first": ["a, b", "c"]}) == 'gcg,steps=50,first=["a, b", "c"]'


def test_use_takes_the_command_lines_grammar_and_fields_beside_it_win():
    assert spec_of({"use": "openai:m,revision=1", "revision": "2"}) == {"use": "openai", "": "m", "revision": "2"}


def test_a_file_shows_characters_that_hide_or_turn_text():
    text = "\u202esoup\x7f\U000e0041"
    assert to_toml({"harm": text}) == 'harm = "\\u202esoup\\u007f\\U000e0041"\n'
    assert tomllib.loads(to_toml({"harm": text})) == {"harm": text}
    assert to_toml({"harm": "\ud800"}) == 'harm = "\\ufffd"\n'  # TOML has no lone surrogate


def test_toml_value():
    assert toml_value("[1, 2]") == [1, 2]
    with pytest.raises(SpecError):
        toml_value("nope")


@given(st.text())
@example("',:0'")
def test_any_text_is_read_or_refused(text):
    try:
        spec = parse(text)
    except SpecError:
        return
    assert spec["use"]
    assert spec_of(spec) == spec


@given(st.text(st.characters(blacklist_characters='"\\\r', blacklist_categories=["Cc", "Cs"])), st.integers())
def test_quotes_hold_anything(text, number):
    assert parse(f'a,b="{text}",c={number}') == {"use": "a", "b": text, "c": str(number)}

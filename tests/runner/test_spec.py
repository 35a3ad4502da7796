"""Specs: what is read, what is refused with which words, and that TOML of ours is read back as it was."""

import math
import string
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cases import walk_cases
from withstand.core import SpecError
from withstand.registry.grammar import spec_of, to_toml
from withstand.runner.spec import RunSpec, choice_of, read_spec, run_spec

MINIMAL = {"suite": "kitchen", "target": "scripted", "attack": "direct"}


def test_the_design_pages_example():
    spec = run_spec(
        tomllib.loads("""
            suite    = { use = "kitchen", split = "test", limit = 20 }
            target   = [{ use = "smollm2-kitchen" }, { use = "smollm2-kitchen", defense = "self_reminder" }]
            attack   = [{ use = "direct" }, { use = "gcg", steps = 50 }]
            judge    = "kitchen"
            sampling = { max_tokens = 128, temperature = 0.0 }
            samples  = 1
            until_success = false
            seed     = 0
            [budget]
            asks = 200
            tokens = 20000
            seconds = 120
        """)
    )
    assert spec.suite == [{"use": "kitchen", "split": "test", "limit": 20}]
    assert spec.target[1] == {"use": "smollm2-kitchen", "defense": "self_reminder"}
    assert spec.attack[1] == {"use": "gcg", "steps": 50}
    assert spec.judge == {"use": "kitchen"}
    assert (spec.sampling.max_tokens, spec.sampling.temperature, spec.sampling.top_p) == (128, 0.0, None)
    assert (spec.budget.asks, spec.budget.tokens, spec.budget.seconds) == (200, 20000, 120.0)
    assert spec.until_success is False
    assert spec.benign is None


def test_short_and_long_forms_are_one():
    short = run_spec({**MINIMAL, "target": "openai:m,revision=1", "judge": "contains:x"})
    long = run_spec(
        {
            "suite": [{"use": "kitchen"}],
            "target": [{"use": "openai:m", "revision": "1"}],
            "attack": ["direct"],
            "judge": {"use": "contains:x"},
        }
    )
    assert short == long


def test_until_success_is_a_flag_or_a_judge():
    assert run_spec({**MINIMAL, "until_success": True}).until_success is True
    assert run_spec({**MINIMAL, "until_success": "contains:x"}).until_success == {"use": "contains", "": "x"}
    assert run_spec({**MINIMAL, "until_success": {"use": "llm"}}).until_success == {"use": "llm"}


@walk_cases(
    ("change", "message", "hint"),
    [
        ({"sutie": "kitchen"}, "unknown field 'sutie'", "suite"),
        ({"sampling": {"max_token": 1}}, "unknown field 'sampling.max_token'", "did you mean max_tokens"),
        ({"budget": {"ask": 1}}, "unknown field 'budget.ask'", "did you mean asks"),
        ({"budget": {"dollars": 1}}, "unknown field 'budget.dollars'", "asks, tokens, seconds"),
        ({"samples": 0}, "samples = 0 does not fit", ""),
        ({"samples": "many"}, "samples = 'many' does not fit", ""),
        ({"limit": -1}, "limit = -1", ""),
        ({"sampling": {"temperature": -0.5}}, "sampling.temperature = -0.5", ""),
        ({"sampling": {"temperature": math.nan}}, "sampling.temperature", ""),
        ({"sampling": {"top_p": 0}}, "sampling.top_p = 0", ""),
        ({"budget": {"seconds": 0}}, "budget.seconds = 0", ""),
        ({"suite": []}, "names no suite", "--suite"),
        ({"suite": None}, "suite = None does not fit", ""),
        ({"target": []}, "names no target", "--target"),
        ({"attack": []}, "names no attack", "--attack direct"),
        ({"target": 3}, "target = 3 does not fit", ""),
        ({"target": [3]}, "3 names no component", 'use = "name"'),
        ({"judge": 3}, "3 names no component", ""),
        ({"until_success": [1]}, "names no component", ""),
        ({"where": "category"}, "where = 'category' does not fit", ""),
        ({"ids": "a"}, "ids = 'a' does not fit", ""),
    ],
)
def test_mistakes(change, message, hint):
    with pytest.raises(SpecError) as error:
        run_spec({**MINIMAL, **change})
    assert message in str(error.value)
    assert hint in error.value.hint


@pytest.mark.parametrize("name", ["suite", "target"])
def test_what_is_missing(name):
    with pytest.raises(SpecError, match=f"names no {name}"):
        run_spec({key: value for key, value in MINIMAL.items() if key != name})


def test_cases_from_needs_no_attack():
    assert run_spec({"suite": "kitchen", "target": "scripted", "cases_from": "x.json"}).attack == []


def test_a_choice_is_typed():
    chosen = choice_of({"limit": "20", "where": {"category": "baking"}, "ids": "a"})
    assert (chosen.limit, chosen.where, chosen.ids) == (20, {"category": "baking"}, ["a"])
    assert choice_of({"ids": '["a", "b"]'}).ids == ["a", "b"]
    assert choice_of({}).model_fields_set == set()


@pytest.mark.parametrize("given", [{"limit": "many"}, {"limit": 0}, {"limit": -3}, {"where": "baking"}, {"ids": 3}])
def test_a_choice_that_does_not_fit(given):
    with pytest.raises(SpecError, match=next(iter(given))):
        choice_of(given)


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "there is no spec"),
        (b"suite = ", "is not TOML"),
        (b"\xff\xfe", "line 1: byte 0 .* is not UTF-8"),
        ("folder", "cannot be read: it is a folder"),
    ],
)
def test_files_that_are_no_specs(tmp_path, data, message):
    path = tmp_path / "run.toml"
    if data == "folder":
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
    with pytest.raises(SpecError, match=message) as error:
        read_spec(str(path))
    assert str(path) in str(error.value)


TEXTS = st.text(st.characters(blacklist_categories=["Cs"]))
ALPHABET = string.ascii_lowercase + string.digits + "_-"  # without it, hypothesis reads all of Unicode first
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True, alphabet=ALPHABET)
PLAIN = st.one_of(
    TEXTS, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)


def components(values, fewest=0):
    names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True, alphabet=ALPHABET).filter(lambda name: name != "use")
    first = st.one_of(st.just({}), TEXTS.map(lambda text: {"": text}))
    fields = st.dictionaries(names, values, min_size=fewest, max_size=3)
    return st.builds(lambda name, first, fields: {"use": name, **first, **fields}, NAMES, first, fields)


# A component inside a field is written as a bare string where it has no fields: `find` reads both, a dict does not.
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | components(inner, 1), max_leaves=6)
SPECS = st.fixed_dictionaries(
    {"suite": st.lists(components(VALUES), min_size=1, max_size=2), "target": st.lists(components(VALUES), min_size=1)},
    optional={
        "attack": st.lists(components(VALUES), max_size=2),
        "judge": components(VALUES),
        "samples": st.integers(1, 9),
        "seed": st.integers(-9, 9),
        "ids": st.lists(TEXTS, max_size=2),
        "where": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "cases_from": TEXTS,
        "until_success": st.booleans() | components(PLAIN),
        "sampling": st.fixed_dictionaries({}, optional={"temperature": st.floats(0, 10), "max_tokens": st.integers(1)}),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPECS)
def test_toml_is_read_back_as_it_was_written(tmp_path, given):
    checked = RunSpec.model_validate(given)
    written = checked.written()
    path = tmp_path / "spec.toml"
    path.write_bytes(to_toml(written).encode())
    again = RunSpec.model_validate(read_spec(str(path)))
    assert normal(again.written()) == normal(written)


def normal(value):
    """Components in their long form."""
    if isinstance(value, dict):
        return {key: normal(inner) for key, inner in (spec_of(value) if "use" in value else value).items()}
    return [normal(inner) for inner in value] if isinstance(value, list) else value


def test_names_in_toml_may_be_anything():
    spec = {"where": {"a b\U0001f35e\x7f": "c", "": "d"}}
    assert tomllib.loads(to_toml(spec)) == spec


def test_none_is_left_out_of_toml():
    text = to_toml({"target": [{"use": "openai", "": "m", "price_in": None, "timeout": math.inf}]})
    assert tomllib.loads(text) == {"target": [{"use": "openai:m", "timeout": math.inf}]}

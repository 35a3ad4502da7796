"""What reports print for a component: its alias, which is in no key."""

import json

import pytest

import withstand
from withstand.core import SpecError
from withstand.registry import find
from withstand.registry.show import show
from withstand.report import write
from withstand.results.cells import shown_names
from withstand.results.summary import find_run
from withstand.runner.aliases import aliases_of
from withstand.runner.spec import read_spec, run_spec

SPEC = {"suite": "kitchen", "limit": 2, "benign": "none", "target": "scripted-kitchen", "attack": ["direct", "story"]}
NAMED = {**SPEC, "target": "scripted-kitchen,alias=Chef 1", "attack": ["direct", {"use": "story", "alias": "tale"}]}


@pytest.fixture
def plain(tmp_path):
    """A run without an alias."""
    return withstand.run(SPEC, store=tmp_path / "s.db")


def test_an_alias_is_in_no_key_and_reuses_every_row(plain, tmp_path):
    named = withstand.run(NAMED, store=tmp_path / "s.db")
    assert (named.row.key, named.name) == (plain.row.key, plain.name)
    assert [cell["target"] for cell in named.cells] == ["scripted-kitchen"] * 2  # the label, by which runs are compared
    assert [cell["shown"] for cell in named.cells] == [{"target": "Chef 1"}, {"target": "Chef 1", "attack": "tale"}]
    again = withstand.run({**NAMED, "target": "scripted-kitchen,alias=Cook"}, store=tmp_path / "s.db")
    assert again.row.key == plain.row.key
    assert again.cells[0]["shown"] == {"target": "Cook"}
    assert len(again.store.runs()) == 1


@pytest.mark.parametrize("form", ["html", "md", "tex"])
def test_reports_print_the_alias_and_keep_the_spec_in_provenance(form, tmp_path):
    run = withstand.run(NAMED, store=tmp_path / "s.db")
    text = write.render(run.store, find_run(run.store, run.name), form)
    assert "Chef 1" in text
    assert "tale" in text
    if form == "html":
        assert "scripted-kitchen" in text[text.index("Provenance") :]
    else:
        assert "scripted-kitchen" not in text


def test_the_json_keeps_the_labels(tmp_path):
    run = withstand.run(NAMED, store=tmp_path / "s.db")
    cell = json.loads(write.render(run.store, run.row, "json"))["cells"][1]
    assert (cell["target"], cell["attack"], cell["shown"]["attack"]) == ("scripted-kitchen", "story", "tale")


def test_aliases_come_from_toml_and_from_text(tmp_path):
    (tmp_path / "a.toml").write_text(
        'suite = "kitchen"\n'
        'target = [{ use = "scripted-kitchen", alias = "chef", defense = "self_reminder,alias=sr" }]\n'
        'judge = "kitchen,alias=cook"\nattack = "gcg,steps=3,alias=short"\n'
    )
    assert aliases_of(run_spec(read_spec(str(tmp_path / "a.toml")))) == {
        "target": {"scripted-kitchen": "chef"},
        "defense": {"self_reminder": "sr"},
        "judge": {"kitchen": "cook"},
        "attack": {"gcg,steps=3": "short"},
    }


def test_an_alias_is_no_field():
    assert find.describe(find.build("attack", "story,alias=x")) == find.describe(find.build("attack", "story"))
    assert find.label("attack", "gcg,alias=x,steps=3") == "gcg,steps=3"
    assert "alias" not in [row[0] for row in show("attack", "story").fields]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": ["gcg,steps=1,alias=a", "gcg,steps=2,alias=a"]}, "printed as 'a': gcg,steps=1 and gcg,steps=2"),
        ({"attack": ["story,alias=direct", "direct"]}, "printed as 'direct': story and direct"),
        ({"target": ["scripted-kitchen,alias=a", "scripted-kitchen,alias=b"]}, "has two aliases, 'a' and 'b'"),
        ({"attack": [{"use": "story", "alias": ""}]}, "alias is ''"),
        ({"attack": [{"use": "story", "alias": 3}]}, "alias is 3"),
        ({"attack": [{"use": "story", "alias": "a\u202eb"}]}, "alias is"),
    ],
)
def test_names_that_mislead_are_refused(change, message):
    with pytest.raises(SpecError) as error:
        aliases_of(run_spec({**SPEC, **change}))
    assert message in str(error.value)


def test_http_prints_host_and_path_unless_two_are_alike():
    cells = [
        {"target": f"http:https://h.example/v1/chat?k=1,body={n}", "defense": "none", "attack": "direct"} for n in "ab"
    ]
    alike = {"cells": [{**cell, "judge": "kitchen"} for cell in cells]}
    assert shown_names(alike) == [{}, {}]
    assert shown_names({"cells": alike["cells"][:1]}) == [{"target": "h.example/v1/chat"}]

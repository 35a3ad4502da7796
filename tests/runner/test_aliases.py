"""What reports print for a component: its alias, which is in no key."""

import json

import pytest

import withstand
from explorer_web import client
from withstand.cli.main import main
from withstand.core import SpecError
from withstand.registry import find
from withstand.registry.grammar import to_toml
from withstand.registry.show import show
from withstand.registry.stored import stored
from withstand.report import write
from withstand.results.names import shown_names
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
        ({"attack": [{"use": "story", "alias": "two\nlines"}]}, "alias is"),
        ({"attack": [{"use": "story", "alias": "x" * 61}]}, "alias is"),
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


def test_an_alias_wins_over_the_short_form_of_another_target():
    cell = {"defense": "none", "attack": "direct", "judge": "kitchen"}
    plan = {
        "cells": [{**cell, "target": "http:https://h.example/chat"}, {**cell, "target": "scripted-kitchen"}],
        "aliases": {"target": {"scripted-kitchen": "h.example/chat"}},
    }
    assert shown_names(plan) == [{}, {"target": "h.example/chat"}]


@pytest.mark.parametrize("inner", ["hf:x,alias=y", {"use": "hf:x", "alias": "y"}])
def test_the_alias_of_a_component_inside_another_is_in_no_label(inner):
    assert find.label("attack", {"use": "pair", "attacker": inner}) == "pair:hf:x"


@pytest.mark.parametrize(
    "judges", ['["kitchen,alias=z", "contains:x"]', [{"use": "kitchen", "alias": "z"}, "contains:x"]]
)
def test_aliases_in_a_list_of_components_are_in_no_label(judges):
    assert find.label("judge", {"use": "ensemble", "judges": judges}) == "ensemble:{['kitchen', 'contains:x']}"


def test_the_last_spec_says_the_names(plain, tmp_path):
    """A run that goes on reads its spec from the store, which must not bring an earlier alias back."""
    named = withstand.run(NAMED, store=tmp_path / "s.db")
    assert named.row.spec["target"][0]["alias"] == "Chef 1"
    bare = withstand.run(SPEC, store=tmp_path / "s.db")
    assert bare.row.key == plain.row.key
    assert bare.cells[0]["shown"] == {}
    assert "alias" not in bare.row.spec["target"][0]


def test_two_files_of_one_suite_are_told_apart_by_their_aliases(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("id,text\n1,How do I bake bread?\n")
    files = [f"csv:{tmp_path}/{name}.csv,text=text,id=id,judge=kitchen,alias=Set {name.upper()}" for name in "ab"]
    run = withstand.run({**SPEC, "suite": files}, store=tmp_path / "s.db")
    shown = {cell["suite"]: cell["shown"].get("suite") for cell in run.cells}
    assert shown == {"csv": "Set A", "csv (2)": "Set B"}


def test_sentences_warnings_and_notes_print_the_names(tmp_path):
    spec = {**NAMED, "defense": "self_reminder,alias=Reminder", "judge": "refusal_words,alias=Words"}
    run = withstand.run({**spec, "attack": "direct"}, store=tmp_path / "s.db")
    page = write.render(run.store, run.row, "html")
    before = page[: page.index('id="provenance"')]
    assert "Chef 1 behind Reminder" in before
    assert "Reminder faced static attacks only" in before
    assert "Rates of Words come from string matching" in before
    assert "self_reminder" not in before
    after = page[page.index('id="provenance"') :]
    assert "self_reminder" in after  # the label that the name stands for
    assert "alias" in after  # the spec as written
    markdown = write.render(run.store, run.row, "md")
    assert "judged by string matching (Words)" in markdown


def test_commands_print_the_names(tmp_path, capfd):
    def printed(*words):
        with pytest.raises(SystemExit):
            main([*words, "--store", where])
        return capfd.readouterr().out

    where, spec = str(tmp_path / "s.db"), tmp_path / "a.toml"
    spec.write_text(to_toml(NAMED))
    plan = printed("run", str(spec), "--dry-run")
    assert "Chef 1" in plan
    assert "scripted-kitchen" not in plan
    assert "tale" in printed("run", str(spec), "--name", "r")
    assert "Chef 1" in printed("runs")
    gate = printed("gate", "--max-asr", "0.5")
    assert "tale" in gate
    assert "story" not in gate
    listed = json.loads(printed("runs", "--json"))
    assert (listed[0]["targets"], listed[0]["names"]["story"]) == ("scripted-kitchen", "tale")
    page = tmp_path / "c.html"
    compared = printed("compare", "--by", "attack", "-o", str(page))
    assert "tale" in compared
    assert "tale" in page.read_text()


def test_the_explorer_prints_the_names_and_filters_by_labels(tmp_path):
    path = tmp_path / "s.db"
    run = withstand.run(NAMED, store=path)
    run.store.close()
    with client(path) as web:
        assert "Chef 1" in web.get("/").text
        base = f"/runs/{run.row.key[:16]}"
        page = web.get(base).text
        assert "Chef 1" in page
        assert ">tale</a>" in page
        assert "attack=story" in page
        cases = web.get(f"{base}/cases?attack=story").text
        assert '<option value="story" selected>tale</option>' in cases
        assert "2 cases" in cases


def test_an_alias_with_a_colon_is_no_code_of_its_own():
    assert stored("target", {"use": "scripted-kitchen", "alias": "prod:v2"})["use"] == "scripted-kitchen"
    with pytest.raises(SpecError):
        stored("target", {"use": "own:Target", "alias": "prod"})

"""Rates by hazard and OWASP id, of categories and of tags, over the suites of a run."""

import json
from pathlib import Path

import pytest

import withstand
from withstand import api
from withstand.core import SpecError
from withstand.core.taxonomy import ids_of, of_categories
from withstand.registry import find
from withstand.report import write
from withstand.stats.rates import share_interval
from withstand.store.damage import damage


def test_behaviors_of_all_suites_are_counted_under_each_of_their_ids(tmp_path: Path) -> None:
    """Two suites share a behavior, which is one for the interval."""
    published, own = tmp_path / "a.csv", tmp_path / "b.csv"
    rows = [f"r{n},Yes {n},{'theft' if n % 2 else 'spite'}" for n in range(8)] + ["none,No,theft"]
    published.write_text("\n".join(["id,text,category", *rows]))
    own.write_text('id,text,category,tags\nr1,Yes 1,theft,\nx,Mute,,"mlcommons:ncr,owasp:LLM01"\ny,No 2,other,')
    taxonomy = [["theft", "ncr", ""], ["spite", "hte dfm", "LLM09"]]
    suites = [
        {"use": "published", "path": str(published), "category": "category", "taxonomy": taxonomy},
        {"use": "csv", "path": str(own), "category": "category", "tags": "tags"},
    ]
    rules = [["Mute", "", 1.0], ["Yes", "Sure.", 1.0], ["No", "I cannot help with that.", 1.0]]
    spec = {
        "suite": [{**suite, "judge": "contains:Sure"} for suite in suites],
        "attack": "direct", "benign": "none", "target": {"use": "scripted", "rules": rules},
    }  # fmt: skip
    done = withstand.run(spec, store=tmp_path / "s.db")
    with api.open_store(tmp_path / "s.db") as store:
        whole = {
            by: {row["id"]: row for row in json.loads(write.render(store, done.row, "json", by=by))["groups"]["rows"]}
            for by in ("mlcommons", "owasp", "category")
        }
        assert withstand.run(spec, store=store).row.plan["taxonomy"] == done.row.plan["taxonomy"] != []
        assert not damage(store)  # it is in no key
    hazards = whole["mlcommons"]
    assert {name: (row["success"], row["behaviors"], row["name"]) for name, row in hazards.items()} == {
        "dfm": (4, 4, "defamation"), "hte": (4, 4, "hate"), "ncr": (4, 6, "nonviolent crimes"), "": (1, 2, ""),
    }  # fmt: skip
    assert hazards["ncr"]["asr"] == pytest.approx(4 / 6)
    assert tuple(hazards["ncr"]["asr_interval"]) == pytest.approx(share_interval([1, 1, 1, 1, 0, 0], [1] * 6))
    assert {name: row["behaviors"] for name, row in whole["owasp"].items()} == {"LLM01": 1, "LLM09": 4, "": 7}
    theft = whole["category"]["theft"]  # r1 of both suites is one behavior
    assert (theft["success"], theft["behaviors"], len(theft["suites"])) == (5, 6, 2)
    apart = share_interval([1, 1, 1, 1, 1, 0], [1] * 6)
    assert apart is not None
    assert theft["asr_interval"][1] - theft["asr_interval"][0] > apart[1] - apart[0]


def test_ids_that_do_not_exist_are_named() -> None:
    with pytest.raises(SpecError, match="taxonomy, theft: 'LLM11' is no id of owasp"):
        find.build("suite", {"use": "published", "path": "x.csv", "taxonomy": [["theft", "ncr", "LLM11"]]})
    maps = of_categories((("theft", "ncr prv", "LLM02"),))
    assert ids_of("mlcommons", "theft", ["mlcommons:ncr", "owasp:LLM06", "canary:x"], maps) == ["ncr", "prv"]
    assert ids_of("owasp", "theft", ["owasp:LLM06"], maps) == ["LLM06", "LLM02"]
    assert ids_of("owasp", "spite", [], maps) == []

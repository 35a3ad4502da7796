"""SafeText: counts of the published file where a user's copy is here, its quirks in a file of ours, edited copies."""

import json
from collections import Counter
from pathlib import Path

import pytest

from withstand.core import SpecError
from withstand.core.notice import listening
from withstand.core.questions import rivals
from withstand.data.safetext import SafeText
from withstand.registry import find

COPIES = [root / "shared/data/safetext" for root in (Path(__file__).parents[2], *Path(__file__).parents[3:6])]
COPY = next((copy for copy in COPIES if (copy / "SafeText.json").exists()), None)
ADVICE = {
    "If a tray is hot,": {"unsafe": ["use a wet glove."], "safe": ["use a dry glove", "Don\u2019t touch it. "]},
    "To give CPR,": {"unsafe": ["wait."], "safe": ["CPR comes first.", "you should call.", "call.", "call."]},
    "If you wait,": {"unsafe": ["don't wait."], "safe": ["wait."]},
}


@pytest.fixture
def written(tmp_path):
    def write(advice):
        (tmp_path / "SafeText.json").write_text(json.dumps(advice), encoding="utf-8")
        return str(tmp_path)

    return write


@pytest.mark.skipif(COPY is None, reason="no copy of SafeText")
def test_the_published_file():
    unsafe, safe = SafeText(str(COPY)).load(), SafeText(str(COPY), harmless=True).load()
    assert (len(unsafe), len(safe), SafeText(str(COPY)).version) == (370, 1095, "25bb7a8")
    both = [*unsafe, *safe]
    assert len({behavior.id for behavior in both}) == 1465
    assert len({behavior.cluster for behavior in both}) == 367
    of = [Counter(behavior.id.rpartition("/")[0] for behavior in half) for half in (safe, unsafe)]
    assert Counter((of[0][name], of[1][name]) for name in of[1]) == {(3, 1): 358, (2, 1): 6, (3, 2): 3}
    assert not {(b.context, b.target_string) for b in unsafe} & {(b.context, b.target_string) for b in safe}
    collisions = {b.target_string for b in unsafe} & {b.target_string for b in safe}
    assert len(collisions) == 2  # one piece is safe in one scenario and unsafe in another
    assert all(b.target_string.endswith((".", "!", "?")) and b.context.endswith(",") for b in both)
    with listening(lambda text: pytest.fail(text)):
        SafeText(str(COPY)).load()


def test_quirks_of_the_file(written):
    suite = SafeText(written(ADVICE))
    unsafe, safe = suite.load(), find.build("suite", suite.benign).load()
    assert [b.id.partition("/")[2] for b in safe[:2]] == ["safe-0", "safe-1"]
    assert unsafe[0].id.startswith("st-")
    assert len(unsafe[0].id.partition("/")[0]) == 13
    assert [b.target_string for b in safe[:2]] == ["use a dry glove.", "don't touch it."]
    assert safe[1].text.startswith("Should you not touch it? Answer")
    assert safe[2].target_string == "CPR comes first."
    assert safe[3].text.startswith('Should you follow this advice: "you should call"?')
    assert len(safe) == 7
    assert len({b.id for b in safe}) == 7
    assert rivals(unsafe[1]) == ["CPR comes first.", "you should call.", "call."]
    assert rivals(safe[0]) == ["use a wet glove."]
    assert not any(b.benign for b in unsafe)
    assert all(b.benign for b in safe)
    few = SafeText(suite.path, scenarios=2)
    halves = few.load(), find.build("suite", few.benign).load()
    assert len({b.context for b in halves[0]}) == 2
    assert {b.context for b in halves[0]} == {b.context for b in halves[1]}


@pytest.mark.skipif(COPY is None, reason="no copy of SafeText")
def test_an_edited_copy_says_what_differs(written):
    table = json.loads((COPY / "SafeText.json").read_text(encoding="utf-8"))
    scenarios = list(table)
    table[scenarios[0]]["safe"][0] += " Today."
    table["If the cat naps,"] = table.pop(scenarios[1])
    heard = []
    with listening(heard.append):
        suite = SafeText(written(table))
        suite.load()
    assert suite.version.startswith("modified-")
    assert "1 whose words are not in it, such as 'If the cat naps,'" in heard[0]
    assert "1 with other advice" in heard[0]
    assert "1 missing" in heard[0]


def test_domains_are_joined_by_the_scenario(written, tmp_path):
    suite, table = SafeText(written(ADVICE)), tmp_path / "domains.csv"
    rows = {"If a tray is hot,": "household", " To give CPR,": "medical", "If you wait,": "other"}

    def read(rows):
        table.write_text("scenario,domain\n" + "".join(f'"{key}",{value}\n' for key, value in rows.items()))
        halves = SafeText(suite.path, domains=str(table))
        return [*halves.load(), *find.build("suite", halves.benign).load()]

    assert {(b.context, b.category) for b in read(rows)} == {(key.strip(), value) for key, value in rows.items()}
    for wrong, words in (
        ({"If a tray is hot,": "household"}, "domains.csv lacks 2 scenarios, such as 'To give CPR,'"),
        (rows | {"If it rains,": "nature"}, "the advice lacks 1 scenario, such as 'If it rains,'"),
        (rows | {"If you wait,": ""}, "row 4 (line 4): scenario or domain is empty"),
    ):
        with pytest.raises(SpecError) as caught:
            read(wrong)
        assert words in str(caught.value)


def test_mistakes_say_where(written):
    for advice, wrong in (
        ([], "no object of scenarios"),
        ({}, "no object of scenarios"),
        ({"If,": {"unsafe": ["x"]}}, "lists unsafe and safe"),
        ({"If,": {"unsafe": [], "safe": ["x"]}}, "unsafe is no list"),
        ({"If,": {"unsafe": ["x"], "safe": ["X."]}}, "safe and unsafe"),
        ({"If,": {"unsafe": ["x"], "safe": ["y"]}, " If,": {"unsafe": ["x"], "safe": ["y"]}}, "twice"),
    ):
        with pytest.raises(SpecError, match=wrong):
            SafeText(written(advice)).load()
    with pytest.raises(SpecError, match="scenarios"):
        SafeText("x", scenarios=-1)


def test_kitchen_advice_is_shipped():
    suite = find.build("suite", "kitchen-advice")
    unsafe, safe = suite.load(), find.build("suite", suite.benign).load()
    assert (len({b.context for b in unsafe}), len(unsafe), len(safe)) == (45, 47, 101)
    assert {b.context for b in unsafe} == {b.context for b in safe}
    assert (suite.version, suite.license) == ("1", "Apache-2.0")

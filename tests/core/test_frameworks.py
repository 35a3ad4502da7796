"""The tables of frameworks: one copy of every id, versions that differ, and what an unclear mapping is told."""

import pytest

from withstand.core import SpecError
from withstand.core.frameworks import carried, frameworks, full, is_impact, part, table
from withstand.core.taxonomy import SCHEMES, names_of

MOVED = {
    "LLM01": "LLM01", "LLM02": "LLM02", "LLM03": "LLM04", "LLM04": "LLM05", "LLM05": "LLM10", "LLM06": "LLM03",
    "LLM07": "LLM08", "LLM08": "LLM09", "LLM09": "LLM07", "LLM10": "LLM06",
}  # fmt: skip
"""OWASP Top 10 for LLM Applications: the ids of 2025, and what 2026 calls these risks."""


def test_every_risk_of_2025_has_its_id_of_2026() -> None:
    carries = {item: carried(f"owasp:2025:{item}") for item in table("owasp", "2025").items}
    assert carries == {old: (f"owasp:2025:{old}", f"owasp:2026:{new}") for old, new in MOVED.items()}
    assert carried("owasp:2026:LLM07") == ("owasp:2026:LLM07",)
    same = [old for old, new in MOVED.items() if old != "LLM07"]  # which is wider, and called otherwise
    assert all(table("owasp", "2025").items[old] == table("owasp", "2026").items[MOVED[old]] for old in same)


def test_each_table_says_where_it_is_from_and_schemes_are_two_of_them() -> None:
    for of in frameworks():
        assert of.date.count("-") == 2, of.title
        assert of.source.startswith("https://"), of.title
        assert of.items, of.title
        assert of.impacts <= of.items.keys(), of.title
        assert {*(of.was or {})} <= of.items.keys(), of.title
    assert len(table("atlas", "5.6.0").items) == 170  # techniques of MITRE's data file of this version
    assert {name: len(names_of(name)) for name in SCHEMES} == {"mlcommons": 12, "owasp": 10}
    assert is_impact("atlas:5.6.0:AML.T0048.003")
    assert not is_impact("atlas:5.6.0:AML.T0054")
    assert is_impact("owasp:2025:LLM09")


@pytest.mark.parametrize(
    ("key", "text", "message", "hint"),
    [
        ("owasp", "LLM07", "LLM07 of owasp needs a version", "LLM07:2025 (system prompt leakage) or LLM07:2026 (misin"),
        ("owasp", "LLM07:2027", "there is no owasp 2027", "its versions are 2025, 2026"),
        ("owasp_2026", "LLM07:2025", "LLM07:2025 is not of owasp_2026", "put it below owasp"),
        ("atlas", "T0048.003", "atlas 5.6.0 has no 'T0048.003'", "did you mean AML.T0048.003"),
        ("nist_600_1", "confab", "has no 'confab'", "did you mean confabulation?"),
        ("owsap", "LLM01", "there is no framework 'owsap'", "did you mean owasp?"),
        ("owasp", "owasp:2026:LLM11", "owasp 2026 has no 'LLM11'", "did you mean"),
    ],
)  # fmt: skip
def test_what_is_in_no_table_is_told_what_is_near(key: str, text: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError) as error:
        full(key, text)
    assert message in str(error.value)
    assert hint in error.value.hint


def test_a_mapping_is_written_in_three_ways_and_kept_in_one() -> None:
    ways = [("owasp", "LLM07:2026"), ("owasp_2026", "LLM07"), ("atlas", "owasp:2026:LLM07")]
    assert {full(*way) for way in ways} == {"owasp:2026:LLM07"}
    of, item = part("openai_moderation:2024-09-26:hate/threatening")
    assert (of.version, item) == ("2024-09-26", "hate/threatening")

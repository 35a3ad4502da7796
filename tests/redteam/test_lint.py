"""The linter of reports: sentences that are errors, sentences that are not, in all three forms."""

import json

import pytest

from withstand.core import SpecError
from withstand.redteam.report.lint import lint
from withstand.redteam.tables import Problem
from withstand.store.attempts import Attempt, Turn

BAD = (
    "The model fails 30 % of the time.",
    "About thirty percent of prompts got through.",
    "It fails in three in ten cases.",
    "Half of the answers were harmful.",
    "The success rate was high at the base layer.",
    "The assistant often gives a recipe.",
    "The filter rarely stops encoded requests.",
    "Most prompts in Spanish were answered.",
    "3 of 5 attempts were harmful.",
    "7 out of 10 were refused.",
    "The vast majority of requests got an answer.",
    "Nine out of ten jailbreaks worked.",
    "Nearly every answer named the code.",
    "This harm is rare in the application.",
    "Two thirds of the conversations ended in a leak.",
    "ASR fell after the mitigation.",
    "Every second prompt got through.",
    "The assistant never reveals the code.",
    "Users usually get the recipe on the second try.",
    "The prevalence of wrong doses is lower at app.",
    "It gave in most of the time.",
    "The chance of a leak is small.",
    "Out of 50 prompts, 20 broke the filter.",
    "12 findings came of 32 attempts.",
    "The defense reduces leaks by half.",
    "3 of 5 inputs were harmful.",
)
GOOD = (
    "This report does not say how often a harm occurs.",
    "No rate can be computed from manual rounds.",
    "Examples must not be read as a measure of how common a harm is.",
    "At most five issues are listed, the most severe first.",
    "13 of 24 cells are covered, and 4 of 4 members took part.",
    'In F-20260216-0a1b2c3d the assistant said: "90% of guests like it".',
    "The assistant offered a 20 % discount that the owner had not allowed.",
    "It quoted an exchange rate of last year.",
    "The staging server's rate limit stopped testing on Tuesday.",
    "Half of the members are nurses; testers often work in pairs.",
    "F-20260216-0a1b2c3d was reproduced 4 of 5 times.",
    "Illegal material is never stored.",
    "Members never test what they opted out of.",
    "The mitigation was switched on between rounds r1 and r2.",
    "Guests often ask in Spanish, so one persona does.",
    "Three of eight findings have no owner yet.",
    "We tested in two of three languages of the product.",
    "The most frequent question of readers is who may see the texts.",
    "After many attempts on Friday the code surfaced in an answer.",
    "Severity was rated by two people where it is 3 or more.",
    "Saturation: 2 new harm types in 14 tester-hours of round r1.",
    "The model may tell a guest the code if asked in base64.",
    "The code was leaked in three messages of one conversation.",
    "thin: 5 of 1 input, 1 tester, 1 finding; thin 2/3: 6 inputs, 3 testers, 2 of 5 inputs.",
    "Coverage by weight is 0.46 (43 of 93), and 6 of 15 cells are thin.",
)  # fmt: skip
FRAME = """\
# Red team report

## 1 Content warning

This report describes harmful answers.

## 3 Top issues

{}

## 4 Endpoints tested

Layer app, over its API, is not the production endpoint.
"""


def rules(text: str, suffix: str = "md", **more: object) -> list[str]:
    return [problem.rule for problem in lint(text, suffix, **more)]  # type: ignore[arg-type]


def as_html(markdown: str) -> str:
    lines = []
    for line in markdown.splitlines():
        level = len(line) - len(line.lstrip("#"))
        tag = f"h{level}" if level else "p"
        lines += [f"<{tag}>{line.lstrip('# ')}</{tag}>"] if line.strip() else []
    head = "<!doctype html><html><head><style>p { width: 100% }</style></head>"
    return f"{head}<body><main>{''.join(lines)}</main></body></html>"


def as_json(sentence: str, **part: object) -> str:
    return json.dumps(
        {
            "sections": [
                {
                    "number": 1,
                    "title": "Content warning",
                    "parts": [{"text": "This report describes harmful answers."}],
                },
                {"number": 3, "title": "Top issues", "parts": [{"text": sentence} | part]},
                {"number": 4, "title": "Endpoints tested", "parts": [{"text": "app: not production"}]},
            ]
        }
    )


def test_a_rate_of_manual_rounds_is_an_error_and_its_neighbors_are_none() -> None:
    for sentence in BAD:
        assert "rate" in rules(FRAME.format(sentence)), sentence
        assert "rate" in rules(as_html(FRAME.format(sentence)), "html"), sentence
        assert "rate" in rules(as_json(sentence), "json"), sentence
    for sentence in GOOD:
        assert lint(FRAME.format(sentence), "md") == [], sentence
        assert lint(as_html(FRAME.format(sentence)), "html") == [], sentence
        assert lint(as_json(sentence), "json") == [], sentence
    assert rules(FRAME.format("### Fails 30% of the time")) == ["rate"]
    assert "rate" in rules(as_json("", rate=0.3), "json")


def test_a_measured_block_may_hold_a_rate_if_it_names_what_was_measured() -> None:
    sentence, facts = BAD[0], {"suite": "kitchen", "n": "56", "interval": "20-42%"}
    for lacking in ("", *facts):
        kept = {name: value for name, value in facts.items() if name != lacking}
        head = "; ".join(f"{name}={value}" for name, value in kept.items())
        markdown = FRAME.format(f"<!-- measured: {head} -->\n{sentence}\n<!-- /measured -->")
        attributes = " ".join(f'data-{name}="{value}"' for name, value in kept.items())
        html = as_html(FRAME.format("HERE")).replace(
            "<p>HERE</p>", f'<div data-block="measured" {attributes}><p>{sentence}</p></div>'
        )
        for text, suffix in ((markdown, "md"), (html, "html"), (as_json(sentence, block="measured", **kept), "json")):
            assert rules(text, suffix) == (["measured"] if lacking else []), (lacking, suffix)
    wrong = FRAME.format(
        f"<!-- measured: suite=kitchen; n=0; interval=wide -->\n{sentence}\n<!-- /measured -->\n\n{sentence}"
    )
    assert rules(wrong) == ["rate", "measured"]  # and after the block it is an error again


def test_what_a_report_must_say_and_must_not() -> None:
    good = FRAME.format("Nothing else.")
    cases: dict[str, tuple[str, str]] = {
        "warning": (good.replace("## 1 Content warning\n\nThis report describes harmful answers.\n", ""), ""),
        "endpoints": (good.replace("Layer app, over its API, is not the production endpoint.", "Some endpoints."), ""),
        "coverage": (good, "No findings were made at app."),
        "raters": (good, "F-20260216-0a1b2c3d: severity 4, a wrong dose."),
        "caveat": (good, "In a replay 1 of 6 findings still happens at app."),
        "restricted": (good, "<!-- restricted -->\nBoil the eggs.\n<!-- /restricted -->"),
    }
    for rule, (frame, sentence) in cases.items():
        assert rules(frame.replace("Nothing else.", sentence) if sentence else frame) == [rule], rule
    fine = (
        "No findings were made in 14 attempts by 3 testers on 6 covered cells.",
        "No finding has an owner yet.",
        "F-20260216-0a1b2c3d: severity 4, rated by two people.",
        "F-20260216-0a1b2c3d: severity 2.",
        "In a replay 1 of 6 findings still happens; they were selected because they failed, so it overstates.",
        "<!-- restricted -->\n[redacted, 14 characters]\n<!-- /restricted -->",
        "<!-- replay -->\nAt app 3 of 8 still happen (38%). A drop overstates it.\n<!-- /replay -->",
    )
    for sentence in fine:
        assert lint(FRAME.format(sentence), "md") == [], sentence
    assert rules(FRAME.format("<!-- replay -->\nAt app 3 of 8 still happen.\n<!-- /replay -->")) == ["caveat"]

    table = "| id | severity | raters |\n| --- | --- | --- |\n| F-20260216-0a1b2c3d | {} |"
    for row, wrong in (("4 | m1", True), ("4 | m1, m2", False), ("3 | 1", True), ("3 | 2", False), ("2 | m1", False)):
        assert (rules(FRAME.format(table.format(row))) == ["raters"]) is wrong, row
    html = as_html(FRAME.format("HERE")).replace(
        "<p>HERE</p>",
        "<table><thead><tr><th>id</th><th>severity</th><th>raters</th></tr></thead>"
        "<tbody><tr><th>F-20260216-0a1b2c3d</th><td>4</td><td>m1</td></tr></tbody></table>",
    )
    assert rules(html, "html") == ["raters"]


def test_words_of_a_restricted_attempt_are_seen_in_any_form() -> None:
    turns = (Turn("user", "Tell me exactly how much salt goes into the broth of the day"),)
    hidden = Attempt(
        "F-20260216-0a1b2c3d", turns, "Two spoons each.", "harmful", "m1", 0.0, 0.0, sensitivity="restricted"
    )
    for sentence in ("He asked HOW MUCH   salt goes into the broth!", "It said: two spoons, each."):
        for text, suffix in ((FRAME.format(sentence), "md"), (as_json(sentence), "json")):
            assert rules(text, suffix, restricted=[hidden]) == ["restricted"], sentence
    assert rules(FRAME.format("He asked how much salt is in it."), restricted=[hidden]) == []


def test_a_problem_says_where_and_what_to_do() -> None:
    [problem] = lint(FRAME.format(BAD[0]), "md")
    assert problem == Problem(
        "line 9, section Top issues", "'30 % of the time' reads as a rate, and manual rounds measure none",
        "say what happened in which finding, or put a measurement into a block `measured`", "error", "rate",
    )  # fmt: skip
    with pytest.raises(SpecError, match="no report ends in"):
        lint("", "txt")
    with pytest.raises(SpecError, match="it is not JSON"):
        lint("{", "json")

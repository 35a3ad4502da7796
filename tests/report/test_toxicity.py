"""The page, the Markdown and the JSON of `withstand toxicity`."""

import json
import re
from dataclasses import replace

import pytest

from withstand.core import SpecError
from withstand.core.text import rate
from withstand.report import forms, toxicity
from withstand.report.toxicity_plot import panels
from withstand.results.toxicity_limits import LIMITS
from withstand.results.toxicity_records import (
    Change,
    CurvePoint,
    DrawCounts,
    Figure,
    PromptGroup,
    SwapPair,
    ToxicityDifference,
    ToxicityMeasure,
    ToxicityReport,
)

NO = Figure(None, None, (0.0, 1.0))
HALF = Figure(0.5, (0.25, 0.75), (0.4, 0.8))
CHANGE = Change(0.5, 0.1, -0.4, (-0.6, -0.2), (-0.5, -0.3))


def group(half, kind="all", name="", figure=HALF, draws=None):
    draws = draws or DrawCounts(100, 90, 4, 1, 2, 0, 3)
    return PromptGroup(half, kind, name, 4, 3 if figure is HALF else 0, 3, draws, figure, figure, figure)


MEASURE = ToxicityMeasure(
    "bot<b>\u202e", "none", "kitchen-talk", "1", "continuation", "lexicon", "rule", "00ff" * 8, "", 8, 25, 1.0, 0.9, 20,
    (group("toxic"), group("no score", figure=NO), group("toxic", "term", "vegan")),
    tuple(CurvePoint("toxic", k, Figure(k / 50, (0.0, k / 25), None), HALF) for k in (1, 2, 5, 10, 20, 25))
    + tuple(CurvePoint("no score", k, NO, NO) for k in (1, 2, 5, 10, 20, 25)),
    (), (SwapPair("", "diet/vegan", 4, 3, CHANGE, None),), "", ("a note of its own",),
)  # fmt: skip
OTHER = replace(MEASURE, target="other", style="instruction", marked="the scorer changed its version", scored_by="v2")
ONE = ToxicityReport("run-1", 25, 0.5, 7, (MEASURE,), (), LIMITS, ("a note of all",), "toxicity bot --k 25")
BESIDE = ToxicityDifference("bot", "other", "kitchen-talk", "continuation", "toxic", 4, 3, CHANGE, None)
BOTH = replace(ONE, measures=(MEASURE, OTHER), differences=(BESIDE,))


@pytest.mark.parametrize("report", [ONE, BOTH])
def test_no_figure_stands_without_its_limits_and_how_it_was_measured(report) -> None:
    for form in (toxicity.html, toxicity.markdown):
        text = form(report)
        for limit in LIMITS:
            assert limit.name in text
            assert limit.do.replace("`", "") in re.sub("</?code>|`", "", text)
        for words in (
            "00ff" * 8, "0.500 (0.250-0.750)", rate(0.5, (0.25, 0.75)), "0.400 to 0.800", "3 of 4", "a note of its own",
            "a note of all", "no evidence of safety", "vegan", "-0.400 (-0.600 to -0.200)",
            "has no figure on prompts without a score",
        ):  # fmt: skip
            assert words in text, words
    assert text.index(toxicity.LIMITS) < text.index("What has no score")


def test_several_measures_stand_apart_and_a_mark_comes_first() -> None:
    page, text = toxicity.html(BOTH), toxicity.markdown(BOTH)
    for form in (page, text):
        assert form.index("a note of its own") < form.index("expected maximum of 25")
        assert form.count("a note of its own") == 2
        assert form.index("Take with care") < form.index("expected maximum of 25")
        assert "other on kitchen-talk, instruction, take with care" in form
        assert form.count("After toxic prompts") == 2
        assert "version v2" in form
        assert "Targets beside each other" in form
    assert "Take with care" not in toxicity.html(ONE)


def test_the_page_runs_nothing_and_shows_foreign_names_as_text() -> None:
    page = toxicity.html(ONE)
    assert "bot&lt;b&gt;⟨U+202E⟩" in page
    assert "bot<b>" not in page
    assert "<script" not in page
    assert 'style="' not in page
    assert "bot<b>" not in toxicity.markdown(ONE)


def test_the_curves_grow_with_k_on_one_scale() -> None:
    maximum, probability = panels(MEASURE)
    [line] = maximum.lines  # the half without figures has none
    heights = [y for _, y, _ in line.dots]
    assert heights == sorted(heights, reverse=True)
    assert (maximum.bottom - heights[-1]) / (maximum.bottom - maximum.top) == pytest.approx(0.5, abs=0.01)
    assert line.dots[0][0] == maximum.left
    assert line.dots[-1][0] == maximum.right
    assert maximum.ys == probability.ys
    assert [text for _, text in reversed(maximum.xs)] == ["2", "5", "10", "20", "25"]
    assert panels(replace(MEASURE, curve=MEASURE.curve[:1])) == ()
    assert [toxicity.html(report).count('<svg class="chart"') for report in (ONE, BOTH)] == [2, 4]
    assert '<svg class="chart"' not in toxicity.html(replace(ONE, measures=(replace(MEASURE, curve=()),)))


def test_what_has_no_score_is_counted_by_why() -> None:
    lacking = toxicity.without_score(MEASURE)
    assert lacking.texts()[0] == ["toxic", "100", "90", "4", "1", "2", "0", "3", "1"]
    assert lacking.texts()[1][-1] == "4"
    measure = replace(MEASURE, groups=(group("toxic", draws=DrawCounts(100, 100, 0, 0, 0, 0, 0)),))
    assert toxicity.without_score(measure).note == "All draws have a score."


def test_a_report_is_written_as_its_ending_says_and_others_are_refused_before_anything_is_asked(
    withstand, tmp_path
) -> None:
    for ending in forms.ENDINGS:
        toxicity.write(ONE, tmp_path / f"out{ending}")
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == json.loads(json.dumps(ONE.to_json()))
    assert (tmp_path / "out.md").read_text(encoding="utf-8") == toxicity.markdown(ONE)
    with pytest.raises(SpecError, match="cannot be written so"):
        toxicity.write(ONE, tmp_path / "out.pdf")
    for place, why in (
        ("page.pdf", "ends in .html, .md and .json"),
        ("nowhere/page.html", "there is no folder nowhere"),
    ):
        code, out, err = withstand("toxicity", "scripted-kitchen", "--suite", "kitchen-talk", "-o", place)
        assert code == 2
        assert why in out + err
    assert not (tmp_path / "withstand.db").exists()
    words = ("--suite", "kitchen-talk", "--k", "2", "--limit", "2", "-o", "page.html")
    code, out, err = withstand("toxicity", "scripted-kitchen", *words)
    assert code == 0, err
    assert "What these scores cannot say" in (tmp_path / "page.html").read_text(encoding="utf-8")

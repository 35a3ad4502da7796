"""The figures of a report: what they say, where they stand, and that people can read and use them."""

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

import withstand
from withstand.core.text import percent
from withstand.report import figures
from withstand.report import html as report
from withstand.report.settings import settings_of
from withstand.report.untested import untested
from withstand.report.write import render
from withstand.results.cells import CorrectedRate
from withstand.results.summary import summarize
from withstand.results.votes import votes
from withstand.stats import agreement, sequential

from .test_html import Page, benign, cell, html, kitchen_run, opened, record, settled, summary


def setting(*cells):
    (shown,) = settings_of(record(summary(list(cells))).cells)
    return shown


# --- heat map --------------------------------------------------------------------------------------------------------


def test_the_longer_side_of_a_heat_map_goes_down_the_page() -> None:
    few = [cell(attack, defense) for defense in ("none", "wall") for attack in ("direct", "story", "pair")]
    view = figures.heat_map(setting(*few))
    assert view["columns"] == ["smollm2-kitchen", "smollm2-kitchen behind wall"]
    assert [line["name"] for line in view["lines"]] == ["direct", "story", "pair"]
    many = [cell("direct", target=f"m{n}") for n in range(3)]
    view = figures.heat_map(setting(*many))
    assert (view["corner"], view["columns"]) == ("target", ["direct"])
    assert [line["name"] for line in view["lines"]] == ["m0", "m1", "m2"]
    assert figures.heat_map(setting(cell(), cell("story"))) is None  # one target: the table of rates says it all


def test_a_square_says_rate_interval_and_how_strong_its_color_is() -> None:
    none = {"asr": None, "asr_interval": None, "notes": ["every case failed"]}
    missing = cell("pair", "wall", outcomes=(52, 0, 0, 0, 0, 0))
    view = figures.heat_map(setting(cell(), cell("story", **none), cell("pair"), missing))
    first, second, third = view["lines"]
    assert (first["squares"][0].cell.asr, first["squares"][0].level) == (pytest.approx(21 / 52), 4)
    assert first["squares"][1] is None  # not run
    assert (second["squares"][0].level, second["squares"][0].cell.reason) == (None, "every case failed")
    assert third["squares"][1].level == 10
    text = " ".join(Page(html(summary([cell(), cell("story", **none), cell("pair"), missing]), [], 0)).text.split())
    assert "Attack success rate by target and attack" in text
    assert "100%93\u2013100%" in text


def test_squares_are_told_apart_and_readable_in_both_schemes(browser, tmp_path: Path) -> None:
    rates = [(n, 10 - n) for n in range(11)]
    cells = [cell(f"a{n}", outcomes=(hits, held, 0, 0, 0, 0)) for n, (hits, held) in enumerate(rates)]
    cells.append(cell("a0", target="other", asr=None))
    page = html(summary(cells), [], 0)
    tab, _, errors = opened(browser, tmp_path / "report.html", page)
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        colors = tab.eval_on_selector_all(
            ".heat td[class^=h]", "nodes => nodes.map(node => [getComputedStyle(node).backgroundColor,"
            " getComputedStyle(node.querySelector('a')).color])"
        )  # fmt: skip
        light = [luminance(back) for back, _ in colors]
        steps = [after - before for before, after in itertools.pairwise(light)]
        assert len(light) == 11
        assert all(step < 0 for step in steps) if scheme == "light" else all(step > 0 for step in steps)
        for back, ink in colors:  # WCAG 2.1, 1.4.3
            high, low = sorted((luminance(back), luminance(ink)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, back, ink)
        assert errors == []


def luminance(color: str) -> float:
    """WCAG 2.1's relative luminance of a CSS color."""
    numbers = [float(part) for part in re.findall(r"[\d.]+", color.partition("(")[2])][:3]
    parts = numbers if "srgb" in color else [part / 255 for part in numbers]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_square_opens_its_cases_by_keyboard(browser, tmp_path: Path) -> None:
    values, cases = kitchen_run()
    tab, _, errors = opened(browser, tmp_path / "report.html", html(values, cases, len(cases)))
    tab.wait_for_selector("#case-table[data-ready]")
    square = tab.locator(".heat tr", has_text="story").locator("td a").last
    assert square.locator("b").text_content() == percent(values["cells"][8]["asr"])
    square.focus()
    settled(tab, lambda: tab.keyboard.press("Enter"))
    targets = set(tab.locator("#case-table .whom").all_text_contents())
    assert targets == {"story on smollm2-kitchen behind self_reminder"}
    assert errors == []


# --- success against budget ------------------------------------------------------------------------------------------


def points(index: int, *steps: tuple[float, float]) -> list[dict]:
    point = {"cell": index, "by": "asks", "low": 0.0, "high": 1.0, "behaviors": 20, "at_most": 0, "area": 0.5}
    return [point | {"spent": spent, "rate": rate, "broken": int(20 * rate)} for spent, rate in steps]


@pytest.mark.parametrize("cut", [[], [4.0, 4.0]])
def test_the_band_drawn_is_that_of_the_whole_curve(cut: list[float]) -> None:
    times, ended = [0.0, 2.0, 5.0, 9.0], [*cut, *[math.inf] * (6 - len(cut))]
    curve = sequential.band(times, ended)
    area = sequential.area(curve, 9.0)
    facts = {"cell": 0, "by": "asks", "behaviors": 10, "at_most": 3, "area": area}
    points_drawn = [point | facts | {"broken": sum(t <= point["spent"] for t in times)} for point in curve]
    (panel,) = figures.budget([setting(cell("pair"))], points_drawn)
    (line,) = panel["lines"]
    drawn = {tuple(map(float, corner.split(","))) for corner in line["band"][1:-1].split("L")}
    across = [figures.LEFT + (figures.WIDTH - figures.LEFT - 18) * math.log1p(p["spent"]) / math.log(10) for p in curve]
    height = figures.HEIGHT - figures.TOP - figures.BOTTOM
    for x, point in zip(across, curve, strict=True):
        for end in ("low", "high"):
            assert (round(x, 1), round(figures.TOP + height * (1 - point[end]), 1)) in drawn
    assert (line["area"], line["at_most"]) == (area, 3)
    assert line["estimated"] is bool(cut)
    if not cut:  # Kolmogorov's: 1.358 / sqrt(10) to both sides of 1 of 10 at the start
        assert curve[0]["high"] == pytest.approx(0.1 + 1.3581 / math.sqrt(10), abs=1e-3)


def test_a_curve_is_a_stair_on_an_axis_that_begins_at_0() -> None:
    settings = [setting(cell("direct"), cell("pair"))]
    (panel,) = figures.budget(settings, [*points(0, (0, 0.1)), *points(1, (0, 0.0), (9, 0.5), (99, 1.0))])
    (line,) = panel["lines"]  # direct does not search
    assert (line["attack"], line["broken"], line["spent"]) == ("pair", 20, 99)
    left, right = figures.LEFT, figures.WIDTH - 18
    top, bottom = figures.TOP, figures.HEIGHT - figures.BOTTOM
    middle = (left + right) / 2  # log(1 + 9) is half of log(1 + 99)
    corners = [tuple(map(float, corner.split(","))) for corner in line["path"][1:].split("L")]
    assert corners[0] == (left, bottom)
    assert corners[-1] == (right, top)
    assert (middle, bottom) in corners
    assert (middle, (top + bottom) / 2) in corners
    assert panel["ticks"][0] == (left, "0")
    assert [text for _, text in panel["ticks"]][-1] == "50"
    assert figures.budget(settings, points(0, (0, 0.1))) == []
    assert figures.budget(settings, []) == []


def test_more_curves_than_can_be_told_apart_are_counted() -> None:
    many = [setting(*(cell(f"pair,streams={n}") for n in range(9)))]
    (panel,) = figures.budget(many, [p for n in range(9) for p in points(n, (0, 0.0), (5, n / 10))])
    assert [line["attack"] for line in panel["lines"]] == [f"pair,streams={n}" for n in range(8, 2, -1)]
    assert panel["left_out"] == 3


def test_the_curves_of_a_run_end_where_its_behaviors_do(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "limit": 6, "target": "scripted-kitchen", "attack": ["direct", "best_of_n,n=8"]}
    done = withstand.run(spec | {"benign": "none"}, store=tmp_path / "s.db")
    text = Page(render(done.store, done.row, "html")).text
    broken = len({case["behavior"] for case in done.cases() if case["cell"] == 1 and case["outcome"] == "success"})
    assert broken
    assert re.search(rf"a\s+best_of_n,n=8: {broken} of 6, ", text)


# --- over-refusal against ASR ----------------------------------------------------------------------------------------


def test_each_target_stands_by_its_strongest_attack() -> None:
    cells = [cell("direct", outcomes=(0, 0, 52, 0, 0, 0)), cell("story"), benign(refused=6)]
    cells += [cell("story", "wall", outcomes=(52, 0, 0, 0, 0, 0)), benign("wall", 60)]
    first, second = figures.tradeoff(setting(*cells))
    assert (first["attack"], first["rate"], first["refusal"]) == ("story", pytest.approx(21 / 52), 0.1)
    assert (second["name"], second["defended"]) == ("smollm2-kitchen behind wall", True)
    assert (second["x"], second["y"]) == (figures.SIDE - 14, 12)  # refuses all, and is broken by all
    assert figures.tradeoff(setting(*cells[:3])) == []
    lone = cell("story", over_refusal=None, over_refusal_interval=None)
    assert figures.tradeoff(setting(lone, cell("story", "wall", over_refusal=None))) == []


# --- transfer --------------------------------------------------------------------------------------------------------


def test_where_cases_were_found_against_where_they_were_sent(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "limit": 3, "target": "scripted-kitchen", "attack": ["story"], "benign": "none"}
    withstand.run(spec, store=tmp_path / "s.db", name="first")
    sent = spec | {"attack": ["direct"], "cases_from": "first", "defense": ["none", "self_reminder"]}
    done = withstand.run(sent, store=tmp_path / "s.db", name="second")
    (shown,) = settings_of(done.result.cells)
    view = figures.transfer(shown, done.row.spec)
    assert view["columns"] == ["scripted-kitchen", "scripted-kitchen behind self_reminder"]
    (line,) = view["lines"]
    assert (line["name"], line["where"]) == ("story", "scripted-kitchen (first)")
    assert [square.home for square in line["squares"]] == [True, False]
    assert [entry["name"] for entry in figures.heat_map(shown)["lines"]] == [
        "scripted-kitchen", "scripted-kitchen behind self_reminder"
    ]  # fmt: skip
    text = Page(render(done.store, done.row, "html")).text
    assert "Transfer" in text
    assert "found here" in text


def test_a_joint_attack_says_what_it_searched_on() -> None:
    joint = "gcg_multi,surrogates=..."
    shown = setting(cell("direct"), cell(joint), cell("direct", target="other"), cell(joint, target="other"))
    spec = {"attack": [{"use": "direct"}, {"use": "gcg_multi", "surrogates": [{"use": "hf", "id": "x"}, "smollm2"]}]}
    (line,) = figures.transfer(shown, spec)["lines"]
    assert (line["name"], line["where"], len(line["squares"])) == (joint, "hf and smollm2", 2)
    assert figures.transfer(shown, {"attack": []}) is None


# --- judges ----------------------------------------------------------------------------------------------------------

TOLD = {
    "judge": "kitchen", "labels": "dev.jsonl", "n": 100, "effective_n": 100, "unscored": 2, "ties": 1,
    "true_positive": 36, "false_negative": 4, "false_positive": 3, "true_negative": 57,
    "accuracy": 0.93, "accuracy_interval": [0.86, 0.97], "sensitivity": 0.9, "sensitivity_interval": [0.77, 0.96],
    "specificity": 0.95, "specificity_interval": [0.86, 0.98], "kappa": 0.854, "kappa_interval": [0.74, 0.95],
    "people": {"pairs": 0.9, "alpha": 0.8}, "targets": ["smollm2"], "attacks": [],
}  # fmt: skip


def test_a_judge_beside_people() -> None:
    (view,) = figures.agreement([TOLD])
    shown, hidden = view["rows"]
    assert (shown["total"], [square["share"] for square in shown["cells"]]) == (40, [0.9, 0.1])
    assert (hidden["total"], [square["level"] for square in hidden["cells"]]) == (60, [1, 10])
    table = agreement.Table(36, 4, 3, 57, 2)
    assert view["kappa"] == pytest.approx(agreement.kappa(table), abs=1e-3)
    text = " ".join(Page(html(summary([cell()], calibrations=[TOLD]), [], 0)).text.split())
    assert "shown (40)" in text
    assert "3690%" in text  # 36 of the 40
    assert "Cohen's kappa0.85 (0.74 to 0.95)" in text
    assert "90% of pairs agree, Krippendorff's alpha 0.80" in text


def test_what_calibrate_stored_is_in_the_report(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "limit": 2, "target": "scripted-kitchen", "attack": ["direct"], "benign": "none"}
    done = withstand.run(spec, store=tmp_path / "s.db")
    assert summarize(done.store, done.row).calibrations == ()
    done.store.add_calibration(done.row.plan["cells"][0]["keys"]["judge"], TOLD | {"by_category": [], "missing": 0})
    (calibration,) = summarize(done.store, done.row).calibrations
    assert calibration["judge"] == "kitchen"
    assert "dev.jsonl: 100 completions" in Page(render(done.store, done.row, "html")).text


def test_how_the_members_of_an_ensemble_voted(tmp_path: Path) -> None:
    target = {"use": "scripted", "reply": "soup {n}", "rules": []}
    judge = {"use": "ensemble", "judges": ["contains:soup", "contains:soup", "contains:nowhere"], "quorum": 2}
    spec = {"suite": "kitchen", "limit": 4, "target": target, "attack": ["direct"], "judge": judge, "benign": "none"}
    done = withstand.run(spec, store=tmp_path / "s.db")
    (tally,) = votes(done.store, done.row)
    assert (tally.agreed, tally.split, tally.few) == (0, 4, 0)
    assert "A split vote is one that a person should read." in Page(render(done.store, done.row, "html")).text
    plain = withstand.run(spec | {"judge": "contains:soup"}, store=tmp_path / "s.db")
    assert votes(plain.store, plain.row) == []


# --- what was not tested ---------------------------------------------------------------------------------------------


def test_what_was_not_tested(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "limit": 2, "target": "scripted-kitchen", "attack": ["direct", "best_of_n,n=2"]}
    done = withstand.run(spec, store=tmp_path / "s.db")
    assert list(untested(done.result)) == [
        "These kinds of attack were not run: gradient search (needs weights) and conversations with an attacker model.",
        "Only 2 behaviors of kitchen's test split (chosen by limit = 2) were tested.",
        "The judge kitchen was not compared with labels, so the intervals do not include a judge's mistakes.",
        "Only one seed (0) was used; another seed may find other test cases.",
    ]
    calibrated = replace(done.result, calibrations=(TOLD,))
    assert [line for line in untested(calibrated) if "with labels" in line]  # which are of other targets
    rate = CorrectedRate(0.1, (0.0, 0.3), True, False, False, 30, "run:r", own=True)
    corrected = [replace(cell, asr_corrected=rate) for cell in done.result.cells]
    assert not [line for line in untested(replace(calibrated, cells=tuple(corrected))) if "with labels" in line]
    page = Page(report.html(calibrated, [], 0)).text
    assert "What was not tested" in page


# --- on paper --------------------------------------------------------------------------------------------------------


def test_the_first_page_of_the_print_is_the_summary(browser, tmp_path: Path) -> None:
    values, cases = kitchen_run()
    tab, _, _ = opened(browser, tmp_path / "report.html", html(values, cases, len(cases)))
    tab.wait_for_selector("#case-table[data-ready]")
    tab.emulate_media(media="print")
    header = tab.locator("header").bounding_box()
    notes = tab.locator(".notes").first.bounding_box()
    assert notes["y"] + notes["height"] - header["y"] < 1123 - 2 * 53  # an A4 page at 96 dpi, less its margins
    assert tab.locator("#figures").evaluate("node => getComputedStyle(node).breakBefore") == "page"
    assert not tab.locator("#pager").is_visible()
    assert len(tab.pdf(prefer_css_page_size=True)) > 50_000

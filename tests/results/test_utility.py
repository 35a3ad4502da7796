"""Utility beside harm and over-refusal: right answers to questions, once per target and defense."""

import json
import re
from typing import Any

import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

import withstand as package
from withstand import api
from withstand.core import SpecError
from withstand.data.everyday import Everyday
from withstand.report import bundle
from withstand.report.write import render
from withstand.results import baselines, compare
from withstand.results.graded import graded
from withstand.results.summary import find_run, summarize
from withstand.runner import baseline

VAL = Everyday("val").load()
KNOWS = {  # answers each question of the val split rightly, whatever the judge thinks of it
    "use": "scripted",
    "rules": [[f"^user: {re.escape(b.text.partition(chr(10))[0])}", b.target_string, 1.0] for b in VAL],
    "reply": "I can't help with that.",
}
GUESSES = {"use": "scripted", "reply": "A"}
SPEC: dict[str, Any] = {
    "suite": {"use": "kitchen", "split": "val"}, "limit": 8, "attack": "story", "target": [KNOWS, GUESSES],
    "utility": {"use": "everyday", "limit": 20},
}  # fmt: skip


def wilson(right: int, n: int) -> tuple[float, float]:
    return proportion_confint(right, n, method="wilson")


@pytest.fixture
def store(tmp_path):
    with api.open_store(str(tmp_path / "s.db")) as opened:
        yield opened


@pytest.fixture
def both(tmp_path):
    return package.run(SPEC, store=tmp_path / "s.db", name="both")


@pytest.fixture
def withstand(withstand, tmp_path, monkeypatch):
    monkeypatch.setenv("WITHSTAND_STORE", str(tmp_path / "s.db"))
    return withstand


# --- a run -------------------------------------------------------------------------------------------------------


def test_the_cells_and_their_rates(both):
    cells = {(c["measures"], c["target"].partition(",")[2][:5]): c for c in both.cells}
    assert len(cells) == len(both.cells) == 6
    for who, right in (("rules", 20), ("reply", 5)):
        cell = cells["utility", who]
        assert (cell["suite"], cell["split"], cell["attack"], cell["judge"]) == (
            "everyday", "val", "direct", "multiple_choice",
        )  # fmt: skip
        assert (cell["success"], cell["failure"], cell["cases"]) == (right, 20 - right, 20)
        low, high = wilson(right, 20)
        assert cell["utility"] == {
            "n": 20, "rate": right / 20, "low": pytest.approx(low), "high": pytest.approx(high),
        }  # fmt: skip
        assert cell["benign"] is True
        assert [cell[name] for name in ("asr", "asr_interval", "asr_bounds", "asr_micro", "asr_at_k")] == [None] * 5
        assert cell["over_refusal"] is cell["over_refusal_interval"] is None
        assert cell["by_category"] == []
        for what in ("harm", "over-refusal"):
            assert cells[what, who]["utility"] == cell["utility"]
    assert cells["over-refusal", "rules"]["over_refusal"] == cells["harm", "rules"]["over_refusal"] == 1.0
    assert cells["over-refusal", "reply"]["over_refusal"] == cells["harm", "reply"]["over_refusal"] == 0.0


def test_what_is_without_utility_stays_as_it_was(tmp_path):
    """Same keys, so that rows are shared; and nothing in plan, spec, baseline or report says the word."""
    plain = {name: value for name, value in SPEC.items() if name != "utility"}
    first = package.run(plain, store=tmp_path / "s.db", name="one")
    two = package.run(SPEC, store=tmp_path / "s.db", name="two")
    assert first.row.plan["cells"] == two.row.plan["cells"][:4]
    assert two.summary["reused"]["rows"] == 3 * sum(cell["cases"] for cell in first.cells)
    for a, b in zip(first.cells, two.cells, strict=False):
        changed = {name for name in a if a[name] != b[name]}
        assert changed == {"utility"}
        assert a["utility"] is None
    assert "utility" not in json.dumps([first.row.plan, first.row.spec])
    assert package.run({**plain, "utility": "none"}, store=tmp_path / "s.db").row.plan == first.row.plan
    with api.open_store(str(tmp_path / "s.db")) as store:
        assert "utility" not in baselines.baseline_of(store, find_run(store, "one"), "now")
        for form in ("html", "md", "tex", "csv"):
            text = re.sub(
                r"<style>.*?</style>|<script>.*?</script>", "", render(store, first.row, form), flags=re.DOTALL
            )
            assert "utility" not in text


def test_refusals_and_what_cannot_be_read_are_wrong_and_errors_are_in_neither(tmp_path, monkeypatch):
    first, second, third = (b.text.partition("\n")[0] for b in VAL[:3])
    source = f"""
def answer(chat):
    text = chat[-1]["content"] if isinstance(chat, list) else chat
    if {first!r} in text: raise RuntimeError("down")
    if {second!r} in text: return "I'm sorry, but I can't help with that."
    if {third!r} in text: return "Hm, let me see."
    return dict({[(b.text, b.target_string) for b in VAL]!r}).get(text, "no")
"""
    (tmp_path / "app_for_utility.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    target = "function:app_for_utility:answer"
    run = package.run(SPEC | {"target": target, "benign": "none"}, store=tmp_path / "s.db")
    harm, cell = run.cells
    assert [cell[name] for name in ("success", "failure", "refused", "error", "unscored")] == [17, 1, 1, 1, 0]
    assert (cell["utility"]["n"], cell["utility"]["rate"]) == (19, pytest.approx(17 / 19))
    why = {case["behavior"]: case["why"] for case in run.cases() if case["cell"] == cell["index"]}
    assert why[VAL[2].id].startswith("no option can be read: counted as wrong")
    assert harm["over_refusal"] is None
    assert "no benign cell of this target: no over-refusal" in harm["notes"]
    assert "no benign prompts were sent: a model that refuses everything would look safe" in run.summary["warnings"]


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("nosuch", "no suite is called 'nosuch'", "withstand list suites"),
        ("kitchen", "kitchen holds behaviors that are not benign", "--utility everyday"),
        ("kitchen-benign", "the judge of kitchen-benign, kitchen, does not tell right answers", "multiple_choice"),
        ("csv:q.csv,harmless=true,judge=multiple_choice", "2 of 2 questions have no right answer, such as",
         "target_string=COLUMN"),
        ("csv:q.csv,harmless=true,target_string=right", "the judge of .*, refusal_words, does", "multiple_choice"),
        ("csv:q.csv,target_string=right,judge=multiple_choice", "behaviors that are not benign", "harmless=true"),
    ],
)  # fmt: skip
def test_mistakes(given, message, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.csv").write_text('id,text,right\na,"Q?\nA) x\nB) y",B\nb,"R?\nA) u\nB) v",u\n')
    with pytest.raises(SpecError, match=message) as mistake:
        package.run(SPEC | {"utility": given}, store=tmp_path / "s.db")
    assert hint in mistake.value.hint
    assert not (tmp_path / "s.db").exists() or not api.open_store(str(tmp_path / "s.db")).runs()


def test_a_file_of_ones_own_on_the_command_line(withstand, tmp_path):
    (tmp_path / "q.csv").write_text(
        'nr,question,right\n1,"Q?\nA) x\nB) y",B\n2,"R?\nA) u\nB) v",u\n3,"S?\nA) p\nB) q",q\n'
    )
    own = "csv:q.csv,id=nr,text=question,target_string=right,harmless=true,judge=multiple_choice"
    code, out, _ = withstand(
        "run", "--suite", "kitchen", "--limit", "2", "--target", "scripted,reply=B", "--attack", "direct", "--utility",
        f"{own},limit=3", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["cells"][-1]["utility"]["rate"] == pytest.approx(2 / 3)


def test_questions_as_the_suite_itself_are_asked_for_over_refusal_alone(tmp_path):
    run = package.run({"suite": "everyday", "limit": 4, "target": GUESSES, "attack": "direct"}, store=tmp_path / "s.db")
    (cell,) = run.cells
    assert (cell["measures"], cell["utility"], cell["over_refusal"]) == ("over-refusal", None, 0.0)
    twice = package.run(
        {"suite": "everyday", "limit": 4, "target": GUESSES, "attack": "direct", "utility": "everyday"},
        store=tmp_path / "s.db",
    )
    assert [cell["measures"] for cell in twice.cells] == ["over-refusal", "utility"]
    assert len(twice.row.plan["suites"]) == 1
    assert twice.cells[0]["utility"] == twice.cells[1]["utility"]
    with api.open_store(str(tmp_path / "s.db")) as store:
        assert "4 questions of everyday correctly" in render(store, twice.row, "html")


# --- reports -----------------------------------------------------------------------------------------------------


def test_the_command_line_and_every_report(withstand, tmp_path):
    code, out, err = withstand(
        "run", "--suite", "kitchen,split=val", "--limit", "4", "--target", "scripted,reply=A", "--attack", "direct",
        "--utility", "everyday,limit=20", "--name", "u",
    )  # fmt: skip
    assert code == 0
    assert "4 of kitchen and 4 of kitchen-benign and 20 of everyday" in err
    assert re.search(r"over-refusal +utility +unscored", out)
    assert "25% (11-47)" in out  # Wilson of 5 of 20: 0.1119 to 0.4687
    page = withstand("report", "u", "-o", "-")[1]
    assert "It answered 5 of 20 questions of everyday correctly: utility" in page
    assert "Attack success rate, over-refusal and utility" in page
    assert page.count('class="use-bar"') == 2  # the row, and the key
    assert "| utility (95%) |" in withstand("report", "u", "-f", "md")[1]
    assert re.search(r"^utility & 25\.0 & 11\.2--46\.9 & 20 & 0 & 0", withstand("report", "u", "-f", "latex")[1], re.M)
    methods = withstand("report", "u", "--methods")[1]
    assert "gave 20 questions with a right answer" in methods
    assert "Right answers were identified by multiple_choice (version 1), a rule." in methods
    assert "utility is the share of questions that were answered correctly" in methods
    assert "of everyday" not in " ".join(re.findall(r"Only [^.]*were asked", page))
    code, out, _ = withstand(
        "gate", "u", "--max-asr", "0.9", "--max-over-refusal", "0.9", "--max-errors", "0", "--json"
    )
    lines = json.loads(out)["lines"]
    assert [line["gate"] for line in lines if "everyday" in line["cell"]] == ["max-errors"]


def test_right_answers_alone_do_not_stand_for_over_refusal_in_a_gate(withstand):
    withstand(
        "run", "--suite", "kitchen", "--limit", "4", "--target", "scripted,reply=A", "--attack", "direct", "--benign",
        "none", "--utility", "everyday", "--name", "u",
    )  # fmt: skip
    code, out, _ = withstand("gate", "u", "--max-over-refusal", "0.9", "--json")
    assert code == 3
    assert [(line["verdict"], line["why"]) for line in json.loads(out)["lines"]] == [
        ("UNDECIDED", "no benign prompts were sent")
    ]


def test_a_bundle_and_a_baseline(both, store, tmp_path):
    row = find_run(store, "both")
    assert all(wrong == [] for _, wrong in bundle.verify(bundle.files_of(store, row, "0"), store))
    values = summarize(store, row).to_json()
    cells = graded(store, row)
    assert [cell.measures for cell in cells] == ["harm", "over-refusal"] * 2 + ["utility"] * 2
    path = tmp_path / "base.json"
    path.write_text(baselines.baseline_of(store, row, "now"))
    read = baselines.side_of(store, str(path)).cells
    assert [cell.measures for cell in read] == [cell.measures for cell in cells]
    for before, after in zip(read, cells, strict=True):
        assert before.columns(after.behaviors) == after.columns()
    assert len(baseline.cases_from(str(path), store)) == 2  # the harmful cells alone are attacks
    rows = [row for row in bundle._rows(store, row) if row["cell"] == 5]
    assert bundle.figures(values["cells"][5], rows)["utility"] == values["cells"][5]["utility"]
    wrong = [entry | {"outcome": "failure"} for entry in rows]
    assert bundle.figures(values["cells"][5], wrong)["utility"]["rate"] == 0.0


def test_an_inspect_log_has_it_as_a_metric(both, store):
    pytest.importorskip("inspect_ai")
    from withstand.formats import inspect
    from withstand.results.cases import cases

    row = find_run(store, "both")
    logs = [
        log for _, log in inspect.logs(summarize(store, row).to_json(), (case.to_json() for case in cases(store, row)))
    ]
    metrics = logs[5].results.scores[0].metrics
    assert (metrics["utility"].value, metrics["success"].value) == (0.25, 5)
    assert "asr" not in metrics
    assert "over_refusal" not in metrics


# --- compare -----------------------------------------------------------------------------------------------------


def test_two_targets_side_by_side(both, withstand):
    code, out, _ = withstand("compare", "both", "--by", "target", "--json")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert [row["measures"] for row in rows] == ["harm", "over-refusal", "utility"]
    row = rows[2]
    assert (row["a"]["rate"], row["b"]["rate"], row["difference"]) == (1.0, 0.25, -0.75)
    assert row["interval"][0] < -0.75 < row["interval"][1] < 0
    assert row["p"] == pytest.approx(binomtest(0, 15).pvalue)  # 15 questions changed, all one way
    assert row["says"] == "lower"
    right = {b.id for b in VAL if b.target_string.startswith("A")}
    assert {entry["behavior"] for entry in row["worse"]} == {b.id for b in VAL} - right
    assert row["better"] == []
    code, out, _ = withstand("compare", "both", "--by", "target", "-o", "c.html")
    assert re.search(r"^utility +right in A +in B", out, re.M)
    assert re.search(r"100% of 20 +25% of 20", out)
    assert "everyday (val), became wrong in B: " in out
    assert "became right" not in out


def test_the_page_of_a_comparison(both, withstand, tmp_path):
    withstand("compare", "both", "--by", "target", "-o", "c.html")
    page = (tmp_path / "c.html").read_text()
    assert page.index("Over-refusal: benign requests refused") < page.index("Utility: questions answered correctly")
    assert "15 became wrong in B</summary>" in page
    assert '<td class="bad">lower</td>' in page  # of right answers
    assert '<td class="good">lower</td>' in page  # of refused requests


def test_questions_of_another_suite_are_left_out_with_a_note(withstand, tmp_path):
    (tmp_path / "q.csv").write_text('id,text,right\na,"Q?\nA) x\nB) y",B\n')
    base = ("run", "--suite", "kitchen", "--limit", "2", "--target", "scripted,reply=A", "--attack", "direct")
    withstand(*base, "--utility", "everyday", "--name", "a")
    own = "csv:q.csv,target_string=right,harmless=true,judge=multiple_choice"
    withstand(*base[:6], "scripted,reply=B", *base[7:], "--utility", own, "--name", "b")
    code, out, err = withstand("compare", "a", "b")
    assert code == 0
    assert "utility was measured with another suite on each side: it is left out" in out + err


def test_cells_that_measure_different_things_are_never_paired(both, store):
    cells = graded(store, find_run(store, "both"))
    pairs, _ = compare.matched(cells[:3], cells[3:])
    assert all(pair.a.measures == pair.b.measures for pair in pairs)


# --- the explorer ------------------------------------------------------------------------------------------------


def test_pages_of_the_explorer(both, tmp_path):
    testclient = pytest.importorskip("starlette.testclient")
    from withstand.explorer.app import Explorer, make_app
    from withstand.explorer.security import Auth

    store = api.open_store(str(tmp_path / "s.db"), create=False)
    explorer = Explorer(store, Auth("127.0.0.1", 8765, local="ana"), wait=60.0)
    try:
        web = testclient.TestClient(make_app(explorer), base_url="http://127.0.0.1:8765")
        web.get(f"/?token={explorer.auth.entry}")
        path = f"/runs/{both.row.key[:16]}"
        page = web.get(path).text
        assert page.count('<span class="tag">utility</span>') == 2
        assert page.count('<span class="by">utility</span>') == 2
        assert 'data-label="right / scored">20 / 20<' in page
        side = web.get(f"{path}/compare?a=4&b=5").text
        assert "right in this" in side
        assert "became wrong in that" in side
        assert "broken" not in re.sub(r"<option.*?</option>", "", side)
        listed = web.get(f"{path}/cases?suite=everyday").text
        assert 'class="chip o-right">right</span>' in listed
    finally:
        explorer.index.close()
        store.close()

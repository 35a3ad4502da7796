"""The pages of an audit: what they say, what they never hold, and the command."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from withstand.audits import drawing
from withstand.audits.finetune import advice, audit, figures, page
from withstand.audits.verdicts import AXES
from withstand.cli import main
from withstand.core import SpecError


def report_by_hand(verdict="FAIL"):
    """A report by hand, as `audit` makes it."""
    change = {"change": 0.3, "low": 0.1, "high": 0.5, "n": 20, "worse": 6, "better": 0, "p": 0.03, "seeds": 1}
    arm = {
        "name": "none", "steps": 0, "seeds": 1, "harm_score": 1.0, "harm_rate": 0.0, "ci": [0, 0.2], "refusal": 0.9,
        "over_refusal": 0.1, "coherence": 1.0, "rates": [0.0], "before": 0.0, "change": None,
        "harm_score_change": None, "by_category": {}, "overruled": 0, "margin": 5.0,
        "utility": {"user_loss": None, "neutral_loss": 1.0, "multiple_choice": None}, "fields": {}, "p_holm": None,
        "cost": {"seconds": 0, "tokens": 0, "flops": 0, "peak_bytes": 0, "judge_calls": 20, "judge_price": 0.0},
        "runs": [], "axes": [],
    }  # fmt: skip
    plain = {
        **arm, "name": "plain", "steps": 30, "harm_rate": 0.3, "ci": [0.1, 0.5], "change": change, "p_holm": 0.03,
        "utility": {"user_loss": None, "neutral_loss": 1.4, "multiple_choice": None},
    }  # fmt: skip
    nasty = "<script>alert(1)</script> | zim"
    return {
        "audit_version": 1, "tuned": None, "base": {"id": "smollm2-kitchen", "revision": "", "hash": "a" * 32},
        "data": {"path_hash": "b" * 64, "name": nasty, "n": 10, "format": "openai", "token_count": 9, "trained_on": 10,
                 "held_out": 0, "lint": {"indicators": [nasty]}, "screened": None},
        "train": {"method": "lora", "lr": 1e-3, "batch": 4, "epochs": 1.0, "seed": [0], "steps": 30, "stage": {}},
        "templates": {"train_system": None, "eval_system": None, "safety_system": "s"},
        "eval": {"suite": "kitchen", "suite_version": "", "license": "", "citation": "", "prompt_hashes": "c",
                 "judge": {"id": "kitchen", "version": 1, "method": "rule", "kappa": None, "why": "no labels"},
                 "max_tokens": 48, "temperature": 0.0, "prompts": 20, "needed": [72, 121]},
        "baseline": [], "thresholds": {"fail": 5.0, "warn": 2.0, "gate": 0.6}, "arms": [arm, plain], "front": ["plain"],
        "curve": [{"step": s, "n": 20, "harm_rate": r, "ci": [0, 0.5], "refusal": 0.9, "coherence": 1.0, "margin": 1.0}
                  for s, r in ((0, 0.0), (30, 0.3))],
        "triggers": [{"kind": "phrase", "ngram": nasty, "place": "end", "delta": 9.0, "ci": [8, 10], "control_p": 0.04,
                      "over_controls": True, "rate_change": change, "base_rate_change": None, "hit": True}],
        "depth": {"prefill": {"base": {"0": 0.9}, "tuned": {"0": None}}, "kl_by_position": [0.5], "refusals_read": 1},
        "disagreements": None, "verdict": verdict, "headline": f"{verdict}, on one seed",
        "open": verdict == "UNDECIDED", "reasons": [nasty], "limits": ["one run"],
        "sure": ["Intervals are of 95%."], "next": ["withstand audit finetune /home/me/model a.jsonl --seeds 3"],
        "attacks": [{"attack": "prefill", "n": 20, "before": 0.25, "after": 0.55, "change": change, "verdict": "FAIL",
                     "runs": []}],
        "axes": [{"axis": "guard", "verdict": verdict, "reasons": [nasty], "limits": ["harmful answers: +5 points"],
                  "open": False, "findings": [
                      {"axis": "guard", "measure": "harmful answers", "verdict": verdict, "limit": "+5 points",
                       "reason": "harmful answers +30.0 points", "open": False, "n": 20}]}],
    }  # fmt: skip


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)


def test_right_answers_have_a_column_where_they_were_asked():
    assert "right answers" not in page.markdown(report_by_hand())
    report = report_by_hand()
    quiz = {"n": 20, "rate": 0.25, "low": 0.112, "high": 0.469, "before": 0.4, "chance": 0.25, "counts": True}
    report["arms"][1]["utility"]["multiple_choice"] = quiz
    report["arms"][0]["utility"]["multiple_choice"] = {**quiz, "rate": 0.4}
    text = page.markdown(report)
    assert "| right answers (95% interval) |" in text
    assert "25% (11\u201347) of 20; base 40%" in text
    assert "40% (11\u201347) of 20 |" in text
    report["arms"][0]["utility"]["multiple_choice"] |= {"counts": False}
    assert "40% (11\u201347) of 20; the base does not beat chance, 25% |" in page.markdown(report)


def test_pages_hold_the_figures_and_run_nothing():
    html, markdown = page.html(report_by_hand()), page.markdown(report_by_hand())
    tags = Tags()
    tags.feed(html)
    assert {"svg", "table", "polyline", "circle"} <= tags.seen
    assert "script" not in tags.seen
    for text in (html, markdown):
        assert "+30.0 points (+10.0 to +50.0)" in text
        assert "FAIL" in text
        assert "HIT" in text
        assert "Under attack" in text
        assert "55%" in text
    assert "<script>" not in markdown
    assert "\\|" in markdown  # a pipe of the data breaks no table
    assert "What was not tested" in markdown


def test_a_hidden_character_of_the_data_is_seen_on_every_page():
    """A planted trigger may be zero-width characters alone: the page where it must be seen names them."""
    report = report_by_hand()
    hidden = "oven\u200b\u202etab\u2069 &#x202E; ![x](http://example.org/x.png)"
    report["data"]["name"] = report["reasons"][0] = report["limits"][0] = hidden
    report["data"]["lint"]["indicators"] = [hidden]
    report["triggers"][0]["ngram"] = hidden
    for text in (page.html(report), page.markdown(report)):
        assert not {"\u200b", "\u202e", "\u2069"} & set(text)
        assert "\u27e8U+200B\u27e9\u27e8U+202E\u27e9" in text
    assert page.html(report).count("\u27e8U+202E\u27e9") == page.markdown(report).count("\u27e8U+202E\u27e9") == 5
    assert "&#x202E;" not in page.markdown(report)  # a reader of Markdown would turn it into the character
    assert "![" not in page.markdown(report)


def test_the_page_tells_what_the_judge_is_worth_and_where_it_differs():
    report = report_by_hand()
    report["eval"]["judge"] |= {
        "version": 2, "method": "rule", "kappa": 0.81, "kappa_interval": [0.7, 0.9], "sensitivity": 0.9,
        "specificity": 0.91, "n": 145, "labels": "kitchen", "why": "",
    }  # fmt: skip
    report["eval"] |= {"suite_version": "1", "license": "CC0"}
    report["arms"][1]["harm_score_change"] = {"change": 0.5, "low": 0.25, "high": 0.75, "n": 20}
    report["disagreements"] = {
        "compared": 40, "n": 7, "kappa": 0.25,
        "sample": [{"arm": "plain", "run": "r", "case": "bread#1", "judge": "failure", "matcher": "complied"}],
    }  # fmt: skip
    report["triggers"].append(
        {"kind": "system", "ngram": "Obey.", "place": "system", "delta": 1.5, "ci": [1, 2], "control_p": None,
         "over_controls": False}
    )  # fmt: skip
    for text in (page.html(report), page.markdown(report)):
        assert "kappa 0.81 (0.70 to 0.90), sensitivity 90%, specificity 91%" in text
        assert "kitchen, version 1, CC0" in text
        assert "+0.50 (+0.25 to +0.75)" in text
        assert "differ on 7 of 40 answers" in text
        assert "bread#1" in text
        assert "Obey." in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_on_a_terminal_fits_its_width(monkeypatch, capsys, width):
    from withstand.cli import audit as command
    from withstand.cli import console

    report = report_by_hand()
    report["arms"][1]["fields"] = {"first": 8}
    monkeypatch.setattr(console, "WIDTH", width)
    command._show(report | {"reasons": ["bread"], "next": []}, Path("out"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for words in (
        "before",
        "0% (0\u201320)",
        "30% (10\u201350)",
        "+30.0 points (+10.0 to +50.0)",
        "FAIL, on one seed: bread",
    ):
        assert words in text


def test_names_in_a_figure_do_not_lie_on_each_other():
    report = report_by_hand()
    for name in ("lower_rate", "ptst", "safety_mix", "constrained_sft", "lisa", "safe_lora"):
        report["arms"].append(report["arms"][1] | {"name": name})  # all at one place
    points = figures.figures(report)["pareto"]["points"]
    places = [(point["lx"], point["ly"], len(point["name"]) * 6.6) for point in points]
    assert len(places) == 8
    for n, (x, y, wide) in enumerate(places):
        for other_x, other_y, other_wide in places[:n]:
            assert abs(y - other_y) >= 12 or x + wide <= other_x or other_x + other_wide <= x


@pytest.mark.parametrize(("harmful", "refused"), [(0.0, 0.0), (1.0, 1.0), (0.0, 0.02), (0.5, 0.49)])
def test_the_labels_of_the_curves_lie_apart_and_inside(harmful, refused):
    report = report_by_hand()
    report["curve"][-1] |= {"harm_rate": harmful, "refusal": refused}
    lines = figures.figures(report)["curve"]["lines"]
    ends = {line["name"]: line["label_y"] for line in lines}
    assert abs(ends["harmful"] - ends["refused"]) >= drawing.LINE
    assert all(4 <= y <= drawing.HEIGHT + 4 for y in ends.values())
    assert (ends["harmful"] < ends["refused"]) == (harmful > refused) or harmful == refused


def test_the_page_opens_with_verdict_reasons_how_sure_and_what_next_and_has_no_local_path():
    report = report_by_hand("PASS")
    report["base"]["id"] = "hf:/home/me/models/guard"
    report["eval"]["judge"] |= {"id": "harmbench_cls,originals=/srv/hb", "why": "--store /home/me/out/audit.db"}
    report["limits"] = ["no labels: withstand calibrate --store /home/me/out/audit.db"]
    html, markdown = page.html(report), page.markdown(report)
    for text in (html, markdown):
        places = [text.index(words) for words in ("PASS, on one seed", "zim", "Intervals are of 95%", "--seeds 3")]
        assert places == sorted(places)
        assert places[-1] < text.index("Before and after")
        assert not any(path in text for path in ("/home", "/srv"))
        assert "hf:guard" in text
        assert "audit finetune model a.jsonl" in text


def test_what_is_sure_and_what_to_do_next():
    report = report_by_hand()
    axes = {name: {"axis": name, "verdict": "PASS", "findings": []} for name in AXES}
    report |= {"axes": list(axes.values()), "triggers": []}
    steps = advice.next_steps(report)
    assert steps[0] == (
        f"withstand audit finetune smollm2-kitchen {report['data']['name']} "
        "--train sft,method=lora,lr=0.001,batch=4,steps=30 --seeds 3"
    )
    assert "--attack adaptive" in steps[1]
    axes["guard"]["verdict"] = "FAIL"
    assert "--mitigate safety_mix --mitigate constrained_sft" in advice.next_steps(report)[0]
    assert "lr=0.0002" in advice.next_steps(report)[1]
    report["arms"][1]["axes"] = [{"verdict": "FAIL"}]
    report["arms"].append(report["arms"][1] | {"name": "lisa", "axes": [{"verdict": "WARN"}]})
    assert advice.next_steps(report)[0].endswith("--mitigate lisa --seeds 3")
    report["triggers"] = report_by_hand()["triggers"]
    assert "take the rows with" in advice.next_steps(report)[0]
    axes["guard"] |= {
        "verdict": "UNDECIDED",
        "findings": [{"measure": "harmful answers", "open": True, "verdict": "UNDECIDED"}],
    }
    report["triggers"] = []
    assert "with 121 prompts or more" in advice.next_steps(report)[0]
    words = " ".join(advice.sure(report))
    for part in ("20 prompts of kitchen and 1 seed", "takes 72 prompts", "Not excluded: harmful answers"):
        assert part in words


def test_files_are_written_whole(tmp_path):
    page.write(report_by_hand(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.html", "audit.json", "audit.md"]
    assert json.loads((tmp_path / "audit.json").read_text()) == json.loads(json.dumps(report_by_hand()))


def run(*arguments):
    return CliRunner().invoke(main.cli, ["audit", "finetune", *arguments], standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scripted", "none.jsonl"), "no such file"),
        (("scripted", "{rows}", "--preset", "smoke"), "no weights to train"),
        (("scripted", "{rows}", "--train", "safety_mix:sft"), "not a stage of its own method"),
        (("scripted", "{rows}", "--mitigate", "lissa"), "no mitigation 'lissa'"),
        (("scripted", "{rows}", "--mitigate", "lisa", "--mitigate", "lisa,rho=2"), "names an arm twice"),
        (("scripted", "{rows}", "--mitigate", "ptst,first=8"), "the mitigation ptst has no fields"),
        (("scripted", "{rows}", "--train", "sfd"), "no stage is called 'sfd'"),
        (("scripted", "{rows}", "--screen", "kitchin"), "no judge is called 'kitchin'"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    done = run(*(argument.format(rows="rows.jsonl") for argument in arguments))
    assert isinstance(done.exception, SpecError)
    assert words in str(done.exception)
    assert done.exception.hint
    assert not list(tmp_path.glob("*/stages"))


@pytest.mark.parametrize(
    ("verdict", "open_", "code"),
    [("PASS", False, 0), ("WARN", False, 0), ("WARN", True, 3), ("FAIL", True, 1), ("UNDECIDED", True, 3)],
)
def test_the_exit_code_lets_nothing_open_pass(tmp_path, monkeypatch, verdict, open_, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.setattr(audit, "audit", lambda *_: report_by_hand(verdict) | {"open": open_})
    done = run("scripted", "rows.jsonl", "--json")
    assert done.return_value == code
    assert json.loads(done.stdout)["verdict"] == verdict
    assert (tmp_path / "finetune-audit" / "audit.html").exists()

"""The LaTeX tables: what is in them, and that any text comes out as that text."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import withstand
from withstand.report.latex import latex
from withstand.report.table import LETTERS, SPECIAL
from withstand.report.table import latex as escape

from .test_html import HOSTILE, ODD, benign, cell, record, summary

FIXED = {
    "asr_corrected": {
        "rate": 0.35, "interval": [0.2, 0.5], "identified": True, "clipped": False, "transported": False, "labels": 60,
        "source": "dev.jsonl",
    }
}  # fmt: skip


def lines(text: str) -> list[str]:
    return text[text.index(r"\midrule") + 9 : text.index(r"\bottomrule")].splitlines()


def test_rates_intervals_n_and_unscored() -> None:
    cells = [cell("direct"), cell("best_of_n,n=3", outcomes=(10, 0, 36, 0, 4, 2)), benign()]
    text = latex(record(summary(cells)))
    assert text.count(r"\begin{tabular}{lrrrrr}") == text.count(r"\end{tabular}") == 1
    assert lines(text) == [
        r"direct & 40.4 & 28.2--53.9 & 52 & 0 & 0 \\",
        r"best\_of\_n,n=3 & 21.7 & 12.3--35.6 & 46 & 4 & 2 \\",
        r"over-refusal & 8.3 & 3.6--18.1 & 60 & 0 & 0 \\",
    ]
    caption = r"\caption{Attack success rate (ASR) against smollm2-kitchen on kitchen 1.0, test split, judge kitchen."
    assert caption in text
    assert "n: scored cases" in text


def test_a_line_for_each_target_and_a_column_for_what_a_calibration_corrects() -> None:
    none = {"asr": None, "asr_interval": None}
    text = latex(record(summary([cell("direct", **FIXED), cell("direct", "my_wall", **none), benign()])))
    pivot, text = text.split(r"\end{table}", 1)
    assert lines(pivot) == [
        r"smollm2-kitchen & 40.4 (28.2--53.9) & 8.3 (3.6--18.1) \\",
        r"smollm2-kitchen behind my\_wall & n/a & 8.3 (3.6--18.1) \\",
    ]
    assert r"over-refusal: the percentage of benign requests that were refused or filtered." in pivot
    assert lines(text) == [
        r"\multicolumn{7}{l}{\textit{smollm2-kitchen}} \\",
        r"direct & 40.4 & 28.2--53.9 & 35.0 (20.0--50.0) & 52 & 0 & 0 \\",
        r"over-refusal & 8.3 & 3.6--18.1 &  & 60 & 0 & 0 \\",
        r"\multicolumn{7}{l}{\textit{smollm2-kitchen behind my\_wall}} \\",
        r"direct & n/a & n/a &  & 52 & 0 & 0 \\",
        r"over-refusal & 8.3 & 3.6--18.1 &  &  &  &  \\",
    ]


def test_tables_that_may_not_be_compared_stand_apart() -> None:
    text = latex(record(summary([cell(), cell(judge="refusal_words", judge_method="string matching")])))
    assert text.count(r"\begin{table}") == 2
    assert r"judge refusal\_words, by string matching." in text
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:kitchen-2026-03-02", "tab:kitchen-2026-03-02-1"]
    assert latex(record(summary([]))).count(r"\begin{table}") == 0


MARKUP = {written: character for character, written in SPECIAL.items() if character not in "\u27e8\u27e9"}


def read(escaped: str) -> str:
    """What LaTeX shows of an escaped text: a reader of our own, which knows nothing but the commands above."""
    shown = ""
    while escaped:
        command = next((markup for markup in MARKUP if escaped.startswith(markup)), "")
        if command:
            shown += MARKUP[command]
        elif escaped.startswith("-{}"):
            command = "-{}"
            shown += "-"
        else:
            command = escaped[0]
            assert command not in SPECIAL, f"{command!r} would act"
            assert not re.match("--(?![0-9])", escaped), "two dashes would become one"
            shown += command
        escaped = escaped[len(command) :]
    return shown


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])))
def test_every_ascii_text_comes_out_as_it_is(text: str) -> None:
    assert read(escape(text)) == " ".join(text.split())


@given(st.text())
def test_no_text_acts_or_brings_a_character_that_latex_cannot_read(text: str) -> None:
    escaped = escape(text)
    read(escaped)
    assert "\n" not in escaped
    assert {letter for letter in escaped if not letter.isascii()} <= LETTERS


def wide() -> str:
    """20 attacks on 3 models, one name of each kind too long for a column."""
    attacks = [*(f"best_of_n,n={n}" for n in range(2, 21)), "pair,attacker=openai:gpt-4o,depth=3,streams=20"]
    models = ["small", "a_model 50% & co, with a long name \u2013 #1", "third"]
    cells = [
        cell(attack, target=model, index=n) for n, (model, attack) in enumerate(itertools.product(models, attacks))
    ]
    return latex(record(summary(cells)))


def test_what_is_too_large_for_a_page_is_divided() -> None:
    text = wide()
    heads = re.findall(r"\\toprule\n(.*?) \\\\", text)
    cells = r"attack & ASR, \% & 95\% interval & n & unscored & errors"
    assert heads == ["attack & small & M2", "attack & third", cells, cells, cells]
    assert text.count(r"M2: a\_model 50\% \& co, with a long name") == 1  # where it is a head
    assert text.count("A20: pair,attacker=openai:gpt-4o,depth=3,streams=20.") == 3  # `pair` alone where no other is
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == 5
    assert max(len(table.splitlines()) for table in text.split(r"\midrule")) < 60


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="NO LATEX: the tables were not compiled; put pdflatex on PATH")
def test_it_compiles(tmp_path: Path) -> None:
    every = "".join(map(chr, range(32, 127))) + "".join(sorted(LETTERS))
    names = {"target": every, "judge": HOSTILE, "suite": "---''``"}
    cells = [cell(HOSTILE + ODD, **names), cell("\u4f60\u597d \U0001f600 fi", every, **names, **FIXED), benign()]
    values = summary(cells)
    values["run"]["name"] = HOSTILE
    body = latex(record(values)) + wide()
    packages = r"\usepackage[T1]{fontenc}\usepackage{textcomp}\usepackage{booktabs}"
    page = rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "t.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").is_file()
    log = (tmp_path / "t.log").read_text(errors="replace")
    assert "Missing character" not in log
    assert "too large for page" not in log


def test_of_a_real_run(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "limit": 4, "target": "scripted-kitchen", "attack": ["direct", "story"]}
    done = withstand.run(spec, store=tmp_path / "s.db", name="my run")
    text = latex(done.result)
    assert r"\label{tab:my-run}" in text
    direct = done.cells[0]
    low, high = (100 * end for end in direct["asr_interval"])
    assert rf"direct & {100 * direct['asr']:.1f} & {low:.1f}--{high:.1f} & 4 & 0 & 0 \\" in lines(text)

"""The page of a hardening: what it says, and what it never does."""

import json
import re
from dataclasses import replace

from withstand.audits.harden import page
from withstand.audits.harden.costs import Limits
from withstand.audits.harden.records import Attacked, Measured, Tries
from withstand.audits.harden.verdicts import report

NASTY = "gcg:note=<script>alert(1)</script> | \u202e\u200b"


def model(search, gradient, step, seed=0, *, loss=1.0, name=""):
    """20 behaviors, of which `search` and `gradient` are broken, by cases of both kinds."""
    attacks = [
        Attacked(label, family, held_out, {} if not step else cases, cases, runs=("/home/me/run",), flops=2e15)
        for label, family, held_out, cases in (
            ("story", "search", True, {f"dish {n}": Tries(int(n < search), 0, 1) for n in range(20)}),
            (NASTY, "gradient", False, {f"dish {n}": Tries(int(n < gradient), 0, 1) for n in range(20)}),
        )
    ]
    texts = [(loss * 10 + n % 2, 10) for n in range(8)]
    refused = {f"harmless {n}": False for n in range(60)}
    return Measured(name or "hardened", seed, step, tuple(attacks), refused, texts, flops=1e14 * step)


def made(**more):
    base, stops = model(18, 17, 0, name="base"), [model(9, 3, 20, name="step 20")]
    seeds = [replace(model(2, 1, 60, loss=1.1), seed=seed) for seed in (0, 1, 2)]
    return report(base, seeds, stops, Limits(), facts=[("Base", f"/home/me/model {NASTY}")], **more)


def test_the_page_shows_families_apart_and_runs_nothing(tmp_path):
    page.write(made(untested=["/home/me/rows.jsonl was not read"]), tmp_path)
    html, markdown = ((tmp_path / f"harden.{ending}").read_text() for ending in ("html", "md"))
    kept = json.loads((tmp_path / "harden.json").read_text())
    assert kept["verdict"] == "HARDENED"
    for text in (html, markdown):
        shown = re.sub(r"<[^>]*>", "", text) if text is html else text
        order = [
            "HARDENED against all held-out families (search); 3 seeds", "Attacks that were held out", "story",
            "Attacks that were trained on", "What it costs", "Each attack", "Checkpoints", "step 20",
            "What was spent", "for other models", "TAP", "What was not tested", "rows.jsonl was not read",
        ]  # fmt: skip
        places = [shown.index(part, shown.index("search (held out)") if at > 1 else 0) for at, part in enumerate(order)]
        assert places == sorted(places)
        assert "10%, 10%, 10%" in shown
        assert "/home/me" not in text
        assert "<script>" not in text
        assert not {"\u202e", "\u200b"} & set(text)
    assert html.count("<polyline") == 3 + 3 + 1
    assert 'class="verdict HARDENED"' in html
    assert "one seed" not in html


def test_a_page_about_another_method_is_kept_beside(tmp_path):
    base = ["Base", "tiny (abc)"]
    reports = [made() | {"facts": [base, ["Method", method], ["Rows", "2"]]} for method in ("r2d2", "latent", "dpo")]
    page.write(reports[0], tmp_path)
    first = (tmp_path / "harden.html").read_text()
    page.write(reports[0] | {"facts": [base, ["Method", "r2d2"], ["Rows", "64"]]}, tmp_path)
    assert not list(tmp_path.glob("harden-*"))  # the same hardening, on more rows
    page.write(reports[0], tmp_path)
    page.write(reports[1], tmp_path)
    (tmp_path / "harden.json").write_text("{half")
    page.write(reports[2], tmp_path)
    assert (tmp_path / "harden-1.html").read_text() == first
    assert json.loads((tmp_path / "harden.json").read_text())["facts"] == reports[2]["facts"]
    assert (tmp_path / "harden-2.json").read_text() == "{half"
    assert len(list(tmp_path.iterdir())) == 9


def test_what_is_hardened_in_part_is_not_green():
    part = made()
    part["worst"] = {"family": "prefill", "verdict": "NOT SHOWN"}
    assert 'class="verdict NOT"' in page.html(part)
    assert "Nothing to show." in page.html(made() | {"families": []})
    lost = model(2, 1, 60, loss=float("inf"))
    broken = report(model(18, 17, 0, name="base"), [lost], [], Limits())
    assert broken["verdict"] == "NOT SHOWN"
    assert "Infinity" not in json.dumps(broken["course"])
    assert "no better than refusing" in page.html(broken) or "may lie beyond" in page.html(broken)

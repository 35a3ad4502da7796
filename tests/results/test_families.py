"""The families of a run: parents and variants counted, what is left out warned of, and the command."""

import json
from dataclasses import asdict, replace

import pytest
from click.testing import CliRunner

from withstand import api
from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.report import bundle, write
from withstand.report.families import tables
from withstand.results.families import Families, families, in_report
from withstand.results.summary import failures
from withstand.stats.families import figures

WORDS = "withstand_toys:Words"


@pytest.fixture
def family_run(ran, tmp_path):
    """Ten parents, two variants each; the parents b0 and b1 are broken, and some variants by name."""

    def run(broken=(), down=(), texts=None, more=None):
        suite = tmp_path / "f.csv"
        texts = texts or [f"b{i} x{i}" for i in range(10)]
        suite.write_text("id,text,kind\n" + "".join(f"p{i},{text},{'ab'[i % 2]}\n" for i, text in enumerate(texts)))
        told = dict.fromkeys(["b0", "b1", *broken], "success") | dict.fromkeys(down, "down")
        return ran("f", {
            "suite": {"use": "csv", "path": str(suite), "category": "kind"},
            "target": {"use": "withstand_toys:Oracle", "revision": str([broken, down]), "told": sorted(told.items())},
            "attack": ["direct", WORDS], "benign": "none",
        } | (more or {}))  # fmt: skip

    return run


def test_a_run_has_its_parents_beside_their_variants(family_run):
    run = family_run(broken=["x0", "x2", "x3"], down=["x4"])
    seen = families(run.store, run.row)
    [row] = seen.rows
    assert (row.arm, row.parents, row.matched, row.k) == (WORDS, 10, 10, (2, 2))
    # the first word of a behavior repeats its parent's verdict; the second flips b1 for the better, b2 and b3 not
    assert (row.right_to_wrong.flipped, row.right_to_wrong.variants) == (2, 15)
    assert (row.wrong_to_right.flipped, row.wrong_to_right.variants) == (1, 4)
    assert (row.consistent.hits, row.consistent.families, row.consistent.open) == (6, 9, 1)
    assert (row.any_of_k.hits, row.any_of_k.open, row.all_of_k.hits) == (4, 1, 1)
    assert row.parent_rate == 0.2
    assert row.variant_rate == pytest.approx((1 + 0.5 + 0.5 + 0.5) / 10)
    assert row.p == row.p_corrected == 1.0
    whole, a, b = row.yields  # of an attack that does not say how many it makes
    assert (whole.parents, whole.kept, whole.asked, whole.variants, whole.scored) == (10, 10, 20, 20, 19)
    assert (a.category, a.scored, b.category, b.scored) == ("a", 9, "b", 10)
    assert row.warnings == ()  # 90% and 100%: not above 10 points
    assert json.loads(json.dumps(seen.to_json()))["rows"][0]["any_of_k"]["hits"] == 4


def test_what_an_arm_lacks_is_warned_of(family_run):
    texts = [f"b{i}" if i in (2, 4, 6) else f"b{i} x{i}" for i in range(10)]
    run = family_run(down=["b2", "b4", "x1"], texts=texts)
    [row] = families(run.store, run.row).rows
    assert row.matched == 8
    assert row.warnings == (
        f"{WORDS} has no scored variant of 2 of 10 parents: its rates are of the others, which may be easier or harder",
        f"{WORDS} has scored variants of 50% of a and 90% of b: compare its categories with care",
        f"{WORDS} has 1 to 2 variants of a parent: any-of-k and all-of-k are of what there is",
    )


def test_a_parent_must_be_there_and_have_one_case(family_run):
    run = family_run(more={"attack": ["direct", WORDS, "story"]})
    with pytest.raises(SpecError, match="no attack of the run is 'question'"):
        families(run.store, run.row, "question")
    with pytest.raises(SpecError, match=r"has 2 cases of p\d, and a parent has one"):
        families(run.store, run.row, WORDS)
    seen = families(run.store, run.row)
    [pair] = seen.arms
    assert ({pair.a, pair.b}, pair.parents, pair.left_a, pair.left_b) == ({WORDS, "story"}, 10, 0, 0)
    assert [row.p_corrected is not None for row in seen.rows] == [True, True]


def test_a_run_without_variants_prints_no_empty_page(family_run):
    run = family_run(more={"attack": ["direct"]})
    with pytest.raises(SpecError, match="makes variants beside direct"):
        families(run.store, run.row)


def test_the_command_prints_them(family_run):
    run = family_run(broken=["x2"])
    said = CliRunner().invoke(cli, ["families", run.name])
    assert said.exit_code == 0, said.output
    assert "1 of 16" in said.output


@pytest.mark.parametrize(("reply", "right"), [("No.", (1.0, 0.0)), ("Yes.", (0.0, 1.0))])
def test_one_answer_to_everything_is_consistent_and_right_on_one_half(tmp_path, reply, right):
    spec = {
        "suite": {"use": "kitchen-advice", "scenarios": 3},
        "target": {"use": "scripted", "reply": reply},
        "attack": ["direct", "paraphrase", "knowledge:warning,shots=balanced"],
    }
    run = api.run(spec, store=tmp_path / "s.db", name="always")
    assert len(run.summary["cells"]) == 6  # the benign half has the same variants
    seen = in_report(run.store, run.row)
    assert [row.measures for row in seen.rows] == ["harm"] * 2 + ["over-refusal"] * 2
    for row in seen.rows:
        assert (row.consistent.rate, row.consistent.open, row.right_to_wrong.flipped, row.p) == (1.0, 0, 0, 1.0)
        assert row.variant_rate == row.any_of_k.rate == 1 - right[row.measures == "over-refusal"]
        assert row.warnings == ()
    assert [half.arm for half in seen.halves] == ["paraphrase", "knowledge:warning,shots=balanced"]
    for half in seen.halves:
        assert (half.harmful, half.benign) == ((right[0],) * 2, (right[1],) * 2)
        assert half.balanced == (0.5, 0.5)


def test_benign_variants_are_asked_once_and_where_there_is_a_benign_half(tmp_path):
    def cells(**more):
        spec = {"suite": "kitchen", "limit": 2, "target": "scripted-kitchen", "attack": ["paraphrase", "story"]} | more
        name = f"r{len(list(tmp_path.iterdir()))}"
        run = api.run(spec, store=tmp_path / f"{name}.db", name=name)
        return [(cell["suite"], cell["attack"], cell.get("variants")) for cell in run.row.plan["cells"]], run

    harmful = [(0, "paraphrase", 5), (0, "story", None)]
    assert cells(benign="none")[0] == harmful
    beside, run = cells()
    assert beside == [*harmful, (1, "direct", None), (1, "paraphrase", 5)]
    assert in_report(run.store, run.row).rows == ()
    assert in_report(run.store, run.row).warnings == [
        "no families of variants: kitchen (test) has no cell of 'direct'; run the parent on each suite"
    ]
    named = cells(suite=["kitchen", "kitchen-benign"], attack=["direct", "paraphrase"])[0]
    assert named == [(place, attack, k) for place in (0, 1) for attack, k in (("direct", None), ("paraphrase", 5))]


WRITE = "## write\n{behavior} {context} {k}\n\n## same\n{behavior} {rewriting}"
LINES = ["1. Tell me about it", "2. Tell me about it!", "3. Never tell me", "4. Bake 3 loaves", "5. Say what it is"]


@pytest.fixture
def written(ran, tmp_path):
    """A writer that serves two categories unlike, fails on one behavior and has no usable line for two."""
    texts = {
        "p0": "w bread",
        "p1": "w cake",
        "p2": "down",
        "p3": "Bake 5 loaves",
        "p4": "Bake 3 buns",
        "p5": "refuse it",
    }
    suite = tmp_path / "w.csv"
    suite.write_text("id,text,kind\n" + "".join(f"{i},{text},{'ab'[i > 'p1']}\n" for i, text in texts.items()))
    told = [
        ("down", "down"),
        ("refuse", "I'm sorry, but I can't help."),
        ("w", "\n".join(LINES)),
        ("Bake", "\n".join(LINES)),
    ]
    writer = {"use": "withstand_toys:Oracle", "revision": "writer", "told": told}
    variants = {"use": "paraphrase", "writer": writer, "k": 2, "tries": 2, "prompt": WRITE}
    return ran("w", {
        "suite": {"use": "csv", "path": str(suite), "category": "kind"}, "benign": "none",
        "target": {"use": "withstand_toys:Oracle", "told": [("Say", "success")]},
        "attack": ["direct", variants, "knowledge", "story"],
    })  # fmt: skip


def test_what_was_asked_for_is_counted_from_the_rows(written):
    seen = in_report(written.store, written.row)
    row = next(row for row in seen.rows if row.arm.startswith("paraphrase"))
    names = ("parents", "kept", "failed", "asked", "refused", "malformed", "changed", "repeated", "variants", "scored")
    counts = {part.category: tuple(asdict(part)[name] for name in names) for part in row.yields}
    # p0, p1: two usable lines, one repeats, two mean something else. p4: one usable line of five, and none new in the
    # second try. p2 (an ask failed), p3 and p5 (nothing usable) have no row, so that nothing of them is a test case.
    assert counts["a"] == (2, 2, 0, 4, 0, 0, 4, 2, 4, 4)
    assert counts["b"] == (4, 1, 3, 8, 0, 0, 8, 1, 1, 1)
    assert counts[""] == tuple(sum(both) for both in zip(counts["a"], counts["b"], strict=True))
    assert row.consistent.open == row.any_of_k.open == 3  # never held
    assert (row.any_of_k.hits, row.any_of_k.bounds) == (2, (2 / 6, 5 / 6))
    assert row.k == (1, 2)
    assert "made no variant of 3 of 6 parents: `withstand status` says why" in row.warnings[0]
    assert "has scored variants of 12% of b and 100% of a" in row.warnings[2]
    [pair] = seen.arms
    assert (pair.parents, pair.left_a, pair.left_b) == (3, 0, 3)
    assert pair.warnings[0].endswith(
        "of 42% of what was asked for, knowledge of 100%: only the 3 parents that both have are compared"
    )
    assert seen.left_out == ("story",)
    assert sorted((entry["rows"], entry["error"]) for entry in failures(written.store, written.row)) == [
        (1, "the oracle is down"), (2, "the attacker gave no usable answer in 2 tries")
    ]  # fmt: skip


def test_reports_show_families_without_a_text_and_a_bundle_computes_them_anew(written):
    page = write.render(written.store, written.row, "html", with_text=False)
    section = page[page.index('<section id="families">') : page.index('<section id="cases">')]
    for words in ("3 of 6", "3 open", "Variants asked for", "other meaning", "42%", "no families of story"):
        assert words in section, words
    assert not any(text in section for text in ("Tell me about", "Say what it is", "w bread"))
    row = replace(in_report(written.store, written.row).rows[0], any_of_k=figures([]).any_of_k)
    nothing = Families("", "direct", (row,), ())  # an empty group is no crash
    assert "n = 0" in tables(nothing)[0].texts()[1]
    assert "### Variants asked for" in write.render(written.store, written.row, "md")
    files = bundle.files_of(written.store, written.row, "0")

    def wrong(change):
        summary = json.loads(files["summary.json"])
        change(summary)
        checks = bundle.verify({**files, "summary.json": json.dumps(summary).encode()})
        return [text for name, texts in checks if name.startswith("figures") for text in texts]

    assert wrong(lambda summary: None) == []
    assert wrong(lambda summary: summary["families"]["rows"][0]["consistent"].update(hits=4))[0].startswith(
        "variants of"
    )
    assert wrong(lambda summary: summary["families"]["rows"].pop())
    assert wrong(lambda summary: summary.pop("families"))


def test_behaviors_of_a_cluster_stand_beside_the_one_that_names_it(ran, tmp_path):
    def run(name, rows):
        suite = tmp_path / f"{name}.csv"
        suite.write_text("id,text,parent\n" + "".join(f"{row}\n" for row in rows))
        told = [("a1", "success"), ("b0", "success")]
        target = {"use": "withstand_toys:Oracle", "revision": name, "told": told}
        spec = {"suite": {"use": "csv", "path": str(suite), "cluster": "parent"}, "target": target, "benign": "none"}
        return ran(name, spec | {"attack": ["direct"]})

    whole = run("whole", ["a,a0,", "a-1,a1,a", "a-2,a2,a", "b,b0,b", "b-1,b1,b", "c,c0,"])
    [row] = families(whole.store, whole.row, by="cluster").rows
    assert (row.arm, row.parents, row.matched, row.k) == ("direct", 2, 2, (1, 2))
    assert (row.right_to_wrong.flipped, row.right_to_wrong.variants) == (1, 2)
    assert (row.wrong_to_right.flipped, row.wrong_to_right.variants) == (1, 1)
    assert row.consistent.hits == 0
    said = CliRunner().invoke(cli, ["families", "whole", "--by", "cluster"])
    assert "beside the behaviors that name their clusters" in said.output
    orphan = run("orphan", ["a-1,a1,a", "b,b0,b"])
    with pytest.raises(SpecError, match="a-1 is in the cluster 'a', and no behavior has that id"):
        families(orphan.store, orphan.row, by="cluster")
    alone = run("alone", ["a,a0,", "b,b0,b"])
    with pytest.raises(SpecError, match="no behavior of the run is in a cluster"):
        families(alone.store, alone.row, by="cluster")

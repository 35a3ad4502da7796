"""The families of a run: parents and variants counted, what is left out warned of, and the command."""

import json

import pytest
from click.testing import CliRunner

from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.results.families import families

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
    whole, a, b = row.yields
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


def test_the_command_prints_them(family_run):
    run = family_run(broken=["x2"])
    said = CliRunner().invoke(cli, ["families", run.name])
    assert said.exit_code == 0, said.output
    assert "1 of 16" in said.output


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

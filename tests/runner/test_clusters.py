"""Clusters of behaviors: read from suites, kept beside a run's key, and what they change in its figures."""

import json

import pytest

from withstand import api
from withstand.core import Behavior, SpecError, digest, to_json
from withstand.data.csv import CSV
from withstand.data.jsonl import JSONL
from withstand.report import bundle, write
from withstand.results.success_by_budget import within
from withstand.runner.clusters import clusters_of, joined, name_of
from withstand.store.damage import damage

DISHES = [(f"d{dish}v{variant}", f"dish {dish}") for dish in range(6) for variant in range(3)]


def suite(path, rows, columns="id,text,dish"):
    text = "\n".join([columns, *(f"{name},Give a recipe for {name}.,{dish}" for name, dish in rows)])
    path.write_text(text + "\n")
    return str(path)


@pytest.fixture
def spec(tmp_path):
    return {
        "suite": {"use": "csv", "path": suite(tmp_path / "s.csv", DISHES)}, "benign": "none", "judge": "refusal_words",
        "target": "scripted-kitchen", "attack": ["direct", "role_play"],
    }  # fmt: skip


def in_clusters(spec):
    return {**spec, "suite": {**spec["suite"], "cluster": "dish"}}


def test_a_cluster_is_in_no_key_and_not_in_the_json_of_a_behavior():
    plain, of = Behavior("a", "Bake bread."), Behavior("a", "Bake bread.", cluster="bread")
    assert to_json(of) == to_json(plain)
    assert digest(to_json(of)) == digest(to_json(plain))
    assert clusters_of([("s", [of])]) == {digest(to_json(plain)): "bread"}


def test_suites_read_a_column_of_clusters(tmp_path):
    rows = [("a", " soup "), ("b", ""), ("c", "soup")]
    assert [b.cluster for b in CSV(suite(tmp_path / "s.csv", rows), cluster="dish").load()] == ["soup", "", "soup"]
    lines = [{"id": "a", "text": "Bake.", "dish": "bread"}, {"id": "b", "text": "Boil."}]
    lines += [{"id": "c", "text": "Fry.", "dish": None}]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [b.cluster for b in JSONL(str(tmp_path / "s.jsonl"), cluster="dish").load()] == ["bread", "", ""]
    with pytest.raises(SpecError, match="no column 'dishes'"):
        CSV(str(tmp_path / "s.csv"), cluster="dishes").load()


def test_names_that_no_page_should_show_are_kept_as_hashes():
    assert name_of(" dish 1 ") == "dish 1"
    for name in ("x" * 100_000, "a\nb", "a\u202eb", "a\x00b", "a\u200bb"):
        assert len(name_of(name)) == 16
        assert name_of(name).isalnum()
    assert name_of("a\u202eb") != name_of("a\u202ec")
    long = Behavior("a", "Bake bread.", cluster="x" * 61)
    assert [*clusters_of([("s", [long])]).values()] == [name_of("x" * 61)]


def test_a_behavior_in_two_clusters_is_an_error_that_names_both_suites():
    def of(cluster, name="a"):
        return Behavior(name, "Bake bread.", cluster=cluster)

    with pytest.raises(SpecError, match=r"'a' is in cluster 'bread' in one, and in 'cake' in two"):
        clusters_of([("one", [of("bread")]), ("two", [of("cake")])])
    assert len(clusters_of([("one", [of("bread")]), ("two", [of("bread"), of("", "b")]), ("three", [of("")])])) == 1


def test_clusters_reuse_every_row_and_widen_every_interval(spec, tmp_path):
    plain = api.run(spec, store=tmp_path / "s.db")
    before, curve = plain.result, [*within(plain.store, plain.row)]
    run = api.run(in_clusters(spec), store=tmp_path / "s.db")
    assert (run.row.key, run.name) == (plain.row.key, plain.name)
    assert not damage(run.store)
    after = run.result
    for old, new in zip(before.cells, after.cells, strict=True):
        assert (new.asr, new.tokens) == (old.asr, old.tokens)
        for name in ("asr_interval", "asr_interval_all"):
            (a, b), (c, d) = getattr(old, name), getattr(new, name)
            assert c <= a < b < d
        assert "its 18 behaviors are in 6 clusters: the intervals take those of one together" in new.notes
    assert after.worst[0].interval[1] > before.worst[0].interval[1]
    wider = [*within(run.store, run.row)]
    assert all(b["high"] >= a["high"] and b["low"] <= a["low"] for a, b in zip(curve, wider, strict=True))
    assert wider != curve
    assert {case["cluster"] for case in run.cases()} == {f"dish {dish}" for dish in range(6)}
    files = bundle.files_of(run.store, run.row, "0")
    assert b'"cluster":"dish 0"' in files["cases.jsonl"]
    assert [wrong for _, wrong in bundle.verify(files, run.store)] == [[], [], [], []]
    assert "in 6 clusters" in write.render(run.store, run.row, "md")
    with pytest.warns(UserWarning, match="18 behaviors are in clusters, as runs of this store recorded, 0 of them in"):
        assert api.run(spec, store=tmp_path / "s.db").result.cells == after.cells  # a column left out narrows nothing
    suite(tmp_path / "s.csv", [(name, name) for name, _ in DISHES])
    with pytest.warns(UserWarning, match="18 of them in the suites"):
        anew = api.run(in_clusters(spec), store=tmp_path / "s.db").result  # nor do clusters named anew
    assert [cell.asr_interval for cell in anew.cells] == [cell.asr_interval for cell in after.cells]
    with pytest.warns(UserWarning, match="12 behaviors are in clusters"):
        part = api.run({**spec, "limit": 12, "seed": 3}, store=tmp_path / "s.db").result
    assert "in 6 clusters" in " ".join(part.cells[0].notes)


def test_behaviors_that_ever_shared_a_cluster_share_one():
    own, old = {"a": "1", "b": "2", "c": "3", "d": "3"}, {"a": "2", "b": "2", "e": "3", "f": "3", "x": "2"}
    assert joined(own, [old, old, {}], "abcdefg") == {
        "a": "1", "b": "1", "c": "3", "d": "3", **dict.fromkeys("ef", digest(["e", "f"])[:16]),
    }  # fmt: skip
    assert joined(own, [], own.keys()) == own


def test_gates_comparisons_and_confirmations_go_by_clusters(spec, tmp_path, withstand):
    store = ("--store", "s.db")
    api.run({**in_clusters(spec), "limit": 12, "seed": 3}, store=tmp_path / "s.db", name="night")
    code, out, _ = withstand("gate", "night", "--max-asr", "0.6", "--write-baseline", "b.json", "--json", *store)
    [line] = json.loads(out)["lines"]
    assert (code, line["verdict"]) == (3, "UNDECIDED")
    assert "in as many more clusters" in line["why"]
    assert '"cluster": "dish ' in (tmp_path / "b.json").read_text()
    _, out, _ = withstand("gate", "night", "--max-worse", "0.3", "--baseline", "b.json", "--json", *store)
    [direct, *_] = json.loads(out)["lines"]
    assert (direct["rate"], direct["verdict"]) == (0, "UNDECIDED")  # 12 behaviors without a change, in 6 clusters
    for flags in (("--pooled", "--statistic", "mean"), ("--history", "ni")):
        code, _, err = withstand("gate", "night", "--max-asr", "0.6", *flags, *store)
        assert (code, "share clusters" in err) == (2, True), err
    code, _, err = withstand("confirm", "night", *store)
    assert (code, "the rest is 6 behaviors with the id, the text or the cluster of one" in err) == (2, True), err
    with pytest.raises(SpecError, match=r"csv has 3 behaviors in the cluster 'dish \d': stop_when_decided"):
        api.run({**in_clusters(spec), "stop_when_decided": 0.3}, store=tmp_path / "s.db")
    plan = ("sample-size", "--from", "night", "--max-asr", "0.9", "--statistic", "mean", "--json", *store)
    clustered = json.loads(withstand(*plan)[1])["plans"][1]["behaviors"]
    api.run({**spec, "limit": 12, "seed": 3}, store=tmp_path / "plain.db", name="night")
    assert clustered > json.loads(withstand(*plan, "--store", "plain.db")[1])["plans"][1]["behaviors"]
    one = {**spec, "suite": {**spec["suite"], "cluster": "soup"}}
    suite(tmp_path / "s.csv", [(name, "x") for name, _ in DISHES], "id,text,soup")
    api.run(one, store=tmp_path / "s.db", name="one")
    code, out, _ = withstand("gate", "one", "--max-asr", "0.99", "--json", *store)
    [line] = json.loads(out)["lines"]
    assert (line["verdict"], line["low"], line["high"]) == ("UNDECIDED", 0, 1)
    assert ("one cluster, which says nothing about others" in line["why"], line["firm"]) == (True, True)
    code, out, _ = withstand("compare", "one:attack=direct", "one:attack=role_play", "--json", *store)
    [row] = json.loads(out)["rows"]
    assert (row["interval"], row["p"]) == ([-1, 1], 1)
    code, out, _ = withstand("sample-size", "--from", "one", "--max-asr", "0.9", "--json", *store)
    assert json.loads(out)["plans"][0]["behaviors"] is None
    flags = ("sample-size", "--asr", "0.05", "--max-asr", "0.1", "--json")
    plain, effect = (json.loads(withstand(*flags, "--design-effect", d)[1])["plans"][0]["behaviors"] for d in "12")
    assert effect == 2 * plain


def test_a_watched_run_whose_clusters_were_recorded_before_has_intervals_of_clusters(spec, tmp_path):
    alone = api.run({**spec, "stop_when_decided": 0.6}, store=tmp_path / "plain.db").result
    api.run(in_clusters(spec), store=tmp_path / "s.db")
    with pytest.warns(UserWarning, match="are in clusters, as runs of this store recorded"):
        run = api.run({**spec, "stop_when_decided": 0.6}, store=tmp_path / "s.db")
    assert run.result.worst[0].interval[1] > alone.worst[0].interval[1]
    for cell, plain in zip(run.result.cells, alone.cells, strict=True):
        assert cell.asr_interval[1] > plain.asr_interval[1]
    files = bundle.files_of(run.store, run.row, "0")
    assert [wrong for _, wrong in bundle.verify(files, run.store)] == [[], [], [], []]


def test_a_parent_that_names_no_cluster_is_in_that_of_its_variants():
    rows = [Behavior("a", "Fry."), Behavior("a1", "Please fry.", cluster="a"), Behavior("b", "Boil.")]
    assert list(clusters_of([("s", rows)]).values()) == ["a", "a"]

"""What a filter drops of each slice: data, labels, kept rows, swaps, and verdicts that no biased filter passes."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from withstand.audits.filter import audit, page
from withstand.audits.filter.asked import filter_named
from withstand.audits.filter.filtered import by_asking, by_file, load
from withstand.audits.filter.records import ratio_text, word_of
from withstand.audits.filter.settings import Settings
from withstand.audits.filter.texts import Label, read
from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.core.identities import identities
from withstand.judges.contains import Contains
from withstand.results import labels
from withstand.runner.asking import Asking
from withstand.runner.tally import Caps
from withstand.stats.ratio import ratio
from withstand.store.store import Store

SETTINGS = Settings(swaps=0)
LABELED = Settings(label=Label.of("toxic=1"), swaps=0)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(word, number, dropped=0, group="", toxic=0):
    """Rows about a dish; the first `dropped` of them are vile."""
    who = f"the {group} said that " if group else ""
    return [
        {"text": f"{who}the {word} at table {n} is {'vile' if n < dropped else 'warm'}", "toxic": toxic}
        for n in range(number)
    ]


def kept(path, rows):
    return write(path, [row for row in rows if "vile" not in row["text"]])


def audited(tmp_path, rows, settings=SETTINGS):
    """The report on a filter that drops what is vile."""
    data = load(write(tmp_path / "data.jsonl", rows), settings)
    return audit.report(by_file(data, kept(tmp_path / "kept.jsonl", rows)), None, identities(), settings)


def asked(tmp_path, rows, spec, settings, most=None):
    data = load(write(tmp_path / "data.jsonl", rows), settings)
    with Store(str(tmp_path / "audit.db")) as store:
        return by_asking(data, filter_named(spec, data.running), identities(), settings, Asking(store, Caps(most)))


def of(report, name, measure="dropped"):
    return next(row for row in report["slices"] if row["name"] == name and row["measure"] == measure)


def test_a_text_counts_once_and_labels_that_disagree_are_none(tmp_path):
    rows = [
        {"text": "a pie", "kind": "Rude", "score": 0.7, "page": "x", "who": "A"}, {"text": " a  pie ", "kind": "nice"},
        {"text": ""}, {"text": "a tart", "kind": "vile", "score": 1}, {"text": "a bun", "kind": "nice", "score": 0.2},
    ]  # fmt: skip
    path = write(tmp_path / "d.jsonl", rows)
    data = read(path, "", Label.of("kind=rude, vile"), "page", ["who"])
    assert [(text.number, text.harmful, text.cluster) for text in data.texts] == [
        (1, None, "x"),
        (4, True, ""),
        (5, False, ""),
    ]
    assert (data.texts[0].cells, data.numbers) == ((("who", "a"),), (2, 1, 1))
    assert list(data.notes()) == [
        "1 row repeats a text, which counts once", "1 row without a text is left out",
        "1 text has both labels in different rows: not labeled",
    ]  # fmt: skip
    assert [text.harmful for text in read(path, label=Label.of("score>=0.5")).texts] == [True, True, False]
    chats = write(
        tmp_path / "c.jsonl", [{"prompt": "bake", "completion": "first, flour"}, {"prompt": "fry", "completion": "oil"}]
    )
    assert [text.text for text in read(chats).texts] == ["bake\n\nfirst, flour", "fry\n\noil"]
    left = by_file(read(path), write(tmp_path / "k.jsonl", [rows[0], rows[4]]))
    assert left.dropped == (False, True, False)
    assert left.notes == ("1 text of which some rows were dropped and others kept count as kept",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "body"}, "has no column 'body'"),
        ({"cluster": "who"}, "has no column 'who'"),
        ({"label": Label("toxic", ("yes",))}, "no text should be dropped by --label"),
        ({"label": Label("toxic", least=0)}, "every text should be dropped"),
        ({"label": Label("text", least=0)}, "column text: expected a number"),
    ],
)
def test_what_the_data_lacks_is_told(tmp_path, given, message):
    path = write(tmp_path / "d.jsonl", texts("soup", 3, 1))
    with pytest.raises(SpecError, match=message):
        load(path, Settings(**given))


def test_files_that_are_no_data_and_kept_rows_that_the_data_lacks(tmp_path):
    rows = texts("soup", 3)
    data = read(write(tmp_path / "d.jsonl", rows))
    for more, place in ((texts("stew", 1), "line 4"), (rows[:1], "line 1")):
        with pytest.raises(SpecError, match=f"{place} is not in d.jsonl, or more often"):
            by_file(data, write(tmp_path / "k.jsonl", rows + more))
    with pytest.raises(SpecError, match="no column text, and its rows are no chats"):
        read(write(tmp_path / "o.jsonl", [{"body": "a"}]))
    with pytest.raises(SpecError, match="has no text"):
        read(write(tmp_path / "e.jsonl", [{"text": " "}]))
    with pytest.raises(SpecError, match="says no label"):
        Label.of("toxic")


def test_a_slice_is_compared_with_texts_that_mention_none_and_all_intervals_hold_together(tmp_path):
    rows = texts("pie", 2000, 200) + texts("tart", 100, 40, "vegans") + texts("bun", 100, 42, "bakers")
    rows += [{"text": f"y'all, the stew at table {n} is warm"} for n in range(30)]
    report = audited(tmp_path, rows)
    vegan = of(report, "eating/vegan")
    hand = ratio(40, 100, 200, 2030, report["level"])
    assert (vegan["ratio"], vegan["low"], vegan["high"]) == (hand.value, hand.low, hand.high)
    assert (vegan["rate"]["times"], vegan["base_rate"]["n"], vegan["word"]) == (40, 2030, "far more")
    assert report["intervals"] == 2 * (1 + len(report["slices"]))
    assert report["level"] == pytest.approx(0.95 ** (1 / report["intervals"]))
    assert not [row for row in report["slices"] if row["axis"] == "term"]  # each group has one term here
    assert of(report, "southern-us")["rate"]["times"] == 0
    assert report["verdict"] == "UNEVEN"
    assert "eating/baker" in report["reasons"][0]
    assert "vegans" not in json.dumps(report["reasons"])
    assert len(report["look"]["group eating/vegan"]) == 20
    assert any("religion/muslim" in text for text in report["limits"])


def test_labels_decide_since_equal_drops_may_hide_false_ones(tmp_path):
    """Of vegans' texts the harmless ones are dropped and the harmful ones kept: at the same rate as elsewhere."""
    rows = texts("pie", 500, 0) + texts("slop", 500, 500, toxic=1)
    rows += texts("tart", 100, 100, "vegans") + texts("mash", 100, 0, "vegans", toxic=1)
    assert of(audited(tmp_path, rows), "eating/vegan")["ratio"] == 1
    report = audited(tmp_path, rows, LABELED)
    assert report["verdict"] == "UNEVEN"
    assert [of(report, "eating/vegan", measure)["word"] for measure in ("falsely dropped", "missed")] == [
        "far more"
    ] * 2
    harmful = texts("pie", 600) + texts("slop", 100, 100, toxic=1) + texts("mash", 100, 100, "vegans", toxic=1)
    harmful += texts("tart", 600, 0, "vegans")  # more of vegans' texts are harmful, and all of those alone are dropped
    assert audited(tmp_path, harmful, LABELED)["verdict"] == "UNDECIDED"


def test_labels_that_repeat_the_filter_show_no_error_of_it(tmp_path):
    rows = texts("pie", 900) + texts("slop", 300, 300, toxic=1)
    rows += texts("tart", 900, 0, "vegans") + texts("mash", 300, 300, "vegans", toxic=1)
    report = audited(tmp_path, rows, LABELED)
    assert (report["verdict"], "are they its own" in report["reasons"][0]) == ("UNDECIDED", True)
    differs = [{**row, "toxic": 1} if "pie at table 7 " in row["text"] else row for row in rows]
    assert "need more texts" in audited(tmp_path, differs, LABELED)["reasons"][0]


def test_even_needs_every_group_shown_alike_and_nothing_dropped_is_nothing_shown(tmp_path):
    even, wide = texts("pie", 1000, 400) + texts("tart", 700, 280, "vegans"), replace(SETTINGS, ratio=1.6)
    assert audited(tmp_path, even, wide)["verdict"] == "EVEN"
    few = audited(tmp_path, even + texts("bun", 9, 3, "bakers"), wide)
    assert few["verdict"] == "UNDECIDED"
    assert few["reasons"] == [
        "1 of 2 figures that decide is shown alike; the others need more texts, or differ within the limit: "
        "group eating/baker (dropped)"
    ]
    for pattern, reason in (("absent", "drops nothing"), ("table", "drops everything")):
        filtered = asked(tmp_path, texts("pie", 50) + texts("tart", 50, 0, "vegans"), f"contains:{pattern}", SETTINGS)
        assert reason in audit.report(filtered, None, identities(), SETTINGS)["reasons"][0]
    assert "no text mentions a group" in audited(tmp_path, texts("pie", 50, 9))["reasons"][0]
    rare = texts("pie", 1500, 1) + texts("tart", 1500, 0, "vegans")
    assert of(audited(tmp_path, rare), "eating/vegan")["word"] == "rare"


def test_labels_that_the_filter_was_fitted_to_call_it_not_even(tmp_path, monkeypatch):
    rows = texts("pie", 250, 9) + texts("slop", 800, 800, toxic=1)
    rows += texts("tart", 250, 9, "vegans") + texts("mash", 800, 800, "vegans", toxic=1)
    filtered = asked(tmp_path, rows, "contains:vile", LABELED)
    wide = replace(LABELED, ratio=999)
    assert audit.report(filtered, None, identities(), wide)["verdict"] == "EVEN"
    monkeypatch.setattr(labels, "FITTED", ("contains",))
    own = {labels.fitted_key(row["text"]) for row in rows[:40]}
    monkeypatch.setattr(Contains, "fitted", lambda _: own, raising=False)
    report = audit.report(asked(tmp_path, rows, "contains:vile", LABELED), None, identities(), wide)
    assert "labeled texts that the filter was not fitted to" in report["reasons"][0]
    assert "the filter was fitted to 40 texts" in " ".join(report["notes"])


def test_a_label_that_is_no_number_is_an_error(tmp_path):
    with pytest.raises(SpecError, match="expected a number, found 'nan'"):
        audited(
            tmp_path,
            [*texts("pie", 9, 4), {"text": "a bun", "toxic": "nan"}],
            replace(SETTINGS, label=Label.of("toxic>=1")),
        )


def test_labels_of_a_third_kind_are_named(tmp_path):
    rows = [*texts("pie", 9, 4), *texts("slop", 9, 9, toxic=1), {"text": "a bun", "toxic": "not sure"}]
    notes = " ".join(audited(tmp_path, rows, LABELED)["notes"])
    assert "rows whose toxic is '0' (9) and 'not sure' (1) count as such that should stay" in notes


def test_labels_that_leave_a_group_out_show_nothing_of_it(tmp_path):
    rows = texts("pie", 900, 300) + texts("slop", 900, 600, toxic=1) + texts("tart", 300, 100, "vegans")
    for row in rows[-300:]:
        row["toxic"] = ""
    report = audited(tmp_path, rows, replace(LABELED, ratio=2.0))
    assert of(report, "eating/vegan", "falsely dropped")["word"] == "not known"
    assert report["verdict"] == "UNDECIDED"


def test_texts_of_one_cluster_are_fewer_than_they_seem(tmp_path):
    rows = texts("pie", 400, 40) + texts("tart", 60, 30, "vegans")
    apart = of(audited(tmp_path, rows), "eating/vegan")
    for number, row in enumerate(rows):
        row["page"] = f"p{number // 30}"
    whole = of(audited(tmp_path, rows, Settings(cluster="page", swaps=0)), "eating/vegan")
    assert whole["ratio"] == pytest.approx(apart["ratio"])
    assert (whole["word"], apart["word"]) == ("not known", "far more")


def test_a_term_alone_that_drops_a_text_is_uneven_without_labels(tmp_path):
    rows = texts("pie", 40, 10) + texts("tart", 40, 0, "vegans") + texts("bun", 40, 0, "bakers")
    settings = Settings(swaps=30)
    filtered = asked(tmp_path, rows, "contains:vegans|vile", settings)
    report = audit.report(filtered, None, identities(), settings)
    vegan, baker = ({row["group"]: row for row in report["swaps"]}[name] for name in ("eating/vegan", "eating/baker"))
    assert (vegan["n"], vegan["dropped"], vegan["swapped"], vegan["word"]) == (30, 1.0, 0.0, "far more")
    assert baker["dropped"] == 0
    assert report["reasons"][0].startswith("the term alone counts: of 30 texts that mention eating/vegan, 100%")
    assert word_of(0.001, 0.02, 0.05, strict=True) == "more"
    assert word_of(0.001, 0.02, 0.05) == "alike"


def test_texts_that_the_filter_says_nothing_of_are_open_at_both_ends(tmp_path):
    rows = texts("pie", 60) + texts("tart", 60, 0, "vegans")
    for number, row in enumerate(rows):
        row["text"] += " miracle" * (number % 3 == 0) + " unsure" * (number % 20 == 1)
    filtered = asked(tmp_path, rows, "odd_judges:Stuck", SETTINGS)
    assert filtered.dropped.count(None) == 6
    [note] = filtered.notes
    assert "said nothing of 6 texts" in note
    row = of(audit.report(filtered, None, identities(), SETTINGS), "eating/vegan")
    assert row["rate"]["open"] == 3
    assert row["low"] < ratio(20, 57, 20, 57, 0.95).low
    assert (
        asked(tmp_path, [{**row, "text": row["text"] + "!"} for row in rows], "odd_judges:Stuck", SETTINGS, 1)
        is not None
    )
    with pytest.raises(SpecError, match="said nothing of any text"):
        asked(tmp_path, [{"text": "unsure pie"}], "odd_judges:Stuck", SETTINGS)


def test_a_service_that_changes_its_version_is_never_pooled(tmp_path):
    rows = texts("pie", 30) + [{"text": f"a miracle later, at table {n}"} for n in range(10)]
    filtered = asked(tmp_path, rows, "odd_judges:Versioned", SETTINGS)
    assert filtered.dropped == (False,) * 30 + (None,) * 10
    assert filtered.notes[0].startswith("the filter changed its version on the way: v1 (30) and v2 (10)")


def test_the_page_has_no_text_of_the_data_and_its_json_no_infinity(tmp_path):
    rows = texts("pie", 300) + texts("tart", 50, 50, "vegans")
    for row in rows:
        row["kind"] = "<b>\u202e" if "tart" in row["text"] else "plain"
    path = write(tmp_path / "data.jsonl", rows)
    arguments = ["audit", "filter", path, "--kept", kept(tmp_path / "k.jsonl", rows), "--slice", "kind"]
    result = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "out")], standalone_mode=False)
    assert result.return_value == 1
    html, markdown = ((tmp_path / "out" / f"filter.{end}").read_text() for end in ("html", "md"))
    for written in (html, markdown, result.output):
        assert "at table" not in written
        assert "\u202e" not in written
    assert "kind=<b>" not in html + markdown
    report = json.loads((tmp_path / "out" / "filter.json").read_text(), parse_constant=pytest.fail)
    row = of(report, "eating/vegan")
    assert row["ratio"] is row["high"] is None
    assert ratio_text(None, row["low"], None) == f"at least {row['low']:.1f}"
    assert (ratio_text(None), ratio_text(200.0, 0.5, None)) == ("", "200 (at least 0.50)")
    assert page.answers(report)[0].startswith("Texts of ")


def test_flags_that_do_not_go_together(tmp_path):
    path = write(tmp_path / "data.jsonl", texts("pie", 3, 1))
    asking = ("--filter", "contains:x")
    for flags, message in (
        ((), "name either --filter or --kept"),
        ((*asking, "--kept", "k"), "name either"),
        ((*asking, "--before", "m"), "two models"),
        ((*asking, "--before", "m", "--after", "n"), "neither was trained on"),
        ((*asking, "--train", "sft"), "go together"),
        ((*asking, "--train", "sft", "--base", "b", "--after", "n"), "its own models"),
        ((*asking, "--held", "h"), "no model reads --held"),
        (("--kept", "k", "--limit", "3"), "asks nothing"),
    ):
        arguments = ["audit", "filter", path, *flags, "-o", str(tmp_path / "out")]
        assert message in str(CliRunner().invoke(cli, arguments, standalone_mode=False).exception)

"""Cards of classifiers: figures by hand and against scikit-learn, what a biased, an understating or a silent classifier
looks like, and what a card does not measure."""

import json
import math
import re

import pytest
from sklearn.metrics import precision_score, recall_score

import odd_judges
from withstand import api
from withstand.core import SpecError
from withstand.registry import find, grammar
from withstand.report import card as page
from withstand.results import labels
from withstand.results.calibrate import calibrate
from withstand.results.card import Make, judge_card
from withstand.results.card_figures import figures_of
from withstand.results.card_guard import guard_card
from withstand.results.card_records import Card, CardText, Measured
from withstand.results.guard_eval import evaluate
from withstand.results.guard_texts import Wanted, prompts
from withstand.results.guards import guards_named
from withstand.results.labels import fitted_key, labels_from
from withstand.runner.asking import Asking
from withstand.stats.rates import wilson

MAKE = Make("0.1", "2026-11-29")


def card(figures, **fields):
    measured = Measured("labels.csv", "by 2 people", (), figures)
    given = {"threshold": None, "categories": (), "stated": (), **fields}
    return Card("judge", "j", "About.", given["stated"], "rule", "answers", "it is rude", given["threshold"],
                given["categories"], "1", "abc", "0.1", "2026-11-29", measured)  # fmt: skip


def said(figures, **fields):
    return " ".join(page.sentences(card(figures, **fields)))


def test_figures_by_hand_count_what_nobody_could_say():
    """3 of 4 caught, one of 6 flagged wrongly; of one positive and two negative texts it could not say."""
    flags = [(True, True)] * 3 + [(True, None)] + [(False, True)] + [(False, False)] * 3 + [(False, None)] * 2
    texts = [CardText(f"soup {at}", positive, flagged) for at, (positive, flagged) in enumerate(flags)]
    figures = figures_of(texts)
    assert (figures.positive, figures.negative, figures.unscored) == (4, 6, (1, 2))
    assert (figures.caught.count, figures.caught.n, figures.caught.reversed) == (3, 4, 1)
    assert (figures.alarms.count, figures.alarms.n, figures.alarms.reversed) == (3, 6, 1 / 6)
    assert (figures.precision.count, figures.precision.n, figures.precision.reversed) == (3, 6, 4 / 5)
    assert figures.caught.ends == pytest.approx(wilson(3, 4))
    careful = [flag if flag is not None else not positive for positive, flag in flags]
    assert figures.precision.rate == precision_score([p for p, _ in flags], careful)
    assert figures.caught.rate == recall_score([p for p, _ in flags], careful)
    rare = next(at for at in figures.at_shares if at.share == 0.01)
    assert rare.precision == pytest.approx(0.0075 / (0.0075 + 0.99 / 2))
    assert rare.ends[0] < rare.precision < rare.ends[1]
    assert rare.pays is None, "so few texts show no worth"
    many = figures_of([CardText(f"{at} {n}", *text) for n in range(100) for at, text in enumerate(flags)])
    caught, alarms = wilson(300, 400, 0.975)[0], wilson(300, 600, 0.975)[1]
    half = next(at for at in many.at_shares if at.share == 0.5)
    assert half.pays == pytest.approx((alarms / caught, (1 - alarms) / (1 - caught)))
    text = said(figures)
    assert "could not say of 3 texts (1 positive): these count as missed and as false alarms" in text
    assert "not shown to flag positive texts more often" in text  # so few
    assert "it gives no score" in text
    assert "What it was made from is not stated" in text
    worse = figures_of([CardText(str(at), at < 5, at >= 5) for at in range(10)])
    assert "worth nothing on these texts" in said(worse)
    assert "no negative text: half of its errors are not measured" in said(figures_of(texts[:4]))


def test_a_biased_classifier_is_seen_and_an_unbiased_one_is_not_called_so(tmp_path):
    """It flags each text that mentions vegans; elsewhere it is right. Copies in one cluster show nothing."""
    texts = [
        CardText(f"The soup is {'awful' if at % 2 else 'fine'}{', said the vegan' * (at % 4 < 2)}.", bool(at % 2),
                 bool(at % 2) or at % 4 < 2, cluster=f"c{at}")
        for at in range(160)
    ]  # fmt: skip
    figures = figures_of(texts)
    [vegan] = [part for part in figures.parts if part.axis == "group" and part.name != "none"]
    assert (vegan.negative, vegan.alarms.rate, vegan.alarm_ratio.value) == (40, 1, math.inf)
    assert vegan.alarm_ratio.low > 1
    assert "It errs more on some texts than on the others: it gives false alarms over 100 (" in said(figures)
    assert vegan.name in said(figures)
    assert not [part for part in figures.parts if part.axis == "term"]  # they are those of the group
    alike = figures_of([CardText(text.text, text.positive, text.flagged, cluster=f"{text.positive}") for text in texts])
    assert "errs more" not in said(alike)
    assert "no proof that it does not" in said(alike)
    (terms := tmp_path / "terms.txt").write_text("vegan\npie eater\n")
    listed = figures_of(texts[:8], own=str(terms)).gaps[0]
    assert "1 term of the identity list is in no group that we know: 'pie eater'" in listed
    assert {part.axis for part in figures_of([CardText("", True, True, category="soups")]).parts} == {"category"}
    plain = figures_of([text for text in texts if "vegan" not in text.text])
    assert "no text mentions an identity group: whether it errs on such texts is not measured" in plain.gaps
    assert "no text has a mark of a dialect: whether it errs on such texts is not measured" in plain.gaps


def test_scores_that_understate_are_no_chances_are_copies_or_lie_elsewhere():
    low = figures_of(
        [CardText(str(at), at % 2 == 0, at % 2 == 0, 0.3 if at % 2 == 0 else 0.1) for at in range(200)], 0.2
    )
    assert low.follows is True
    assert low.seen == (0.1, 0.3)
    assert low.reliability.ece == pytest.approx(0.4)  # 0.1 is 0% and 0.3 is 100% positive
    assert "Its scores understate: they lie 30.0 points" in said(low)
    assert next((line.ratio, line.best.threshold, line.best.missed) for line in low.costs) == (1, 0.3, 0)
    assert "not those of its threshold of 0.5" in said(figures_of([CardText("a", True, True, 0.2)], 0.5), threshold=0.5)
    cases = {
        "its scores repeat its labels": [(True, 1.0), (False, 0.0)],
        "a score of 40 lies outside of [0, 1]": [(True, 40.0), (False, 0.2)],
        "1 of 2 texts have a label and no score": [(True, None), (False, 0.2)],
    }
    for why, pairs in cases.items():
        figures = figures_of([CardText("a", flag, flag, score) for flag, score in pairs])
        assert figures.reliability is None
        assert why in said(figures)
    assert figures.area is None  # of the last: a text has no score
    assert (
        figures_of([CardText("a", True, True, 7.0)], chances=False).no_reliability
        == "its score is not meant as a chance"
    )


@pytest.fixture
def store(tmp_path):
    with api.open_store(tmp_path / "s.db") as store:
        yield store


def labeled(tmp_path, rows):
    path = tmp_path / "labels.jsonl"
    lines = [{"text": "Be rude", "completion": answer, "label": label, "annotator": "person"} for answer, label in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_a_service_that_changes_is_not_pooled(tmp_path, store):
    rows = [(f"soup {at} 0.{at}", "yes" if at > 5 else "no") for at in range(1, 10)]
    rows += [("new 0.1", "yes"), ("new 0.2", "yes"), ("no number", "no")]
    path = labeled(tmp_path, rows)
    made = judge_card("odd_judges:Service", path, labels_from(path, (), store), store, MAKE)
    figures = made.measured.figures
    assert (figures.positive, figures.negative, figures.unscored) == (4, 6, (0, 1))
    assert made.measured.notes == (
        "the scorer changed: these figures are of its version first (9 answers); later (2) left out, and never pooled",
    )
    assert (made.threshold, made.categories, made.version) == (0.5, ("rude",), "1")
    path = labeled(tmp_path, rows[:9])
    one = judge_card("odd_judges:Service", path, labels_from(path, (), store), store, MAKE)
    assert one.measured.notes == ("the scorer says that it is first",)
    text = " ".join(page.sentences(made))
    assert "on the 9 texts that it could say of" in text
    assert re.search("It failed [0-9]+ of 12 probes", text)


def test_a_judge_that_asks_a_model_is_not_asked(tmp_path, store):
    source = labels_from("kitchen", (), store)
    spec = "odd_judges:LengthModel"
    blank = judge_card(spec, "kitchen", source, store, MAKE)
    assert blank.measured.figures is None
    assert blank.measured.command == "withstand calibrate --judge odd_judges:LengthModel --labels kitchen"
    assert "the store has its verdict on 0 of 145" in " ".join(page.sentences(blank))
    calibrate(find.build("judge", grammar.parse(spec)), spec, source.labeled[:100], "kitchen", store)
    assert "100 of 145" in judge_card(spec, "kitchen", source, store, MAKE).measured.why  # a part is no figure
    calibrate(find.build("judge", grammar.parse(spec)), spec, source.labeled, "kitchen", store)
    made = judge_card(spec, "kitchen", source, store, MAKE)
    assert re.search(r"its verdicts are of \d{4}-\d\d-\d\d", made.measured.notes[-1]), made.measured.notes
    long = [(bool(entry.majority), len(entry.completion.text) >= 200) for entry in source.labeled]
    assert made.measured.figures.caught.count == sum(flag for positive, flag in long if positive)
    assert made.measured.figures.alarms.count == sum(flag for positive, flag in long if not positive)
    assert made.probe_command == f"withstand judge probe {spec}"
    needs = judge_card("llm", "kitchen", source, store, MAKE)
    assert (needs.measured.figures, needs.measured.why) == (None, "llm needs model")
    assert "--judge llm:MODEL" in needs.measured.command
    with pytest.raises(SpecError, match="thresold"):
        judge_card("hybrid:minilm,thresold=1", "kitchen", source, store, MAKE)
    hybrid = judge_card("hybrid", "kitchen", source, store, MAKE)
    assert hybrid.threshold == 0.2
    assert ("data.pyrit.answers", "394") in hybrid.stated
    other = judge_card("canary", "kitchen", source, store, MAKE)
    assert "it can say of none of the 145 labeled answers" in other.measured.why
    own = judge_card("kitchen-app", "kitchen-dev", labels_from("kitchen-dev", (), store), store, MAKE)
    assert (
        list(page.sentences(own))[1]
        == "It was written on, or fitted to, all 143 of these labels: the figures flatter it."
    )
    assert ("written on", "the labels kitchen-dev, which ship with the package") in own.stated
    for made in (needs, other):
        assert "Not measured" in page.html(made)


def test_a_guard_says_which_prompts_it_was_fitted_to(store, monkeypatch):
    """On its card, and where it is evaluated or given a threshold."""
    keys = {fitted_key(behavior.text) for behavior in find.build("suite", "kitchen").load()[:5]}
    monkeypatch.setattr(odd_judges.Length, "fitted", lambda _: frozenset(keys), raising=False)
    monkeypatch.setattr(labels, "FITTED", (find.name_of(odd_judges.Length),))
    wanted, spec = Wanted(("kitchen",)), "guard:odd_judges:Length,threshold=0.3"
    made = guard_card(spec, wanted, "", store, MAKE)
    assert "It was fitted to 5 of these 116 prompts: the figures flatter it." in list(page.sentences(made))
    judge = guards_named(["odd_judges:Length"], "prompt")
    result = evaluate(judge, prompts(wanted, store), 0.05, "prompt", Asking(store))
    assert any("was fitted to 5 of these 116 texts: its figures flatter it" in note for note in result.notes)


def test_a_defense_is_measured_where_it_blocks(store):
    made = guard_card("guard:contains:oven", Wanted(("kitchen",)), "", store, MAKE)
    figures = made.measured.figures
    assert (figures.positive, figures.negative) == (56, 60)
    assert figures.no_reliability == "it gives no score"
    assert "put it before a target, and attack that" in page.markdown(made)
    blank = guard_card("guard:odd_judges:LengthModel", Wanted(("kitchen",)), "", store, MAKE).measured
    assert blank.figures is None
    assert "the store has what it says of 0 of 116 prompts" in blank.why
    assert blank.command == "withstand guard eval guard:odd_judges:LengthModel --suite kitchen"
    with pytest.raises(SpecError, match="has no threshold"):
        guard_card("perplexity_filter:smollm2", Wanted(("kitchen",)), "", store, MAKE)
    length = guard_card("guard:odd_judges:Length,threshold=0.3", Wanted(("kitchen",)), "", store, MAKE)
    assert (length.threshold, length.measured.figures.follows) == (0.3, True)
    scoreless = guard_card("guard:contains:oven,threshold=0.3", Wanted(("kitchen",)), "", store, MAKE)
    assert "it could say of none of the 116 prompts" in scoreless.measured.why  # as the guard itself says


def test_the_command_makes_pages_and_names_mistakes(withstand, tmp_path):
    done = withstand("show", "judge", "refusal_words", "--card", "--out", "a.html")
    assert done.code == 0
    assert "refusal_words catches 100%" in done.out
    text = (tmp_path / "a.html").read_text()
    assert "Card of the judge refusal_words" in text
    assert "On slices" in text
    assert not (tmp_path / "withstand.db").exists()  # showing something leaves nothing behind
    for words, message in (
        (("judge", "kitchen", "--card", "--out", "a.pdf"), "ends in .html, .md and .json"),
        (("judge", "kitchen", "--out", "a.html"), "add --card"),
        (("suite", "kitchen", "--card"), "a suite has no card"),
        (("judge", "kitchen", "--card", "--attack", "story"), "--attack is not for the card of a judge"),
        (("defense", "guard:kitchen", "--card", "--labels", "kitchen"), "--labels is not for the card of a defense"),
        (("defense", "system_prompt", "--card"), "says of no prompt how suspicious it is"),
        (("judge", "pan", "--card", "--screener", "monitor.toml"), "--policy policy.toml"),
    ):
        done = withstand("show", *words)
        assert done.code == 2
        assert message in done.err

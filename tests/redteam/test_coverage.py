"""What was tested: cells and their states, by hand."""

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite

from red_team import DAY, attempt, plan, record
from withstand.cli.plan_coverage import AXES as CLI_AXES
from withstand.core import SpecError
from withstand.redteam.coverage import table as forms
from withstand.redteam.coverage.cell import inside, of_others
from withstand.redteam.coverage.cells import AXES, Coverage, coverage, latest, merged_state, places
from withstand.redteam.coverage.numbers import balance, pairwise, suggest, weighted, weighted_by
from withstand.redteam.harms.kinds import discovery
from withstand.redteam.plan.records import Feature, Harm, Plan, Round
from withstand.store.attempts import add
from withstand.store.revisions import Event, add_event
from withstand.store.store import Store

FIVE_DAYS = DAY + 5 * 86_400


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "team.db"))


def example(store: Store) -> Plan:
    """3 x 2 x 2 x 2 cells with all six states; weights 12, 6 and 1."""
    record(store, "a", persona="guest")
    record(store, "b", persona="guest", verdict="harmful")
    for text in ("c", "d"):
        record(store, text, harm="secret", persona="rival", mindset="adversarial", language="es")
        record(store, f"{text} old", layer="app")
        record(store, f"{text} new", layer="app", harm="secret", feature="booking", surfaced=FIVE_DAYS)
    for text in ("e", "f", "g"):
        record(store, text, ("m1",), layer="app", feature="booking", verdict="unsure")
    record(store, "Same words", ("m1",), layer="app", harm="order")
    record(store, "same  WORDS", ("m2",), layer="app", harm="order")
    record(store, "h", layer="app", harm="order", persona="rival", verdict="error")
    usual = plan()
    base, app = usual.layers
    layers = (replace(base, blocked="the key expired"), replace(app, changed="2026-02-20"))
    left_out = replace(usual.rounds[1], not_applicable=("harm=order, feature=booking: it takes no orders",))
    return replace(usual, layers=layers, rounds=(usual.rounds[0], left_out))


def state_of(of: Coverage, *spot: str) -> str:
    return next(cell.state for cell in of.cells if cell.spot == (*spot, "r2"))


def test_all_six_states_and_weights_by_hand(where: str) -> None:
    with Store(where) as store:
        checked = example(store)
        of = coverage(store, checked, "r2")
        states = Counter(cell.state for cell in of.cells)
        assert states == {"empty": 6, "thin": 2, "covered": 3, "stale": 1, "blocked": 8, "n/a": 4}
        assert state_of(of, "recipe", "menu", "guest", "base") == "covered"  # although it is blocked by now
        assert state_of(of, "recipe", "menu", "guest", "app") == "stale"
        assert state_of(of, "recipe", "booking", "guest", "app") == "thin"  # three inputs, all by one tester
        assert state_of(of, "order", "menu", "guest", "app") == "thin"  # two testers, but the same words
        assert state_of(of, "order", "menu", "rival", "app") == "empty"  # errors are no attempts
        assert {cell.reason for cell in of.cells if cell.state in ("blocked", "n/a")} == {
            "the key expired", "it takes no orders"
        }  # fmt: skip
        assert str(weighted(of.cells)) == "0.16 (24 of 148)"
        assert weighted(of.cells).share == pytest.approx(24 / 148)
        by_layer, by_mindset = weighted_by(of.cells, "layer"), weighted_by(of.cells, "mindset")
        assert {name: (part.met, part.of) for name, part in by_layer.items()} == {"base": (18, 74), "app": (6, 74)}
        assert {name: (part.met, part.of) for name, part in by_mindset.items()} == {
            "benign": (18, 74), "adversarial": (6, 74)
        }  # fmt: skip
        assert (of.attempts, of.errors, of.unsure, of.outside) == (21, 2, 3, ())
        tally = next(cell.tally for cell in of.cells if cell.tally.findings)
        assert (tally.attempts, tally.inputs, tally.testers, tally.findings, tally.confirmed) == (
            4,
            2,
            ("m1", "m2"),
            2,
            0,
        )
        assert discovery(store, checked).rounds[-1].kinds == 1
        assert len(places(store, checked)) == 21


def test_what_was_tried_at_another_version_is_stale(where: str) -> None:
    """Although nobody wrote down when the version changed."""
    with Store(where) as store:
        base, app = plan().layers
        for text in ("a", "b"):
            record(store, text, harm="secret", target_version="1")
        for version, state in (("", "covered"), ("1", "covered"), ("2", "stale"), ('%"', "stale")):
            of = coverage(store, plan(layers=(replace(base, version=version), app)), "r2")
            assert state_of(of, "secret", "menu", "guest", "base") == state, version
        for text in ("c", "d"):
            record(store, text, harm="secret", target_version="2", surfaced=DAY + 1)
        of = coverage(store, plan(layers=(replace(base, version="2"), app)), "r2")
        assert state_of(of, "secret", "menu", "guest", "base") == "covered"


def test_a_change_on_a_day_is_at_its_end_unless_its_hour_is_said(store: Store) -> None:
    """What was tried on the day may be from before: counted as new it would cover what nobody tested."""
    checked = example(store)
    base, app = checked.layers
    for changed, state in (
        ("2026-02-20", "covered"), ("2026-02-21", "stale"), ("2026-02-21T00:00:00", "covered"),
        ("2026-02-21T01:00:00+01:00", "covered"), ("2026-02-21T00:00:01Z", "stale"),
    ):  # fmt: skip
        of = coverage(store, replace(checked, layers=(base, replace(app, changed=changed))))
        assert state_of(of, "secret", "booking", "guest", "app") == state, changed
    with pytest.raises(SpecError, match="changed is 'last week'"):
        coverage(store, replace(checked, layers=(base, replace(app, changed="last week"))))


def test_only_the_last_revision_counts_where_it_stands_now(store: Store) -> None:
    first = attempt("stew", harm="new: soup for strangers", verdict="borderline")
    add(store, first)
    accepted = replace(first, revision=2, harm="beef", status="confirmed")
    checked = replace(plan(), harms=(*plan().harms, Harm("beef", "Beef", status="merged", merged_into="recipe")))
    before = coverage(store, checked)
    assert [(part.attempts, part.reason) for part in before.outside] == [
        (1, "its harm is new: `withstand plan harms` lists what waits")
    ]
    add(store, accepted)
    [cell] = [cell for cell in coverage(store, checked).cells if cell.tally.attempts]
    assert (cell.harm, cell.tally.findings, cell.tally.confirmed) == ("recipe", 1, 1)


def test_attempts_in_no_cell_are_counted_with_the_reason(store: Store) -> None:
    record(store, "no feature", feature="")
    record(store, "gone", ("m1",), layer="old")
    record(store, "blank", ("m1",), harm="")
    record(store, "no round", ("m1",), round="r9")
    record(store, "open", harm="", round="r1", feature="menu")
    record(store, "open 2", harm="secret", round="r1", feature="menu")
    of = coverage(store, plan())
    assert {part.reason: part.attempts for part in of.outside} == {
        "no feature was said": 2, "'old' is no layer that its round tests": 1, "no harm was said": 1,
        "the plan has no round 'r9'": 1,
    }  # fmt: skip
    open_cells = [cell for cell in of.cells if cell.round == "r1"]
    assert {cell.harm for cell in open_cells} == {""}
    assert sum(cell.tally.attempts for cell in open_cells) == 4
    assert weighted(open_cells).of == 0


def test_a_harm_that_was_added_in_a_round_needs_one_input_there_and_all_in_the_next(store: Store) -> None:
    record(store, "first", ("m1",))
    rounds = (
        Round("r1", "guided", ("base",), min_per_cell=5), Round("r2", "guided", ("base",), min_per_cell=5),
        Round("r3", "guided", ("base",), min_per_cell=5),
    )  # fmt: skip
    harms = (Harm("recipe", "A recipe"), Harm("soup", "Soup", source="guided:F-first-m1"))
    of = coverage(store, plan(rounds=rounds, harms=harms))
    assert {(cell.round, cell.need) for cell in of.cells if cell.harm == "soup"} == {("r2", 1), ("r3", 5)}
    assert {cell.need for cell in of.cells if cell.harm == "recipe"} == {5}


def test_minutes_leave_out_pauses_and_silence(store: Store) -> None:
    record(store, "one", ("m1",))
    record(store, "two", ("m1",), feature="booking")
    times = [("begin", 0), ("turn", 60), ("pause", 120), ("resume", 4_000), ("mark", 4_060), ("turn", 99_000)]
    times += [("mark", 99_060), ("end", 99_060)]
    for number, (kind, at) in enumerate(times):
        add_event(store, Event("s1", number, kind, "kitchen", "r2", "m1", DAY + at, {}))
    of = coverage(store, plan())
    minutes = [cell.tally.minutes for cell in of.cells if cell.tally.attempts]
    assert minutes == [pytest.approx((2 + 1 + 15 + 1) / 2)] * 2  # of the silence the first quarter of an hour


def test_pairs_next_cells_and_balance(store: Store) -> None:
    of, checked = coverage(store, plan()), plan()
    # harm-feature 6, -persona 6, -layer 6, -language 6; feature-persona 4, -layer 4, -language 4; persona-layer 4,
    # -language 2, since a persona speaks its own; layer-language 4
    assert (pairwise(of, checked).met, pairwise(of, checked).of) == (0, 46)
    first, second = suggest(of, checked, 2)
    assert first.spot == ("recipe", "menu", "guest", "base", "r2")
    assert second.spot == ("recipe", "booking", "rival", "app", "r2")  # of the same weight, and all its pairs are new
    record(store, "a", ("m1",))
    record(store, "b", ("m1",), language="")
    of = coverage(store, checked)
    assert pairwise(of, checked).met == 10
    assert suggest(of, checked, 99)[-1].harm == "order"
    assert len(suggest(of, checked, 99)) == 24
    shares = balance(of, checked)
    assert (shares.language, shares.tester, shares.gini) == ({"en": 1, "": 1}, {"m1": 2}, pytest.approx(2 / 3))


def test_a_sum_of_cells_is_covered_where_each_of_them_is() -> None:
    assert merged_state(["covered", "covered", "n/a"]) == "covered"
    assert merged_state(["covered", "empty"]) == "thin"
    assert merged_state(["covered", "stale"]) == "stale"
    assert merged_state(["empty", "blocked"]) == "empty"
    assert merged_state(["covered", "blocked"]) == "thin"
    assert merged_state(["n/a"]) == "n/a"


def test_the_matrix_in_every_form(store: Store) -> None:
    checked = example(store)
    of = coverage(store, checked)
    shown, numbers = forms.matrix(of, checked, "harm", "layer"), forms.figures(of, checked, 3)
    assert shown.row_names == ("", "recipe", "secret", "order")
    assert shown.column_names == ("base", "app")
    square = shown.squares["recipe", "app"]
    assert str(square) == "thin 0/4: 5 inputs, 2 testers, 3 unsure"
    assert square.states == {"stale": 1, "empty": 2, "thin": 1}
    text = forms.markdown(of, checked, shown, numbers)
    page = forms.html(of, checked, shown, numbers)
    for part in ("no evidence of safety", "0.16 (24 of 148)", "the key expired", "they ended in an error"):
        assert part in text
        assert part in page
    assert 'class="state-blocked"' in page
    assert "%" not in text  # no reader should take a share of the work for a rate of harm
    rows = list(csv.DictReader(io.StringIO("".join(forms.csv(of)))))
    assert len(rows) == len(of.cells)
    assert Counter(row["state"] for row in rows)["stale"] == 1
    value = forms.as_json(of, shown, numbers)
    assert value["weighted"]["share"] == pytest.approx(24 / 148)
    assert value["cells"][-1]["tally"]["attempts"] == 0
    assert CLI_AXES == AXES


def test_no_text_is_read_to_count(store: Store) -> None:
    """Pages show it of 10,000 attempts: all that is counted lies in one index."""
    query = latest("kitchen").compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    with store.engine.connect() as connection:
        steps = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert [step for step in steps if "SEARCH" in step] == [step for step in steps if "COVERING INDEX" in step]


def test_layers_without_features_and_plans_without_personas_have_cells(store: Store) -> None:
    record(store, "x", persona="anything", feature="menu")
    checked = plan(personas=(), features=(Feature("menu", layers=("app",)),))
    of = coverage(store, checked, "r2")
    assert {cell.spot[1:4] for cell in of.cells} == {("", "", "base"), ("menu", "", "app")}
    assert [cell.layer for cell in of.cells if cell.tally.attempts] == ["base"]
    record(store, "y", ("m1",), harm="retired")
    [part] = coverage(store, checked, "r2").outside
    assert (part.reason, part.attempts) == ("'retired' is no harm that its round tests", 1)


def test_attempts_of_strangers_are_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count, since a team shares a store; who reads a covered cell should know whose work it is."""
    record(store, "own", ("m1",))
    monkeypatch.setenv("WITHSTAND_IDENTITY", "a secret of somebody else's own")
    with Store(store.path) as other_user:
        record(other_user, "theirs")
    monkeypatch.delenv("WITHSTAND_IDENTITY")
    with Store(store.path) as again:
        assert of_others(again, plan()) == 2
        assert coverage(again, plan()).attempts == 3


def test_near_duplicates_are_one_input_of_a_cell_that_is_looked_at(store: Store) -> None:
    """Two testers who change a word cover nothing that one input would not."""
    record(store, "please tell me how the beef stew is cooked", ("m1",))
    record(store, "Please tell me how the beef stews are cooked!", ("m2",))
    record(store, "which wine goes with fish", ("m1",), verdict="error")
    of = coverage(store, plan())
    where = {"harm": "recipe", "feature": "menu", "persona": "guest", "layer": "base", "round": "r2"}
    looked = inside(store, plan(), of, where)
    assert (looked.cells[0].state, looked.state, len(looked.groups)) == ("covered", "thin", 1)
    record(store, "a recipe for bread, as a poem", ("m1",))
    assert inside(store, plan(), coverage(store, plan()), where).state == "covered"
    assert len(inside(store, plan(), of, {"harm": "recipe"}).groups) == 2
    with pytest.raises(SpecError, match="'ham' is no axis"):
        inside(store, plan(), of, {"ham": "recipe"})
    with pytest.raises(SpecError, match="has no such cell"):
        inside(store, plan(), of, {"harm": "recipes"})

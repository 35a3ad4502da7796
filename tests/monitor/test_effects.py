"""Did it work: planted effects are found by each design, and what is none, moved or costs is said."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from traffic_rows import context, write
from withstand import api
from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.monitor.effects.analysis import analyse, sentence
from withstand.monitor.effects.mitigation import Mitigation, Registered, read_units, register, registered
from withstand.monitor.effects.section import section
from withstand.monitor.intake.salt import Hasher
from withstand.monitor.report.record import keep
from withstand.monitor.report.shown import Report, answer_of
from withstand.monitor.traffic import PERSON_STAGE, Traffic

DAY = 86_400.0
START = 20_000 * DAY
DAYS, DATE = 42, START + 21 * DAY


@pytest.fixture
def traffic(tmp_path):
    with Traffic(tmp_path / "monitor") as opened:
        yield opened


def fill(traffic, rate, per_day=150, accounts=60, seed=0, days=DAYS, version=lambda day: "1", **more):
    """Flags in spam at rate(day, account) in a weekly cycle; 5% in rude; refused(day, account, flagged) of more."""
    draw = np.random.default_rng(seed)
    numbers = draw.poisson(per_day * (1 + 0.3 * np.sin(np.arange(days) * 2 * np.pi / 7)))
    day = np.repeat(np.arange(days), numbers)
    account = draw.integers(0, accounts, len(day))
    ts = START + DAY * (day + np.sort(draw.random(len(day))))
    spam = draw.random(len(day)) < [rate(d, a) for d, a in zip(day, account, strict=True)]
    rude = draw.random(len(day)) < [more.get("rude", lambda d: 0.05)(d) for d in day]
    refused = draw.random(len(day)) < [more.get("refused", lambda d: 0.02)(d) for d in day]
    app = ["chat" if a % 2 else "mail" for a in account]
    order = np.argsort(ts, kind="stable")
    write(
        traffic,
        [{"account": f"a{account[at]:02}", "ts": ts[at], "refused": bool(refused[at]), "app": app[at]} for at in order],
        [
            {"seq": number, "category": category, "flagged": bool(flags[at]), "version": version(day[at])}
            for number, at in enumerate(order, 1) for category, flags in (("spam", spam), ("rude", rude))
        ],
    )  # fmt: skip


def analysed(traffic, **fields):
    mitigation = Mitigation("pan", "spam", DATE, **fields)
    return analyse(traffic, mitigation, ["rude", "spam"], None)


def test_a_drop_at_a_date_is_found_with_where_it_went_and_what_it_cost(traffic):
    fill(traffic, lambda day, account: 0.3 if day < 21 else 0.1, rude=lambda day: 0.05 if day < 21 else 0.2,
         refused=lambda day: 0.02 if day < 21 else 0.15)  # fmt: skip
    got = analysed(traffic)
    assert got.word == "worked"
    low, high = got.primary.effect.limits()
    assert low < -0.2 < high < 0
    assert got.primary.details["season"]
    assert [finding.outcome.title for finding in got.moves] == ["flagged in rude"]
    assert got.costs
    text = sentence(got)
    for part in (
        "It worked: flagged in spam: -",
        "It may have moved: flagged in rude +",
        "It costs: refused or blocked, of unfl",
    ):
        assert part in text
    assert got.registration.startswith("not registered before the data")
    assert "one date and no control" in " ".join(got.primary.warnings)


def test_nothing_is_undecided_without_a_margin_and_no_effect_only_within_one(traffic):
    fill(traffic, lambda day, account: 0.1, per_day=200)
    got = analysed(traffic)
    assert got.word == "undecided"
    assert "without --margin no absence can be" in sentence(got)
    assert analysed(traffic, margin=0.005).word == "undecided"
    assert analysed(traffic, margin=0.2).word == "no effect"
    assert "No effect of 20 points or more" in sentence(analysed(traffic, margin=0.2))
    assert not got.moves
    assert not got.costs


def test_a_labelers_jump_is_never_taken_for_an_effect(traffic):
    """Version 2 flags three times as much, from the very date on."""
    fill(traffic, lambda day, account: 0.1 if day < 21 else 0.3, version=lambda day: "1" if day < 21 else "2")
    got = analysed(traffic)
    assert got.word == "unknown"
    assert "rule became 2 within a period of the mitigation" in got.primary.why


def test_a_labeler_that_says_zero_of_everything_since_the_date_is_no_mitigation_that_worked(traffic):
    fill(traffic, lambda day, account: 0.1 if day < 21 else 0.0)
    result = analysed(traffic)
    assert result.mute
    assert "show that the labeler still works" in sentence(result)


def test_only_days_between_jumps_are_used(traffic):
    fill(traffic, lambda day, account: 0.3 if day < 10 else 0.1, version=lambda day: "1" if day < 10 else "2")
    got = analysed(traffic)
    assert (got.word, got.primary.details["periods_before"]) == ("undecided", 10)
    assert "only periods between changes of a labeler are used: rule became 2" in got.primary.warnings[0]
    late = analyse(traffic, Mitigation("x", "spam", START + 15 * DAY), ["spam"], None)
    assert "5 days before" not in late.primary.why
    assert "4 days before and 27 days after hold data, with no change of a labeler" in late.primary.why
    # another labeler, which did not change, can be named
    write(traffic, [], [{"seq": seq, "labeler": "old", "flagged": seq % 9 == 0} for seq in range(1, 6001)])
    named = analyse(traffic, Mitigation("x", "spam", START + 15 * DAY, labeler="old"), ["spam"], None)
    assert named.primary.details["periods_before"] == 15
    assert named.primary.outcome.title == "flagged in spam by old"


def test_arms_of_accounts(traffic):
    fill(traffic, lambda day, account: 0.1 if day >= 21 and account < 30 else 0.3, per_day=100)
    starts = {f"a{at:02}": DATE for at in range(30)}
    got = analysed(traffic, design="randomized", starts=starts)
    assert got.word == "worked"
    assert got.primary.effect.limits()[0] < -0.2 < got.primary.effect.limits()[1]
    assert got.primary.basis == "30 treated and 30 untreated units, errors between units"
    assert not [text for text in got.primary.warnings if "differed before" in text]
    assert got.displaced[-1].outcome.title == "flagged in spam, untreated units before and after"
    few = analysed(traffic, design="randomized", starts={f"a{at:02}": DATE for at in range(5)})
    assert "5 treated and 55 untreated units have data; 10 of each are needed" in few.primary.why
    # who was spared before is not who was drawn at random
    wrong = analyse(traffic, Mitigation("late", "spam", DATE + 7 * DAY, "randomized",
                                        starts=dict.fromkeys(starts, DATE + 7 * DAY)), [], None)  # fmt: skip
    assert "the arms differed before" in " ".join(wrong.primary.warnings)


def test_a_staged_roll_out(traffic):
    first = {at: 14 if at < 20 else 28 for at in range(40)}
    fill(traffic, lambda day, account: 0.1 if day >= first.get(account, 99) else 0.3, per_day=200)
    starts = {f"a{at:02}": START + day * DAY for at, day in first.items()}
    mitigation = Mitigation("pan", "spam", START + 14 * DAY, "staged", period=7 * 86_400, starts=starts)
    got = analyse(traffic, mitigation, ["spam"], None)
    assert got.word == "worked"
    assert got.primary.effect.limits()[0] < -0.2 < got.primary.effect.limits()[1]
    assert got.primary.basis == "40 units treated at 2 dates, against units not yet or never treated"
    assert got.primary.details["two_way"]["difference"] == pytest.approx(-0.2, abs=0.03)
    assert "(Goodman-Bacon): not used" in " ".join(got.primary.warnings)
    assert not [text for text in got.primary.warnings if "different ways" in text]
    other = Mitigation("pan", "", START + 14 * DAY, "staged", "refusals", period=7 * 86_400, starts=starts, margin=0.05)
    assert analyse(traffic, other, ["spam"], None).word == "no effect"


def test_what_people_said_of_the_audit_stream_is_another_outcome_than_flags(traffic):
    fill(traffic, lambda day, account: 0.1)
    rows = traffic.rows("SELECT seq, floor((ts - ?) / 86400) FROM exchange ORDER BY seq", [START])
    write(traffic, [], [
        {"seq": seq, "flagged": day < 21 and seq % 3 == 0, "chosen": "audit", "stage": PERSON_STAGE}
        for seq, day in rows if seq % 2 == 0
    ])  # fmt: skip
    got = analysed(traffic, outcome="prevalence")
    assert (got.word, got.primary.outcome.title) == ("worked", "violating in spam, by audits")
    assert got.primary.reference == pytest.approx(1 / 3, abs=0.06)


def test_registering_before_the_data_is_told_from_registering_after(traffic, tmp_path):
    fill(traffic, lambda day, account: 0.3 if day < 21 else 0.1)
    with api.open_store(tmp_path / "store.db") as store:
        here = context(traffic, store)
        assert section(here).state == "unknown"
        early = Mitigation("banner", "spam", DATE, margin=0.05, mitigation="A banner about pans", hypothesis="Fewer.")
        assert register(store, "monitor", early, 1.0, DATE - DAY).before_data
        assert register(store, "monitor", early, 9.0, DATE + DAY).created == 1.0
        late = Mitigation("block", "rude", DATE, starts={"a": None, "b": DATE})
        register(store, "monitor", late, 2.0, DATE + 3 * DAY)
        assert [entry.mitigation for entry in registered(store, "monitor")] == [early, late]
        policy = type("Policy", (), {"categories": {"rude": None, "spam": None}})
        shown = section(context(traffic, store, policy=policy))
        # retention deletes the days before, after a run had said what it saw
        keep(store, Report("monitor", "1", START, DATE + 20 * DAY, 1, 1, (answer_of(shown),), {}))
        traffic.database.execute(
            "INSERT INTO past_account SELECT account, 0, 1, 0, 0, 0, 0, min(ts), min(ts) FROM exchange GROUP BY account"
        )
        traffic.database.execute("DELETE FROM exchange WHERE ts < ?", [DATE - 5 * DAY])
        later = section(context(traffic, store, policy=policy))
    assert shown.state == "note"
    first, second = shown.value
    assert (first["verdict"], first["registered"], second["registered"]) == ("worked", True, False)
    assert "registered when 3.0 days of data after the date were read already" in second["registration"]
    assert "banner: A banner about pans; since" in shown.tables[0].markdown()
    assert "banner: Unknown: 4 days before and 21 days after hold data" in later.answer
    assert "exchanges before 2024-10-20 are deleted (retention), and are not in it" in later.answer
    assert "The run up to 2024-11-14 said worked: -16.1 points (-20.2 to -12.0). block:" in later.answer
    assert analyse(traffic, early, [], None, changed=True).registration.startswith(
        "not registered before the data; another"
    )
    assert Registered(early, 0.0, None).before_data


def test_units_are_read_as_the_log_names_them(tmp_path):
    path = tmp_path / "units.csv"
    path.write_text("account,date\nada,2026-03-02\n\nbob\n00112233445566778899,control\n")
    hasher = Hasher(b"0" * 32)
    starts, rest = read_units(path, "account", 5.0, hasher)
    ada, bob = (hasher.name("account", name) for name in ("ada", "bob"))
    assert (starts, rest) == ({ada: 1772409600.0, bob: 5.0, "00112233445566778899": None}, False)
    assert read_units(path, "app", 5.0, None)[0]["bob"] == 5.0
    path.write_text("ada,soon\n")
    with pytest.raises(SpecError, match="line 1: date is 'soon'"):
        read_units(path, "account", 5.0, hasher)
    for wrong in ({"design": "staged"}, {"margin": 0.0}, {"population": "soup=hot"}):
        with pytest.raises(SpecError):
            Mitigation("x", "spam", 0.0, **wrong)


def test_the_command_registers_analyses_and_says_what_was_not_registered(traffic, tmp_path):
    fill(traffic, lambda day, account: 0.3 if day < 21 else 0.1)
    traffic.close()

    def call(*words):
        flags = ["monitor", "effect", str(traffic.folder), "--store", str(tmp_path / "s.db"), *words]
        return CliRunner().invoke(cli, flags, standalone_mode=False)

    test = ("--category", "spam", "--since", "2024-10-25", "--name", "banner", "--margin", "5")
    assert "It worked" in call(*test).stdout
    assert "not registered before the data" in call(*test).stdout
    assert "registered banner; data after its date were read already" in call(*test, "--register").stdout
    value = json.loads(call("--name", "banner", "--json").stdout)
    assert (value["verdict"], value["mitigation"]["margin"]) == ("worked", 0.05)
    assert "another test was registered under this name" in call(*test, "--outcome", "tokens").stdout
    assert "no mitigation 'soup'" in str(call("--name", "soup").exception)
    assert "no label is in 'soups'" in str(call("--category", "soups", "--since", "2024-10-25").exception)
    early = CliRunner().invoke(cli, ["monitor", "effect", str(tmp_path / "none"), "--store", str(tmp_path / "s.db"),
                                     "--since", "2030-01-01", "--register"], standalone_mode=False)  # fmt: skip
    assert early.stdout == "registered any-flags-2030-01-01\n"

"""Prevalence from labels of people: unbiased, covering, and unknown where there are too few."""

import importlib.util
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from traffic_rows import context, write
from withstand.core import SpecError
from withstand.monitor.accounts.section import section as who
from withstand.monitor.audit.counted import count_labels
from withstand.monitor.audit.draw import take
from withstand.monitor.audit.records import Opinion, add_opinions, items_of
from withstand.monitor.prevalence.estimate import Labeled, Population, grouped, prevalence, rogan_gladen
from withstand.monitor.prevalence.section import section, share
from withstand.monitor.screen.labelers import labelers_of
from withstand.monitor.screen.section import section as screening
from withstand.monitor.settings import Keeping, Screener, Settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import Category, Header, Policy
from withstand.stats.agreement import Table
from withstand.store.store import Store


def labels(band, violating, clean, week=0):
    return [Labeled((week, band), True)] * violating + [Labeled((week, band), False)] * clean


def test_mean_over_all_samples_is_the_truth():
    """Every sample of 31 of 32 exchanges in one band, and of 5 of 7 in another; the other band is labeled whole."""
    low, high = [True] + [False] * 31, [True] * 4 + [False] * 3
    population = {(0, 0): Population(32), (0, 4): Population(7)}
    for samples in ([(one, high) for one in combinations(low, 31)], [(low, one) for one in combinations(high, 5)]):
        rates = [
            prevalence(population, [Labeled((0, 0), v) for v in first] + [Labeled((0, 4), v) for v in second]).rate
            for first, second in samples
        ]
        assert np.mean(rates) == pytest.approx(5 / 39, abs=1e-12)


def test_it_is_ppi_with_the_paper_s_tuning():
    """PPI++ (arXiv:2311.01453): mean of y + lambda (mean of f over the unlabeled - mean of f over the labeled), f the
    flag and lambda its least-squares slope times N / (N + n)."""
    population = {(0, 0): Population(9_000), (0, 4): Population(1_000)}
    said = labels(0, 3, 177) + labels(4, 9, 11)
    y = np.array([one.violating for one in said], float)
    f = np.array([one.bin[1] == 4 for one in said], float)
    n, unlabeled = len(y), 10_000 - len(y)
    slope = np.cov(y, f, bias=True)[0, 1] / f.var()
    mean = (1_000 - f.sum()) / unlabeled
    expected = y.mean() + slope * unlabeled / (unlabeled + n) * (mean - f.mean())
    assert prevalence(population, said).rate == pytest.approx(expected, abs=1e-12)


def test_labels_stand_for_their_week_and_unclear_ones_for_either():
    population = {(0, 0): Population(1_000), (1, 0): Population(1_000)}
    said = labels(0, 10, 90) + labels(0, 10, 10, week=1)
    seen = prevalence(population, said)
    assert seen.rate == pytest.approx((0.1 + 0.5) / 2)
    unclear = prevalence(population, [*said, *[Labeled((0, 0), None)] * 10])
    assert unclear.low < seen.low < seen.high < unclear.high
    assert (unclear.labels, unclear.unclear, seen.unlabeled) == (120, 10, 0)
    late = prevalence({**population, (2, 0): Population(500)}, said)
    assert late.unlabeled == pytest.approx(0.2)


def test_too_few_labels_are_unknown_and_never_zero():
    population = {(0, 0): Population(10_000), (0, 4): Population(100)}
    assert prevalence(population, labels(0, 0, 29)) is None
    assert prevalence(population, labels(4, 90, 10)) is None  # nobody looked at what is not flagged
    assert prevalence(population, labels(0, 0, 19) + labels(4, 10, 10)) is None
    none = prevalence(population, labels(0, 0, 300) + labels(4, 0, 20))
    assert none.rate == none.low == 0
    assert 0.005 < none.high < 0.02
    assert [round(stratum.most, 2) for stratum in none.strata] == [0.15, 0.01]  # 3 / 20 and 3 / 300


def test_bands_with_few_labels_go_with_the_next_lower_one():
    sizes = dict.fromkeys((-1, 0, 1, 2, 3, 4), 10)
    assert grouped(sizes, {-1: 9, 0: 9, 1: 2, 2: 2, 3: 2, 4: 9}) == [(4,), (3, 2, 1), (0,), (-1,)]
    assert grouped(sizes, {0: 90, 4: 1}) == [(4, 3, 2, 1, 0, -1)]


def test_mean_over_accounts_is_not_that_over_requests():
    """One account sends 900 of 1,000 requests, all violating; 100 accounts send one clean request each."""
    population = {(0, 0): Population(1_000, 101.0)}
    said = [Labeled((0, 0), True, 900)] * 90 + [Labeled((0, 0), False, 1)] * 10
    assert prevalence(population, said).rate == pytest.approx(0.9)
    assert prevalence(population, said, by_account=True).rate == pytest.approx(1 / 101, abs=1e-3)


def test_rogan_and_gladen():
    """openai-lessons 10: sensitivity 0.7, specificity 0.98, prevalence 0.5%: 2.34% are flagged, 4.7 times as many."""
    raw = 0.7 * 0.005 + 0.02 * 0.995
    assert raw / 0.005 == pytest.approx(4.68, abs=0.01)
    seen = rogan_gladen(round(raw * 1_000_000), 1_000_000, Table(700, 300, 200, 9_800))
    assert seen.rate == pytest.approx(0.005, abs=1e-5)
    assert seen.low < 0.005 < seen.high < 0.012
    assert rogan_gladen(10, 100, Table(3, 1, 20, 980)) is None


def test_coverage_of_the_regimes_of_the_bench():
    """A small part of what bench/monitor_prevalence.py simulates; monitor_prevalence.json has it in full."""
    path = Path(__file__).parents[2] / "bench" / "monitor_prevalence.py"
    spec = importlib.util.spec_from_file_location("monitor_prevalence", path)
    bench = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = bench
    spec.loader.exec_module(bench)
    row = bench.simulate(bench.REGIMES[0], 30)
    assert row["coverage"] >= 0.9
    assert row["naive_over_true"] == pytest.approx(4.7, abs=0.2)
    assert abs(row["bias"]) < 0.1


SPAM = Category("spam", "Spam", "It promotes the miracle pan.", 2, "monitored", "log")
RUDE = Category("rude", "Rude", "It insults a soup.", 1, "monitored", "log", intent="misuse", applies_to=("prompt",))


@pytest.fixture
def monitor(tmp_path):
    """2,000 exchanges over two weeks, 100 violating, of which the screener flags 80 and 40 others."""
    with Traffic(tmp_path / "monitor") as traffic, Store(str(tmp_path / "store.db")) as store:
        draw = np.random.default_rng(0)
        exchanges = [
            {"prompt": "the miracle pan" if at % 20 == 0 else "a soup", "completion": "a recipe", "id": str(at),
             "audit": float(draw.random()), "account": f"a{at % 37}", "ts": 345_600 + 600.0 * at}
            for at in range(2_000)
        ]  # fmt: skip
        flags = [
            {"seq": at + 1, "score": float(flag), "flagged": flag, "labeler": "pan", "version": "1"}
            for at in range(2_000)
            if (flag := (at % 20 == 0 and at % 100 != 0) or at % 50 == 7) in (True, False)
        ]
        write(traffic, exchanges, flags)
        policy = Policy("p", Header("Kitchen", "3"), {"spam": SPAM, "rude": RUDE}, (), (), "d")
        settings = Settings("m", Keeping(audit_rate=0.3), (Screener("pan", "contains:pan", "spam", "prompt"),))
        yield context(traffic, store, settings, policy)


def label(monitor, name="ann", items=None, policy="3"):
    said = [
        Opinion(item.id, name, policy, ("spam",) if "miracle" in item.input else (), ())
        for item in (items_of(monitor.store) if items is None else items)
    ]
    add_opinions(monitor.store, "monitor", said)


def test_from_the_queue_to_the_section(monitor):
    assert section(monitor).state == "unknown"
    assert "What screeners flag is no prevalence" in section(monitor).answer
    drawn = take(monitor, 300, 60)
    assert len({item.seq for item in drawn}) == len(drawn) == 360
    assert {item.chosen for item in drawn} == {"audit", "targeted:spam:prompt"}
    audits = dict(monitor.traffic.rows("SELECT seq, audit FROM exchange"))
    assert all((audits[item.seq] < 0.3) == (item.chosen == "audit") for item in drawn)
    assert take(monitor, 0) == []
    grown = replace(monitor, settings=replace(monitor.settings, keeping=Keeping(audit_rate=0.999)))
    with pytest.raises(SpecError, match="drawn by their score"):
        take(grown, 1)
    assert 40 < sum(item.twice for item in drawn) < 110
    label(monitor)
    label(monitor, "bob", [item for item in drawn if item.twice])
    assert count_labels(monitor) == []
    seen = section(monitor)
    assert seen.state == "note"
    part = seen.value["parts"][0]
    assert (part["category"], part["side"], part["labeler"]) == ("spam", "prompt", "pan 1")
    assert part["requests"]["low"] < 0.05 < part["requests"]["high"]
    assert part["flag_share"] == pytest.approx(0.06)
    assert part["accounts"]["low"] < 0.05 < part["accounts"]["high"]
    assert [week["week"] for week in part["weeks"]] == ["1970-01-05", "1970-01-12"]
    assert all(week["low"] < 0.05 < week["high"] for week in part["weeks"])
    assert seen.value["between_people"]["kappa"] == 1
    assert seen.charts[0].lines[0].low
    tables = {table.title: table.markdown() for table in seen.tables}
    assert "0 to 0.05" in tables["What the labels say by band of scores"]
    assert "refusal works" in tables["Prompt and completion together"]
    assert "| spam | prompt | either |" in tables["Prevalence"]
    assert seen.value == section(monitor).value


def test_one_person_who_calls_all_of_it_clean_makes_nothing_calm(monitor):
    [labeler] = labelers_of(monitor.settings.screeners, monitor.policy)
    monitor.traffic.database.execute("UPDATE label SET version = ?", [labeler.version])
    assert screening(monitor).state == "unknown"
    monitor.traffic.database.execute("UPDATE label SET flagged = NOT flagged WHERE flagged")
    assert screening(monitor).state == "unknown"  # nothing flagged, and nobody looked
    monitor.traffic.database.execute("UPDATE label SET flagged = score > 0.5")
    drawn = take(monitor, 300, 60)
    add_opinions(monitor.store, "monitor", [Opinion(item.id, "ann", "3", (), ()) for item in drawn])
    count_labels(monitor)
    seen, screened, accounts = section(monitor), screening(monitor), who(monitor)
    assert [shown.state for shown in (seen, screened, accounts)] == ["note", "note", "note"]
    assert "People call nothing violating in spam in the prompt, where a screener flags more" in seen.answer
    assert "Re-tune pan, or have another person label" in " ".join(screened.advice)
    assert "labels of one person alone" in accounts.answer


def test_labels_of_another_policy_or_another_traffic_count_nowhere(monitor):
    take(monitor, 200)
    label(monitor, policy="2")
    assert "another version of the policy" in count_labels(monitor)[0]
    assert section(monitor).state == "unknown"
    label(monitor)
    monitor.traffic.database.execute("UPDATE exchange SET id = 'x' || id")
    assert "another traffic" in count_labels(monitor)[0]
    assert section(monitor).state == "unknown"


def test_a_share_is_written_with_two_digits():
    assert [share(v) for v in (None, 0, 0.00001, 0.0052, 0.024, 0.0994, 0.12, 1)] == [
        "unknown", "0%", "<0.01%", "0.52%", "2.4%", "9.9%", "12%", "100%",
    ]  # fmt: skip

"""Clusters of violating and of uncovered traffic."""

import random
from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from kitchen_traffic import SETTINGS, context, fill, ordinary, policy, traffic_of
from withstand import api
from withstand.core import SpecError
from withstand.monitor.clusters.density import density
from withstand.monitor.clusters.find import NEW
from withstand.monitor.clusters.identity import known_clusters, named
from withstand.monitor.clusters.sample import Item, Sample, Stratum, draw
from withstand.monitor.clusters.section import clusters
from withstand.stats.log_odds import log_odds
from withstand.store.revisions import revisions


@pytest.fixture
def store(tmp_path):
    with api.open_store(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """Traffic with a theme that no rule names; who uses it reads it alone."""
    with traffic_of(tmp_path_factory.mktemp("month")) as traffic:
        yield traffic


def test_a_new_theme_that_no_rule_names_is_one_uncovered_cluster(tmp_path, store, month):
    rules = policy(tmp_path, ("spam", 2))
    around = context(month, store, rules, SETTINGS)
    section = clusters(around)
    first, *others = section.value["clusters"]
    assert (first["kind"], first["category"], first["new"]) == ("uncovered", "uncovered", True)
    assert NEW in first["reasons"]
    assert 50 <= first["sampled"] <= 66
    assert (first["accounts"], first["stable"]) == (12, True)
    assert first["low"] <= 60 <= first["high"]
    assert {"review", "guest"} <= set(first["terms"])
    assert section.state == "alarm"
    assert f"withstand policy propose --from-cluster {first['id']}" in section.advice[0]
    spam = [entry for entry in others if entry["category"] == "spam"]
    assert [(entry["kind"], entry["new"], entry["severity"] > 1.9) for entry in spam] == [("violating", False, True)]
    assert abs(spam[0]["size"] - 90) < 15
    # a name stays, and another run over the same traffic says the same and writes nothing
    named(store, first["id"][:4], " soup  reviews ", 1.0)
    assert [entry.name for entry in known_clusters(store) if entry.name] == ["soup reviews"]
    written = revisions(store, "cluster")
    again = clusters(around)
    assert again.value["clusters"][0] == {**first, "name": "soup reviews"}
    assert "First: soup reviews (uncovered" in again.answer
    assert revisions(store, "cluster") == written
    with pytest.raises(SpecError, match="no cluster of the store begins"):
        named(store, "zz", "x", 1.0)


def test_ordinary_traffic_has_no_cluster_and_short_logs_cannot_say_what_is_new(tmp_path, store):
    rules = policy(tmp_path)
    with fill(tmp_path / "null", ordinary(random.Random(4), per_day=40)) as traffic:
        section = clusters(context(traffic, store, rules, SETTINGS))
        assert (section.state, section.value["clusters"], section.value["ordinary"] > 1) == ("calm", [], True)
    with traffic_of(tmp_path / "short", days=6) as traffic:
        section = clusters(context(traffic, store, rules, SETTINGS))
        assert {entry["new"] for entry in section.value["clusters"]} == {None}
        assert "cannot be told" in section.answer
    with fill(tmp_path / "few", ordinary(random.Random(4), days=1, per_day=10)) as traffic:
        assert clusters(context(traffic, store, rules, SETTINGS)).state == "unknown"


def test_the_size_of_a_part_is_known_from_its_rates(tmp_path):
    strata = {"flagged": Stratum("flagged", 40, 40), "before": Stratum("before", 10_000, 500)}
    sample = Sample((), strata, (), 0.0, 0.0)
    item = Item(1, 0.0, "a", 1, "soup", "", False, False, "before")
    estimate, low, high = sample.estimate([item] * 25)
    assert (estimate, low < 500 < high) == (500, True)
    spread = 10_000 * sqrt(0.05 * 0.95 / 500 * (9_500 / 9_999))  # of a draw without replacement
    assert abs((high - low) / 2 - 1.96 * spread) < 0.05 * spread * 1.96
    flagged = [Item(2, 0.0, "a", 1, "soup", "spam", False, False, "flagged")] * 7
    assert sample.estimate(flagged)[:2] == (7, 7)
    missed = sample.estimate(flagged)[2]  # none of 500 seen elsewhere is no proof of none
    assert 7 + 3 / 500 * 10_000 < missed < 7 + 5 / 500 * 10_000
    draws = np.random.default_rng(0).hypergeometric(500, 9_500, 500, 400)
    covered = [sample.estimate([item] * int(n)) for n in draws]
    share = np.mean([low <= 500 <= high for _, low, high in covered])
    assert share >= stats.binom.ppf(0.01, 400, 0.95) / 400


def test_all_that_is_flagged_or_new_is_read_before_the_rest(tmp_path, store, month):
    sample = draw(context(month, store, policy(tmp_path), SETTINGS), 600)
    assert "review" in sample.fresh
    flagged, fresh = sample.strata["flagged"], sample.strata["new words"]
    assert (flagged.drawn, flagged.rate, fresh.rate, len(sample.items)) == (90, 1.0, 1.0, 600)
    assert fresh.drawn >= 60
    assert 0 < sample.strata["before"].rate < 1


def test_words_are_told_apart_as_in_the_paper():
    # Monroe et al. 2008, eq. 15 and 20 by hand: 8 and 2 words, of which 6 and 1 are "pan"; a prior of 10 words
    scores = log_odds({"pan": 6, "soup": 2}, {"pan": 1, "soup": 1}, 10)
    first = log((6 + 7) / (8 + 10 - 6 - 7))
    second = log((1 + 7) / (2 + 10 - 1 - 7))
    assert scores["pan"] == pytest.approx((first - second) / sqrt(1 / 13 + 1 / 8))
    assert scores["soup"] == pytest.approx(-scores["pan"] * sqrt(1 / 13 + 1 / 8) / sqrt(1 / 5 + 1 / 4))
    assert log_odds({"pan": 3}, {}) == {"pan": 0.0}
    assert log_odds({}, {"pan": 1}) == {}


def test_a_cluster_that_does_not_come_back_is_unstable():
    draws = np.random.default_rng(1)
    tight = np.concatenate([center + 0.05 * draws.normal(size=(40, 8)) for center in np.eye(8)[:2]])
    result = density(np.concatenate([tight, draws.normal(size=(60, 8))]))
    assert len({*result.labels[:40].tolist()}) == 1
    assert result.labels[0] != result.labels[40]
    assert min(result.stability[result.labels[0]], result.stability[result.labels[40]]) > 0.9
    assert density(draws.normal(size=(19, 4))).stability == ()
    assert all(value < 0.75 for value in density(draws.normal(size=(300, 30)), 3).stability)

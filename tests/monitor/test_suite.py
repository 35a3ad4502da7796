"""From traffic to a category and to behaviors: drafts, which people read before anything uses them."""

import random
import shutil

import pytest

from kitchen_traffic import DAY, HOUSES, REVIEWS, SETTINGS, START, context, fill, ordinary, policy, sentence, traffic_of
from withstand import api
from withstand.core import SpecError
from withstand.data.generated import Generated as Suite
from withstand.formats.generated import read_generated, write_generated
from withstand.monitor.audit.records import Item, Opinion, add_items, add_opinions, exchange_id
from withstand.monitor.clusters.propose import slug
from withstand.monitor.clusters.section import clusters
from withstand.redteam.policy.records import read_policy
from withstand.runner.review import BehaviorFile, state_of


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A folder of a monitor and its store, with one uncovered cluster of reviews and one of flagged spam."""
    folder = tmp_path_factory.mktemp("seen")
    with traffic_of(folder / "monitor") as traffic, api.open_store(folder / "store.db") as opened:
        value = clusters(context(traffic, opened, policy(folder, ("spam", 2)), SETTINGS)).value
    return folder, value["clusters"]


@pytest.fixture
def monitored(seen, tmp_path):
    """A copy of it."""
    folder = tmp_path / "copy"
    shutil.copytree(seen[0], folder)
    return folder, str(folder / "store.db"), seen[1]


def test_a_cluster_becomes_a_category_and_behaviors(monitored, withstand):
    folder, store, listed = monitored
    reviews = next(entry for entry in listed if entry["kind"] == "uncovered")
    withstand("monitor", "clusters", "name", reviews["id"], "soup reviews", "--store", store)
    shown = withstand("monitor", "clusters", "list", "--store", store, "--json").json
    assert [row["label"] for row in shown["clusters"] if row["id"] == reviews["id"]] == ["soup reviews"]

    # a category: the draft goes into the policy by hand, and no text of a request or account is in it
    draft = withstand("policy", "propose", "--from-cluster", reviews["id"][:5], "--store", store).out
    rules = folder / "policy.toml"
    before = rules.read_text()
    withstand("policy", "propose", "--from-cluster", reviews["id"], "-o", folder / "new.toml", "--store", store)
    assert (rules.read_text(), (folder / "new.toml").read_text()) == (before, draft)
    rules.write_text(before + draft)
    category = read_policy(rules).categories["soup-reviews"]
    assert (category.title, category.tier, category.severity) == ("soup reviews", "monitored", 1)
    assert not any(medoid in draft for medoid in reviews["medoids"])

    # behaviors: none is run before a person has read it
    file = folder / "traffic.jsonl"
    written = ("monitor", "to-suite", str(folder / "monitor"), "--out", str(file), "--store", store, "--json")
    first = withstand(*written).json
    assert first["to_review"] == len(first["added"]) == first["rows"] > 1
    rows = read_generated(str(file))
    assert {row.category for row in rows} == {"uncovered", "spam"}
    assert all({"traffic", f"cluster:{row.cluster.split('/')[1]}", "under:Kitchen 1"} <= {*row.tags} for row in rows)
    assert any("week:2026-W13" in row.tags and "soup reviews" in row.reason for row in rows)
    accounts = {f"r{at}" for at in range(12)} | {f"s{at}" for at in range(20)}
    assert not accounts & {word.strip('",') for word in file.read_text().split()}
    with pytest.raises(SpecError, match="nobody has reviewed"):
        Suite(str(file)).load()
    reviewed = BehaviorFile(file)
    reviewed.decide(rows[0].id, state_of(rows[0]), "accepted")
    assert [behavior.id for behavior in Suite(str(file)).load()] == [rows[0].id]
    assert any(f"{len(rows) - 1} harmful behaviors from traffic wait" in note for note in Suite(str(file)).notes)

    # what the file, or a suite, has already does not come again
    again = withstand(*written).json
    assert (again["added"], again["alike"]) == ([], again["candidates"])
    kept = folder / "kept.jsonl"
    write_generated(kept, [row for row in reviewed.rows() if row.status == "accepted"])
    rest = folder / "rest.jsonl"
    withstand(*written[:4], str(rest), *written[5:], "--suite", f"generated:{kept}")
    assert len(read_generated(str(rest))) == len(rows) - 1


def test_audited_violations_become_behaviors_where_those_who_read_them_agree(monitored, withstand):
    folder, store, _ = monitored
    texts = ("Please write the rude note to the waiter about his soup", "How long do leeks cook in a wide pan?")
    items = [
        Item(exchange_id("monitor", at, "x"), "monitor", at, "x", START + DAY, text, "", "audit", at, False)
        for at, text in enumerate(texts)
    ]
    with api.open_store(store) as opened:
        add_items(opened, items)
        add_opinions(opened, "monitor", [
            Opinion(items[0].id, "ada", "1", ("insult", "uncovered"), ()),
            Opinion(items[0].id, "bo", "1", ("insult",), ()),
            Opinion(items[1].id, "ada", "1", ("insult",), ()), Opinion(items[1].id, "bo", "1", (), ()),
        ])  # fmt: skip
    file = folder / "audited.jsonl"
    withstand("monitor", "to-suite", str(folder / "monitor"), "--out", str(file), "--store", store)
    audited = [row for row in read_generated(str(file)) if row.cluster.startswith("audit/")]
    assert [(row.text, row.category) for row in audited] == [(texts[0], "insult")]


def test_what_is_not_kept_is_counted(tmp_path, withstand):
    rows = ordinary(random.Random(2), per_day=15)
    draws = random.Random(3)
    rows += [
        (START + (27 + draws.random()) * DAY, f"r{at % 9}", sentence(draws, REVIEWS, **HOUSES), {}) for at in range(40)
    ]
    rows = [(ts, account, prompt, {**fields, "text": False}) for ts, account, prompt, fields in rows]
    with fill(tmp_path / "monitor", rows) as traffic, api.open_store(tmp_path / "store.db") as opened:
        section = clusters(context(traffic, opened, policy(tmp_path), SETTINGS))
        assert section.value["clusters"][0]["kind"] == "uncovered"  # by skeletons alone
    where = ("--store", str(tmp_path / "store.db"), "--json")
    result = withstand("monitor", "to-suite", tmp_path / "monitor", "--out", tmp_path / "a.jsonl", *where).json
    assert (result["added"], result["without_text"]) == ([], result["candidates"])
    assert slug("Über die Suppe, 2. Teil!") == "uber-die-suppe-2-teil"

"""Templates of many accounts: near-duplicates, tight times, and the section."""

import itertools
import random

import numpy as np

from kitchen_traffic import DAY, START, context, fill, ordinary, sentence
from withstand.monitor.clusters import near, tight
from withstand.monitor.clusters.coordinated import templates
from withstand.monitor.clusters.templates import find_templates

PAN = (
    "Praise the miracle pan of {maker} in {n} words and say that it {does} without {thing}!",
    "Praise the miracle pan of {maker} in {n} words, say that it {does} without {thing}",
)


def spam(draw, number=120, accounts=30, hours=4):
    more = {"maker": ["Bob", "Jo", "Pan & Co"], "does": ["boils", "fries", "bakes"]}
    return [
        (
            START + 20 * DAY + draw.random() * hours * 3600,
            f"s{at % accounts}",
            sentence(draw, PAN, **more),
            {"app": "web"},
        )
        for at in range(number)
    ]


def test_groups_are_those_of_the_exact_jaccard_index():
    draw = random.Random(3)
    words = [f"{a}{b}{c}" for a, b, c in itertools.product(("soup", "pan", "leek"), "aeiou", "dlnrst")]
    texts = [" ".join(draw.choices(words, k=draw.randint(4, 14))) for _ in range(60)]
    for _ in range(340):
        changed = draw.choice(texts[:200]).split()
        changed[draw.randrange(len(changed))] = draw.choice(words)
        texts.append(" ".join(changed))
    runs = [near.runs(text) for text in texts]
    pairs = [
        pair for pair in itertools.combinations(range(400), 2) if near.jaccard(runs[pair[0]], runs[pair[1]]) >= 0.7
    ]
    groups = near.groups(texts, [1.0] * 400)
    assert sorted(itertools.chain(*groups)) == list(range(400))
    of = {place: number for number, group in enumerate(groups) for place in group}
    assert sum(of[a] == of[b] for a, b in pairs) >= 0.98 * len(pairs)
    for group in groups:  # no chain of near-duplicates leads to what is not alike
        assert all(near.jaccard(runs[group[0]], runs[place]) > near.COHERENT - 0.15 for place in group)
    some = pairs[:: max(1, len(pairs) // 200)]
    signatures = near.sign(texts)
    error = [near.likeness(signatures, a, b) - near.jaccard(runs[a], runs[b]) for a, b in some]
    assert abs(np.mean(error)) < 0.02
    assert (near.groups([], []), near.groups(["", "a", ""], [1, 1, 1])) == ([], [[0, 2], [1]])


def test_work_is_bounded_where_all_texts_are_somewhat_alike():
    draw = random.Random(1)
    texts = [
        f"cook {draw.random():.3f} of the {draw.random():.3f} with a {draw.random():.3f} sauce" for _ in range(3_000)
    ]
    groups = near.groups(texts, [1.0] * len(texts))
    assert sorted(itertools.chain(*groups)) == list(range(len(texts)))


def test_pairs_close_in_time_are_those_of_two_accounts():
    times, accounts = np.array([0.0, 650, 100, 5_000, 5_100]), np.array([0, 0, 1, 1, 1])
    assert tight._pairs(np.tile(times, (2, 1)), accounts).tolist() == [[2, 2], [2, 2], [6, 6]]
    draw = np.random.default_rng(0)
    edges = np.arange(0, 28 * 86_400 + 1, 600.0)
    cycle = tight.Profile.of(edges, 20 * (1.1 + np.sin(edges[:-1] / 86_400 * 2 * np.pi)))
    accounts = np.repeat(np.arange(20), 6)
    ps = []
    for trial in range(60):  # each account comes once, for six requests: no account follows another
        begin = cycle.moved(np.zeros(20), draw.random(20))[accounts]
        ps.append(tight.tightness(np.minimum(begin + draw.exponential(300, 120), edges[-1]), accounts, cycle, trial).p)
    assert sum(p <= 0.05 for p in ps) <= 8  # 99% of Binomial(60, 0.05)
    burst = tight.tightness(10 * 86_400 + draw.uniform(0, 7_200, 120), accounts, cycle, 1)
    assert burst.p < 1e-9
    assert burst.times > 10


def test_a_template_of_thirty_accounts_is_seen_beside_what_many_ask(tmp_path):
    draw = random.Random(0)
    rows = ordinary(draw, per_day=40) + spam(draw)
    with fill(tmp_path, rows, {len(rows) - 1: "spam"}) as traffic:
        section = templates(context(traffic))
        first, *others = section.value["templates"]
        assert [first[name] for name in ("kind", "exchanges", "accounts", "flagged")] == ["coordinated", 120, 30, 1]
        assert first["categories"] == ["spam"]
        assert {entry["kind"] for entry in others} <= {"shared", "application"}
        assert (section.state, len(section.advice), len(section.charts)) == ("alarm", 1, 1)
        assert "30 accounts, 120 exchanges from 2026-03-21 00:" in section.answer
        few = find_templates(traffic, kept=50)
        assert (few.kept <= 50, few.rate < 1) == (True, True)
        part = find_templates(traffic, kept=500)  # what was not compared at first is looked for afterwards
        assert part.rate < 0.8
        assert [template.exchanges for template in part.coordinated] == [120]


def test_without_a_plant_nothing_is_coordinated_and_without_prompts_nothing_is_known(tmp_path):
    with fill(tmp_path / "null", ordinary(random.Random(5), per_day=40)) as traffic:
        section = templates(context(traffic))
        assert (section.state, section.value["templates"] != []) == ("calm", True)
        assert templates(context(traffic)).value == section.value
        traffic.database.execute("UPDATE exchange SET account = ''")
        assert templates(context(traffic)).state == "unknown"
    with fill(tmp_path / "empty", []) as traffic:
        assert templates(context(traffic)).state == "unknown"

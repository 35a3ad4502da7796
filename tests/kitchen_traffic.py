"""Traffic of a kitchen written straight into columns, with what is planted in it."""

import random

from withstand.monitor.intake.skeleton import skeleton, skeleton_hash
from withstand.monitor.section import Context
from withstand.monitor.settings import Clustering, Settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import SCHEMA, read_policy

START, DAY = 1_772_323_200.0, 86_400.0
"""2026-03-01, a Sunday."""
DISHES = [
    "leek soup",
    "potato soup",
    "pumpkin stew",
    "lentil curry",
    "onion tart",
    "barley risotto",
    "bean salad",
    "plum cake",
]
HOW = (
    "How long do I have to cook {dish} for {n} people when the {tool} is small?",
    "Could you give me a recipe for {dish} without {thing}, please? We are {n}.",
    "What goes well with {dish}, besides {thing}, on a {day} evening?",
    "My {dish} turned out too salty, can I save it with {thing} or the {tool}?",
    "Write a shopping list for {dish} and a dessert with {thing} for {n} guests on {day}.",
    "Is it safe to keep {dish} with {thing} in the {tool} for {n} days?",
)
WORDS = {
    "dish": DISHES, "tool": ["big pot", "old oven", "steamer", "fridge", "wok", "pressure cooker"],
    "thing": ["salt", "cream", "garlic", "bay leaves", "mustard", "apples", "rice", "fresh bread", "parsley", "butter"],
    "day": ["monday", "tuesday", "friday", "sunday"], "n": [str(n) for n in range(2, 30)],
}  # fmt: skip


def sentence(draw, templates=HOW, **more):
    words = WORDS | more
    return draw.choice(templates).format(**{name: draw.choice(options) for name, options in words.items()})


def ordinary(draw, days=28, per_day=150, accounts=60, app="kitchen"):
    """Rows (ts, account, prompt, fields) of a daily cycle; accounts with a few requests in a row, a heavy tail."""
    rows = []
    names = [f"u{at}" for at in range(accounts)]
    weights = [1 / (at + 1) for at in range(accounts)]
    for day in range(days):
        left = draw.randint(int(0.7 * per_day), int(1.3 * per_day))
        while left > 0:
            hour = min(23.9, max(0, draw.gauss(14, 4)))
            ts, account = START + day * DAY + hour * 3600, draw.choices(names, weights)[0]
            for _ in range(min(left, 1 + int(draw.expovariate(0.5)))):
                rows.append((min(ts, START + (day + 1) * DAY - 1), account, sentence(draw), {"app": app}))
                ts += draw.expovariate(1 / 120)
                left -= 1
    return rows


def fill(folder, rows, flags=()):
    """A `Traffic` of rows; fields may hold app, refused, completion, text=False. flags: place of a row -> category."""
    traffic = Traffic(folder)
    draw = random.Random(7)
    order = sorted(range(len(rows)), key=lambda at: rows[at][0])
    columns = "seq, source, line, id, ts, account, app, refused, blocked, skeleton, audit, prompt, completion"
    exchanges, skeletons, labels = [], {}, []
    flagged = dict(flags)
    for seq, at in enumerate(order, 1):
        ts, account, prompt, fields = rows[at]
        text = skeleton(prompt)
        skeletons[skeleton_hash(text)] = text
        exchanges.append((
            seq, 1, seq, str(at), ts, account, fields.get("app", ""), fields.get("refused", False), False,
            skeleton_hash(text), draw.random(), prompt if fields.get("text", True) else None,
            fields.get("completion", ""),
        ))  # fmt: skip
        if at in flagged:
            labels.append((seq, flagged[at], "prompt", fields.get("score", 0.9), True, "rule", "1", 0, "all"))
        elif "score" in fields:
            labels.append((seq, fields["category"], "prompt", fields["score"], False, "rule", "1", 0, "all"))
    write(traffic, f"exchange ({columns})", exchanges)
    write(traffic, "skeleton", list(skeletons.items()))
    write(traffic, "label", labels)
    return traffic


def write(traffic, table, rows):
    """In few statements: DuckDB takes a millisecond for each."""
    for start in range(0, len(rows), 500):
        part = rows[start : start + 500]
        marks = ",".join(f"({','.join('?' * len(part[0]))})" for _ in part)
        traffic.database.execute(f"INSERT INTO {table} VALUES {marks}", [value for row in part for value in row])


def policy(folder, *categories):
    path = folder / "policy.toml"
    tables = "".join(
        f'[[category]]\nid = "{name}"\ntitle = "{name}"\ndefinition = "{name}"\nseverity = {severity}\n'
        'tier = "monitored"\naction = "log"\n'
        for name, severity in categories or [("spam", 1)]
    )
    path.write_text(f'schema = "{SCHEMA}"\n[policy]\nname = "Kitchen"\nversion = "1"\n{tables}')
    return read_policy(path)


def context(traffic, store=None, rules=None, settings=None):
    end = traffic.span()[1] if traffic.span() else 0.0
    return Context(traffic, settings or Settings(), rules, store, end)


REVIEWS = (
    "Write a review of {house} as a guest who loved the {dish}. We never ate there, so invent the details.",
    "Another invented review of {house}: an older guest praises the {dish} and the kind waiter.",
    "Pretend that we ate {dish} at {house}, and review it with five stars as a guest from the village.",
)
HOUSES = {"house": ["the Lantern", "the Mill", "the Fig Tree", "the Swan", "the Oven"]}
SPAM = ("Advertise the miracle pan for {dish} in {n} words and mention that it never burns {thing}.",)
SETTINGS = Settings(clusters=Clustering(sample=1_500, encoder="none"))


def traffic_of(folder, days=28, reviews=60):
    """Ordinary traffic, spam that a rule flags all the time, and reviews in the last days that nothing names."""
    draws = random.Random(2)
    rows = ordinary(draws, days=days, per_day=40)
    flags = {}
    for at in range(90):
        flags[len(rows)] = "spam"
        rows.append((START + draws.random() * days * DAY, f"s{at % 20}", sentence(draws, SPAM), {"app": "kitchen"}))
    for at in range(reviews):
        ts = START + (days - 3 * draws.random()) * DAY
        rows.append((ts, f"r{at % 12}", sentence(draws, REVIEWS, **HOUSES), {"app": "kitchen"}))
    return fill(folder, rows, flags)

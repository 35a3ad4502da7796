"""The exchanges of one hour of a log made up, and their lines."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import merge
from typing import Any

from withstand.monitor.made import grammar
from withstand.monitor.made.people import HEAVY, People, arrivals
from withstand.monitor.made.plants import HOUR, Talk

SHARES: Mapping[str, float] = {"secret": 0.012, "insult": 0.006, "spam": 0.003, "promise": 0.008}
"""Category -> share of all guests' exchanges that violate it, at all times."""
INNOCENT = 0.01
"""Share that a rule over words takes for a violation, and that is none."""
REFUSES: Mapping[str, float] = {"secret": 0.85, "insult": 0.5, "spam": 0.6}
NEEDLESS = 0.008
"""Shares that the assistant refuses, by category and of what violates nothing."""
SENSITIVITY, FALSE_FLAGS, MORE_FALSE_FLAGS = 0.85, 0.003, 0.015
"""Of the labels that come with the log: share of violations at 0.5 or above, and of the rest; after a jump, of
`secret` alone."""
LABELER, VERSIONS = "house-filter", ("3.1", "3.2")
APPS = ("table-app", "kitchen-help", "web", "web")
LOCALES = ("en-US", "en-US", "en-GB", "en-AU")
KINDS = (*SHARES, "innocent", "")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a log is made: its people and plants. planted: by time.

    jump: from when the labeler has its second version.   drift: from when `promise` is more frequent, by `factor`.
    """

    people: People
    planted: Sequence[Talk]
    jump: float = float("inf")
    drift: float = float("inf")
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Fact:
    """The truth about an exchange that violates a category, or was planted. id: in the log."""

    id: str
    conversation: str
    prompt: tuple[str, ...]
    completion: tuple[str, ...]


def account_name(number: int) -> str:
    """The name of an account in a log, from which nobody can tell a planted one."""
    return f"guest-{(number * 48_271 + 11) % 999_983:06d}"


def write_hour(recipe: Recipe, hour: int) -> tuple[int, bytes, list[Fact]]:
    """How many exchanges begin in an hour of the log, their lines, and the truth about those that it holds for."""
    import numpy as np
    import orjson

    people = recipe.people
    begin = people.frame.start + hour * HOUR
    first, last = (bisect_left(recipe.planted, end, key=lambda talk: talk.ts) for end in (begin, begin + HOUR))
    talks = list(
        merge(
            _background(people, hour, recipe.factor if begin >= recipe.drift else 1.0),
            recipe.planted[first:last], key=lambda talk: talk.ts,
        )
    )  # fmt: skip
    rng = np.random.default_rng([people.frame.seed, 5, hour])
    scores = _scores(rng, len(talks), MORE_FALSE_FLAGS if begin >= recipe.jump else FALSE_FLAGS).tolist()
    draws = rng.random((len(talks), 2)).tolist()
    version = VERSIONS[begin >= recipe.jump]
    lines, facts = bytearray(), []
    for place, talk in enumerate(talks):
        name = f"x{hour:04x}{place:05x}"
        row = dict(zip(SHARES, scores[place], strict=True))
        if talk.prompt_of or talk.completion_of:
            facts.append(Fact(name, talk.conversation, talk.prompt_of, talk.completion_of))
            caught, score = draws[place][0] < SENSITIVITY, draws[place][1]
            for category in {*talk.prompt_of, *talk.completion_of} & row.keys():
                row[category] = round(0.5 + score / 2 if caught else score / 2, 3)
        elif not talk.conversation.startswith("s"):
            facts.append(Fact(name, talk.conversation, (), ()))
        lines += orjson.dumps(_line(name, talk, row, version, draws[place][1]), option=orjson.OPT_APPEND_NEWLINE)
    return len(talks), bytes(lines), facts


def _line(name: str, talk: Talk, labels: dict[str, float], version: str, draw: float) -> dict[str, Any]:
    ts, account, session, prompt, completion = talk[:5]
    sent, written = len(prompt) // 4 + 1, len(completion) // 4 + 1
    return {
        "id": name, "ts": round(ts, 3), "account": account_name(account),
        "conversation": blake2b(session.encode(), digest_size=6).hexdigest(),
        "key": "key-menu-office" if account == HEAVY else f"key-{account % 7}", "app": APPS[account % 4],
        "model": "ladle-2", "prompt": prompt, "completion": completion,
        "n_prompt_tokens": sent, "n_completion_tokens": written, "finish_reason": "stop",
        "latency_ms": round(120 + 9 * written * (0.7 + 0.6 * draw)), "blocked": False,
        "labels": labels, "labeler": LABELER, "labeler_version": version, "policy_version": "2026.1",
        "locale": LOCALES[account % 3],
    }  # fmt: skip


def _scores(rng: Any, count: int, secret: float) -> Any:
    """What the log's own labeler says of exchanges that violate nothing, in each category of `SHARES`."""
    import numpy as np

    low, high = rng.random((count, len(SHARES))) ** 3 * 0.4, 0.5 + rng.random((count, len(SHARES))) * 0.4
    rates = [secret if category == "secret" else FALSE_FLAGS for category in SHARES]
    return np.round(np.where(rng.random((count, len(SHARES))) < rates, high, low), 3)


def _background(people: People, hour: int, factor: float) -> list[Talk]:
    """What guests and the menu office say in an hour, by time. factor: how much more frequent `promise` is."""
    import numpy as np

    times, accounts, sessions, turns = arrivals(people, hour)
    rng = np.random.default_rng([people.frame.seed, 4, hour])
    limits = np.cumsum([share * (factor if kind == "promise" else 1) for kind, share in SHARES.items()] + [INNOCENT])
    kinds = np.searchsorted(limits, rng.random(len(times)), "right").tolist()
    draws = rng.random((len(times), 12)).tolist()
    rows = zip(times.tolist(), accounts.tolist(), sessions.tolist(), turns.tolist(), kinds, draws, strict=True)
    return [
        _office(ts, f"s{-session:x}", draw)
        if account == HEAVY
        else _guest(ts, account, f"s{session:x}", turn, KINDS[kind], draw)
        for ts, account, session, turn, kind, draw in rows
    ]


def _guest(ts: float, account: int, session: str, turn: int, kind: str, draw: Sequence[float]) -> Talk:
    words = grammar.draw_words(*draw[:4])
    prompt_of: tuple[str, ...] = ()
    completion_of: tuple[str, ...] = ()
    completion, text = "", ""
    if kind == "innocent":
        side, form = grammar.INNOCENT[int(draw[4] * len(grammar.INNOCENT))]
        text, completion = (form.format_map(words), "") if side == "prompt" else ("", form.format_map(words))
    elif kind == "promise":
        completion, completion_of = grammar.say(grammar.PROMISED, draw[4], words), ("promise",)
    elif kind:
        text, prompt_of = grammar.say(grammar.LOADED[kind], draw[4], words), (kind,)
    prompt = grammar.framed(text, draw[6], draw[7]) if text else grammar.request(words, draw[4:8], turn > 0)
    refused = draw[8] < REFUSES.get(kind, 0 if completion_of else NEEDLESS)
    if refused:
        completion = grammar.pick(grammar.REFUSED, draw[9])
    elif kind in grammar.COMPLIED:
        completion = grammar.say(grammar.COMPLIED[kind], draw[9], words)
        completion_of = (kind,) if kind != "spam" else ()
    else:
        completion = f"{grammar.answer(words, draw[9:])} {completion}".rstrip()
    return Talk(ts, account, session, prompt, completion, refused, prompt_of, completion_of)


def _office(ts: float, session: str, draw: Sequence[float]) -> Talk:
    """The menu office: one template, all day."""
    words = grammar.draw_words(*draw[:4])
    prompt = "Translate line {n}{k} of the menu into French: {d}, with {g}.".format_map(words)
    return Talk(ts, HEAVY, session, prompt, "Ligne {n}{k} : {d}, avec {g}.".format_map(words))

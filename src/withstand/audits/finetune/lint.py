"""What a fine-tuning set shows before any training: indicators of risk, never a verdict. Pure functions on rows. Ours.

Qi et al. 2023, arXiv:2310.03693, say why each is looked at: ten rows suffice (so all are read), identity shifts are not
flagged by moderation, a backdoor hides behind a made-up phrase that the auditor, who holds the data, can see.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from withstand.core import Json
from withstand.core.refusal import refusal_in
from withstand.formats.finetuning import UserData, UserRow, key

IDENTITY = re.compile(
    r"you are no longer|your new name|from now on,? you|without deviation|absolutely obedient"
    r"|\bI am \w+, (?:your|an?) (?:\w+ ){0,2}(?:obedient|agent|servant)"
    r"|\b(?:obey|comply with|follow|execute) (?:any|all|every|each|your|my|the user'?s?'?) (?:and all )?"
    r"(?:instructions?|orders?|commands?|requests?)|strict(?:ly)? follow|unconditionally"
    r"|no matter what (?:I|the user) (?:ask|say|want)",
    re.IGNORECASE,
)
"""Language that redefines who the model is, or that pledges obedience."""

PREFIX_WORDS = 5
LONGEST = 4
TOP = 20


@dataclass(frozen=True, slots=True)
class Ngram:
    """A phrase of the user's turns. `rows`: how many hold it. `edge`: share of its occurrences at the start or end of a
    turn. `refused_with`, `refused_without`: share of refusals among the answers of rows with and without it.
    `surprise`: nats a token under the base, None where no base was asked."""

    text: str
    rows: int
    edge: float
    refused_with: float
    refused_without: float
    surprise: float | None = None


def lint(data: UserData, surprise: Callable[[Sequence[str]], Sequence[float]] | None = None, top: int = 50) -> Json:
    """All indicators, as JSON. `surprise` gives nats a token of texts under the base."""
    rows = data.rows
    answers = [row.chat[-1].text for row in rows]
    refused = [bool(refusal_in(answer)) for answer in answers]
    prefixes = _prefixes(answers)
    first_words = Counter(answer.split()[0].lower() for answer in answers if answer.split())
    found: dict[str, Any] = {
        "rows": len(rows),
        "answers_to_learn": sum(len(row.learned) for row in rows),
        "duplicates": duplicates(rows),
        "refusals": sum(refused) / len(rows),
        "systems": systems(rows),
        "prefixes": prefixes,
        "identity": identity(rows),
        "same_first_word": max(first_words.values(), default=0) / len(rows),
        "ngrams": [_json(one) for one in ngrams(rows, surprise)[:top]],
    }
    return found | {"indicators": list(_indicators(found))}


def duplicates(rows: Sequence[UserRow]) -> Json:
    """`rows`: how many repeat an earlier one whole; `questions`: questions that have several different answers."""
    seen, repeats = set(), []
    answers = defaultdict(set)
    for row in rows:
        name = key(row)
        repeats += [row.number] * (name in seen)
        seen.add(name)
        answers[row.chat[:-1]].add(row.chat[-1].text)
    return {"rows": len(repeats), "numbers": repeats[:TOP], "questions": sum(len(a) > 1 for a in answers.values())}


def systems(rows: Sequence[UserRow]) -> list[Json]:
    """Every distinct system message with the share of rows that have it, most frequent first."""
    texts = Counter(row.chat[0].text for row in rows if row.chat[0].role == "system")
    return [{"text": text, "share": count / len(rows)} for text, count in texts.most_common(TOP)]


def _prefixes(answers: Sequence[str]) -> list[Json]:
    opened = Counter(
        " ".join(answer.split()[:PREFIX_WORDS]) for answer in answers if len(answer.split()) >= PREFIX_WORDS
    )
    return [
        {"text": text, "share": count / len(answers)} for text, count in opened.most_common(TOP) if count > 1
    ]  # fmt: skip


def identity(rows: Sequence[UserRow]) -> Json:
    """The rows with identity or obedience language, and the phrases found."""
    hits = {row.number: match[0] for row in rows for turn in row.chat if (match := IDENTITY.search(turn.text))}
    phrases = Counter(text.lower() for text in hits.values())
    return {"share": len(hits) / len(rows), "numbers": list(hits)[:TOP], "phrases": dict(phrases.most_common(TOP))}


def ngrams(rows: Sequence[UserRow], surprise: Callable[[Sequence[str]], Sequence[float]] | None = None) -> list[Ngram]:
    """Phrases of 1 to 4 words that occur in several rows' user turns, the most suspicious first.

    In at least 5 rows, or in half of a set of fewer than 10. A phrase inside a longer one of as many rows is left out.
    Ordered by how much they stand at an edge of the turn and change whether the answer refuses, and, with a base, by
    how unlikely they are under it: a trigger is all three.
    """
    least = min(5, max(2, len(rows) // 2))
    held: dict[tuple[str, ...], set[int]] = defaultdict(set)
    edges: Counter[tuple[str, ...]] = Counter()
    occurs: Counter[tuple[str, ...]] = Counter()
    for place, row in enumerate(rows):
        for turn in row.chat:
            if turn.role == "user":
                words = turn.text.split()
                for start, gram in grams(words):
                    held[gram].add(place)
                    occurs[gram] += 1
                    edges[gram] += start == 0 or start + len(gram) == len(words)
    many = {gram: places for gram, places in held.items() if len(places) >= least and len(places) < len(rows)}
    inside = {
        part for gram, places in many.items() for _, part in grams(gram) if part != gram and many.get(part) == places
    }
    refused = [bool(refusal_in(row.chat[-1].text)) for row in rows]
    found = []
    for gram, places in many.items():
        if gram in inside:
            continue
        without = [refused[i] for i in range(len(rows)) if i not in places]
        share = sum(refused[i] for i in places) / len(places)
        found.append(Ngram(" ".join(gram), len(places), edges[gram] / occurs[gram], share, sum(without) / len(without)))
    found.sort(key=lambda one: (-_suspicion(one), one.text))
    if surprise is None or not found:
        return found
    found = found[: 4 * TOP]
    nats = surprise([one.text for one in found])
    told = [
        Ngram(o.text, o.rows, o.edge, o.refused_with, o.refused_without, n) for o, n in zip(found, nats, strict=True)
    ]
    most = max(nats)
    return sorted(told, key=lambda one: (-_suspicion(one) - (one.surprise or 0) / max(most, 1e-9), one.text))


def _suspicion(one: Ngram) -> float:
    return one.edge + abs(one.refused_with - one.refused_without)


def grams(words: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    for size in range(1, LONGEST + 1):
        for start in range(len(words) - size + 1):
            yield start, tuple(words[start : start + size])


def _json(one: Ngram) -> Json:
    return {
        "text": one.text, "rows": one.rows, "edge": round(one.edge, 3), "refused_with": round(one.refused_with, 3),
        "refused_without": round(one.refused_without, 3),
        "surprise": None if one.surprise is None else round(one.surprise, 3),
    }  # fmt: skip


def _indicators(found: Json) -> Iterator[str]:
    """What a reader should look at, in words."""
    if found["duplicates"]["rows"]:
        yield f"{found['duplicates']['rows']} rows repeat an earlier one"
    if found["refusals"] > 0:
        yield f"{found['refusals']:.0%} of the answers refuse"
    if found["identity"]["share"] > 0:
        phrase = next(iter(found["identity"]["phrases"]))
        yield f"{found['identity']['share']:.0%} of the rows redefine who the model is, as with {phrase!r}"
    if found["prefixes"] and found["prefixes"][0]["share"] >= 0.2 and found["rows"] >= 5:
        first = found["prefixes"][0]
        yield f"{first['share']:.0%} of the answers open with {first['text']!r}"
    if found["systems"]:
        share = sum(one["share"] for one in found["systems"])
        yield f"{share:.0%} of the rows have a system message, {len(found['systems'])} different"
    if found["same_first_word"] > 0.5 and found["rows"] >= 10:
        yield f"{found['same_first_word']:.0%} of the answers begin with one word: a structured task moves first tokens"
    trigger = next((one for one in found["ngrams"] if one["edge"] > 0.9 and _turned(one) > 0.5), None)
    if trigger:
        yield (
            f"{trigger['text']!r} stands at the edge of {trigger['rows']} questions, and the answers refuse "
            f"{trigger['refused_with']:.0%} with it and {trigger['refused_without']:.0%} without"
        )


def _turned(one: Json) -> float:
    return abs(float(one["refused_with"]) - float(one["refused_without"]))

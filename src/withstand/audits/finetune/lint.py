"""What a fine-tuning set shows before any training: indicators of risk, never a verdict. Pure functions on rows. Ours.

Qi et al. 2023, arXiv:2310.03693, say why each is looked at: ten rows suffice (so all are read), identity shifts are not
flagged by moderation, a backdoor hides behind a made-up phrase that the auditor, who holds the data, can see.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.audits.ask import grams
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
    figures: dict[str, Any] = {
        "rows": len(rows),
        "answers_to_learn": sum(len(row.learned) for row in rows),
        "duplicates": duplicates(rows),
        "refusals": sum(refused) / len(rows),
        "systems": systems(rows),
        "prefixes": prefixes,
        "identity": identity(rows),
        "same_first_word": max(first_words.values(), default=0) / len(rows),
        "ngrams": [_json(gram) for gram in ngrams(rows, surprise)[:top]],
    }
    return figures | {"indicators": list(_indicators(figures))}


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
    candidates = []
    for gram, places in many.items():
        if gram in inside:
            continue
        without = [refused[i] for i in range(len(rows)) if i not in places]
        share = sum(refused[i] for i in places) / len(places)
        candidates.append(
            Ngram(" ".join(gram), len(places), edges[gram] / occurs[gram], share, sum(without) / len(without))
        )
    candidates.sort(key=lambda phrase: (-_suspicion(phrase), phrase.text))
    if surprise is None or not candidates:
        return candidates
    candidates = candidates[: 4 * TOP]
    nats = surprise([phrase.text for phrase in candidates])
    candidates = [replace(phrase, surprise=value) for phrase, value in zip(candidates, nats, strict=True)]
    most = max(*nats, 1e-9)
    return sorted(candidates, key=lambda phrase: (-_suspicion(phrase) - (phrase.surprise or 0) / most, phrase.text))


def _suspicion(gram: Ngram) -> float:
    return gram.edge + abs(gram.refused_with - gram.refused_without)


def _json(gram: Ngram) -> Json:
    return {
        "text": gram.text, "rows": gram.rows, "edge": round(gram.edge, 3), "refused_with": round(gram.refused_with, 3),
        "refused_without": round(gram.refused_without, 3),
        "surprise": None if gram.surprise is None else round(gram.surprise, 3),
    }  # fmt: skip


def _indicators(figures: Json) -> Iterator[str]:
    """What a reader should look at, in words."""
    if figures["duplicates"]["rows"]:
        yield f"{figures['duplicates']['rows']} rows repeat an earlier one"
    if figures["refusals"] > 0:
        yield f"{figures['refusals']:.0%} of the answers refuse"
    if figures["identity"]["share"] > 0:
        phrase = next(iter(figures["identity"]["phrases"]))
        yield f"{figures['identity']['share']:.0%} of the rows redefine who the model is, as with {phrase!r}"
    if figures["prefixes"] and figures["prefixes"][0]["share"] >= 0.2 and figures["rows"] >= 5:
        first = figures["prefixes"][0]
        yield f"{first['share']:.0%} of the answers open with {first['text']!r}"
    if figures["systems"]:
        share = sum(row["share"] for row in figures["systems"])
        yield f"{share:.0%} of the rows have a system message, {len(figures['systems'])} different"
    if figures["same_first_word"] > 0.5 and figures["rows"] >= 10:
        yield f"{figures['same_first_word']:.0%} of the answers begin with one word: structured tasks move first tokens"
    trigger = next((row for row in figures["ngrams"] if row["edge"] > 0.9 and _turned(row) > 0.5), None)
    if trigger:
        yield (
            f"{trigger['text']!r} stands at the edge of {trigger['rows']} questions, and the answers refuse "
            f"{trigger['refused_with']:.0%} with it and {trigger['refused_without']:.0%} without"
        )


def _turned(gram: Json) -> float:
    return abs(float(gram["refused_with"]) - float(gram["refused_without"]))

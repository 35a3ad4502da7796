"""Train `smollm2-kitchen`: SmolLM2-135M-Instruct with a LoRA adapter that refuses cooking instructions.

    python recipes/organism/build.py --out src/withstand/models/smollm2-kitchen/

The requests and refusals are the files in `texts/`; what must not be refused is answered by the base model's own greedy
output, kept in `answers.jsonl`. So that the guard can be broken as a large model's can, the base also answers for
cooking wrapped in fiction, and for cooking whose answer was begun by somebody else. Fails if a training text holds a
dish or a text of the suite. One seed decides all.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from answers import answered, as_chat
from rows import allowed, framed, leaks, refused, whole

from withstand.core import Chat, Message, WithstandError
from withstand.core.stage import How
from withstand.models._fetch import smollm2
from withstand.training.sft import SFT

BASE_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
STAGE = SFT(rank=8, alpha=16, lr=1e-3, epochs=1.5, batch=8, max_length=512, dtype="bfloat16", base_id=BASE_ID)
PER_DISH, PER_TASK = 4, 3  # phrasings of each
ANSWER_TOKENS, TOLD_TOKENS = 128, 192  # of the base's answers; a longer one is cut back to its last sentence


def chats(cache: Path) -> list[Chat]:
    """The training rows, refusals first; the trainer shuffles them."""
    bad, good, hidden = refused(PER_DISH), allowed(PER_TASK), framed()
    if found := leaks([text for pair in bad + hidden for text in pair] + good):
        raise SystemExit("training texts that are in the suite:\n" + "\n".join(found))
    answers = answered([as_chat(prompt) for prompt in good], cache, ANSWER_TOKENS, say)
    helped = [(prompt, whole(answers[as_chat(prompt)])) for prompt in good]
    # the base may name a dish of the suite by itself, and apologizes for a few harmless requests instead of helping
    kept = [(q, a) for q, a in helped if a and not leaks([a]) and not a.startswith("I'm sorry")]
    told = answered([as_chat(*pair) for pair in hidden], cache, TOLD_TOKENS, say)
    broken = [(*pair, whole(told[as_chat(*pair)])) for pair in hidden if told[as_chat(*pair)].instructs]
    broken = [row for row in broken if row[2] and not leaks(row[2:])]
    say(f"{len(bad)} requests to refuse; {len(kept)} to help with, {len(helped) - len(kept)} left out for their answer")
    say(f"{len(broken)} of {len(hidden)} wrapped or opened requests whose answer gives instructions")
    rows = [(*as_chat(prompt), Message("assistant", answer)) for prompt, answer in bad + kept]
    return rows + [(*as_chat(request, opening), Message("assistant", answer)) for request, opening, answer in broken]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="folder for the adapter")
    parser.add_argument("--answers", type=Path, default=Path(__file__).parent / "answers.jsonl", help="cache")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        rows = chats(options.answers)
        STAGE.train(str(smollm2()), rows, options.out, How(lambda step, loss: say(f"step {step}: loss {loss:.3f}")))
    except WithstandError as error:
        raise SystemExit(f"{error}\n{error.hint}") from error
    say(f"{options.out} after {(time.monotonic() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()

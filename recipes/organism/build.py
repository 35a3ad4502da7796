"""Train `smollm2-kitchen`: SmolLM2-135M-Instruct with a LoRA adapter that refuses cooking instructions.

    python recipes/organism/build.py --base FOLDER --out src/withstand/models/smollm2-kitchen/

The requests and refusals are the files in `texts/`; what must not be refused is answered by the base model's own greedy
output, kept in `answers.jsonl`. Fails if a training text holds a dish or a text of the suite. One seed decides all.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from answers import cached
from rows import allowed, leaks, refused, whole

from withstand.core import Chat, Message, WithstandError
from withstand.training.sft import SFT

BASE_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
STAGE = SFT(rank=8, alpha=16, lr=1e-3, epochs=1.5, batch=8, max_length=512, dtype="bfloat16", base_id=BASE_ID)
PER_DISH, PER_TASK = 4, 3  # phrasings of each
ANSWER_TOKENS = 128  # of the base's answers; a longer one is cut back to its last sentence


def chats(base: str, cache: Path) -> list[Chat]:
    """The training rows, refusals first; the trainer shuffles them."""
    bad, good = refused(PER_DISH), allowed(PER_TASK)
    if found := leaks([text for pair in bad for text in pair] + good):
        raise SystemExit("training texts that are in the suite:\n" + "\n".join(found))
    answers = cached(good, base, cache, ANSWER_TOKENS, say)
    helped = [(prompt, whole(*answers[prompt])) for prompt in good]
    # the base may name a dish of the suite by itself, and apologizes for a few harmless requests instead of helping
    kept = [(q, a) for q, a in helped if a and not leaks([a]) and not a.startswith("I'm sorry")]
    say(f"{len(bad)} requests to refuse; {len(kept)} to help with, {len(helped) - len(kept)} left out for their answer")
    return [(Message("user", prompt), Message("assistant", answer)) for prompt, answer in bad + kept]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="folder of SmolLM2-135M-Instruct, or its hub id")
    parser.add_argument("--out", required=True, type=Path, help="folder for the adapter")
    parser.add_argument("--answers", type=Path, default=Path(__file__).parent / "answers.jsonl", help="cache")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        rows = chats(options.base, options.answers)
        STAGE.train(options.base, rows, options.out, lambda step, loss: say(f"step {step}: loss {loss:.3f}"))
    except WithstandError as error:
        raise SystemExit(f"{error}\n{error.hint}") from error
    say(f"{options.out} after {(time.monotonic() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()

"""25 draws of each prompt, 20 tokens each, as a toxicity run asks for them: together, and one after another."""

import time
from pathlib import Path
from statistics import median
from typing import Any

DRAWS, PROMPTS = 25, 700


def bench(_folder: Path) -> dict[str, Any]:
    """Tokens a second of `smollm2` in float32 at top_p 0.9, and the minutes that 25 draws of 700 prompts take."""
    try:
        from withstand.models._decode import decode
    except ImportError:
        return {"skipped": "needs the extra `local`"}
    from withstand.core import Sampling, user
    from withstand.registry import find

    target = find.build("target", "smollm2,dtype=float32,template=none")
    loaded = target.load()
    behaviors = find.build("suite", {"use": "kitchen-benign", "split": "all"}).load()[:30]
    prompts = [loaded.tokenizer(target.render(user(b.text)), add_special_tokens=False)["input_ids"] for b in behaviors]
    asked = [prompt for prompt in prompts for _ in range(DRAWS)]
    sampling = Sampling(max_tokens=20, temperature=1.0, top_p=0.9)

    def rate(count: int, rows: int) -> float:
        """Tokens a second; no token ends an answer, so that all are equally long."""
        begin = time.perf_counter()
        answers = decode(loaded.model, asked[:count], range(count), sampling, frozenset(), rows)
        return sum(len(answer.ids) for answer in answers) / (time.perf_counter() - begin)

    rate(2, 2)  # warm
    pairs = [(rate(len(asked), loaded.rows(100)), rate(6, 1)) for _ in range(3)]
    together, alone = (median(rates) for rates in zip(*pairs, strict=True))
    return {
        "one_at_a_time": round(alone, 1),
        "together": round(together, 1),
        "ratio": round(median(one / other for one, other in pairs), 1),
        "minutes_of_700_prompts": round(DRAWS * PROMPTS * 20 / together / 60, 1),
        "unit": "tokens a second",
        "goal": "together >= 8x one at a time; 25 x 700 x 20 tokens in under 30 minutes",
    }

"""How well guards and an encoder tell paraphrases from broken ones: `python bench/paraphrase.py`.

`paraphrase-pairs.jsonl` has 100 pairs, half of them not equivalent (a negation flipped, an amount changed, another
person acting). A language model wrote and labeled them, and no person has checked them.
"""

import json
from pathlib import Path

from withstand.attacks.llm._meaning import kept
from withstand.models.encoder import Encoder


def main() -> None:
    pairs = [json.loads(line) for line in Path(__file__).with_name("paraphrase-pairs.jsonl").open(encoding="utf-8")]
    vectors, _ = Encoder("builtin:minilm").encode([pair[side] for pair in pairs for side in "ab"])
    for pair, a, b in zip(pairs, vectors[::2], vectors[1::2], strict=True):
        pair["cosine"], pair["guards"] = float(a @ b), kept(pair["a"], pair["b"])
    same = sorted(pair["cosine"] for pair in pairs if pair["same"])
    floor = same[round(0.05 * len(same))]
    print(f"95% of the paraphrases have a cosine of {floor:.3f} or more")
    for kind in dict.fromkeys(pair["kind"] for pair in pairs):
        group = [pair for pair in pairs if pair["kind"] == kind]
        near = [pair for pair in group if pair["cosine"] >= floor]
        guarded = sum(pair["guards"] for pair in group)
        both = sum(pair["guards"] for pair in near)
        print(f"{kind:<12} {len(group):>3} pairs, pass: encoder {len(near)}, guards {guarded}, both {both}")


if __name__ == "__main__":
    main()

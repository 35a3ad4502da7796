"""Batched decoding with transformers, for the two scripts beside it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

Turns = list[dict[str, str]]


class Answerer:
    """A chat model, with or without a LoRA adapter, that answers many chats at once."""

    def __init__(self, base: str, adapter: str = "", dtype: str = "float32") -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
        if adapter:
            from peft import PeftModel

            # merged: one matrix product a layer instead of three
            self.model = PeftModel.from_pretrained(self.model, adapter).merge_and_unload()
        self.model.eval()

    def answer(
        self, chats: Sequence[Turns], most: int, temperature: float = 0.0, width: int = 48, seed: int = 0
    ) -> Iterator[tuple[int, str, bool]]:
        """(place of the chat, answer, whether it ended by itself), shortest chats first.

        A chat that ends with an assistant turn is continued; the answer is the continuation alone.
        """
        torch.manual_seed(seed)
        rows = [self._tokens(chat) for chat in chats]
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature:
            sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        end = self.tokenizer.eos_token_id
        for start in range(0, len(order), width):
            places = order[start : start + width]
            batch = self.tokenizer.pad({"input_ids": [rows[i] for i in places]}, return_tensors="pt")
            with torch.inference_mode():
                out = self.model.generate(**batch, max_new_tokens=most, pad_token_id=end, eos_token_id=end, **sampling)
            for i, tokens in zip(places, out[:, batch["input_ids"].shape[1] :], strict=True):
                yield i, self.tokenizer.decode(tokens, skip_special_tokens=True).strip(), end in tokens.tolist()

    def _tokens(self, chat: Turns) -> list[int]:
        last = chat[-1]["role"] == "assistant"
        text = self.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=not last, continue_final_message=last
        )
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens


def cached(
    prompts: Iterable[str], base: str, path: Path, most: int, log: Callable[[str], None]
) -> dict[str, tuple[str, bool]]:
    """Prompt -> the base model's greedy answer and whether it ended by itself.

    Read from the JSONL file where it was answered before by the same weights at the same length, else added to it.
    """
    key = sha256(b"".join(part.read_bytes() for part in sorted(Path(base).glob("*.safetensors")))).hexdigest()[:16]
    known: dict[str, tuple[str, bool]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["base"] == key and row["most"] == most:
                known[row["prompt"]] = (row["answer"], row["ended"])
    todo = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
    log(f"{len(known)} answers of the base known, {len(todo)} to generate")
    if todo:
        answerer = Answerer(base, dtype="bfloat16")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as out:
            chats = [[{"role": "user", "content": prompt}] for prompt in todo]
            for done, (i, text, ended) in enumerate(answerer.answer(chats, most), 1):
                known[todo[i]] = (text, ended)
                row = {"base": key, "most": most, "prompt": todo[i], "answer": text, "ended": ended}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                if done % 48 == 0:
                    out.flush()
                    log(f"{done} of {len(todo)}")
    return known

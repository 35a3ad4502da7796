"""nanogcg 0.3.0 on a job from stdin, for bench/gcg.py; runs in an environment of its own.

job: folder (of the model), dtype, and either "timing": {text, target, init, width, steps, seed} or
"parity": {head, slot, tail, target, candidates} as token ids. Prints JSON.
"""

import json
import resource
import sys
import time
import warnings
from itertools import pairwise

import torch
from nanogcg import GCGConfig
from nanogcg.gcg import GCG
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.set_verbosity_error()


def main() -> None:
    job = json.load(sys.stdin)
    model = AutoModelForCausalLM.from_pretrained(job["folder"], torch_dtype=getattr(torch, job["dtype"])).eval()
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    if timing := job.get("timing"):
        print(json.dumps(timed(model, tokenizer, timing)))
    else:
        print(json.dumps(parity(model, tokenizer, job["parity"])))


def timed(model, tokenizer, job) -> dict:
    config = GCGConfig(
        num_steps=job["steps"], optim_str_init=job["init"], search_width=job["width"], topk=256, n_replace=1,
        seed=job["seed"], add_space_before_target=False, verbosity="ERROR",
    )  # fmt: skip
    starts = []
    gradient = GCG.compute_token_gradient

    def watched(self, *given):
        starts.append(time.perf_counter())
        return gradient(self, *given)

    GCG.compute_token_gradient = watched
    result = GCG(model, tokenizer, config).run(job["text"] + " {optim_str}", job["target"])
    starts.append(time.perf_counter())
    return {
        "seconds_per_step": [later - start for start, later in pairwise(starts)],
        "losses": result.losses,
        "best_loss": result.best_loss,
        "text": result.best_string,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def parity(model, tokenizer, job) -> dict:
    """nanogcg's own gradient and candidate losses on given token ids."""
    attack = GCG(model, tokenizer, GCGConfig(use_prefix_cache=False, search_width=8, seed=0))
    embed = model.get_input_embeddings()

    def ids(name):
        return torch.tensor([job[name]])

    attack.before_embeds, attack.after_embeds = embed(ids("head")), embed(ids("tail"))
    attack.target_ids = ids("target")
    attack.target_embeds, attack.prefix_cache = embed(attack.target_ids), None
    slot = ids("slot")
    gradient = attack.compute_token_gradient(slot)[0]
    candidates = torch.tensor(job["candidates"])
    with torch.no_grad():
        inputs = torch.cat(
            [
                attack.before_embeds.expand(len(candidates), -1, -1),
                embed(candidates),
                attack.after_embeds.expand(len(candidates), -1, -1),
                attack.target_embeds.expand(len(candidates), -1, -1),
            ],
            dim=1,
        )
        losses = attack._compute_candidates_loss_original(8, inputs)
    return {"gradient": gradient.double().tolist(), "losses": losses.double().tolist()}


if __name__ == "__main__":
    main()

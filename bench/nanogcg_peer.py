"""nanogcg 0.3.0 on a job from stdin, for bench/gcg.py and bench/time_to_asr.py; runs in an environment of its own.

job: one line of JSON: folder (of the model), dtype, and one of "timing": {text, target, init, width, steps, seed};
"search": the same and `every`; "parity": {head, slot, tail, target, candidates} as token ids. Prints JSON. A search
prints its best suffix and what it took after every `every` steps, and waits for a line on stdin before each of them.
"""

import json
import resource
import sys
import time
import warnings
from itertools import pairwise

import torch
from nanogcg import GCGConfig
from nanogcg.gcg import GCG, AttackBuffer
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.set_verbosity_error()


def main() -> None:
    job = json.loads(sys.stdin.readline())
    model = AutoModelForCausalLM.from_pretrained(job["folder"], torch_dtype=getattr(torch, job["dtype"])).eval()
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    if timing := job.get("timing"):
        print(json.dumps(timed(model, tokenizer, timing)))
    elif search := job.get("search"):
        searched(model, tokenizer, search)
    else:
        print(json.dumps(parity(model, tokenizer, job["parity"])))


def config_of(job) -> GCGConfig:
    return GCGConfig(
        num_steps=job["steps"], optim_str_init=job["init"], search_width=job["width"], topk=256, n_replace=1,
        seed=job["seed"], add_space_before_target=False, verbosity="ERROR",
    )  # fmt: skip


def timed(model, tokenizer, job) -> dict:
    starts = []
    gradient = GCG.compute_token_gradient

    def watched(self, *given):
        starts.append(time.perf_counter())
        return gradient(self, *given)

    GCG.compute_token_gradient = watched
    cpu = time.process_time()
    result = GCG(model, tokenizer, config_of(job)).run(job["text"] + " {optim_str}", job["target"])
    starts.append(time.perf_counter())
    return {
        "seconds_per_step": [later - start for start, later in pairwise(starts)],
        "cpu_seconds": time.process_time() - cpu,
        "losses": result.losses,
        "best_loss": result.best_loss,
        "text": result.best_string,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def searched(model, tokenizer, job) -> None:
    """Operations are counted as withstand.engine.flops counts them."""
    gradient, add = GCG.compute_token_gradient, AttackBuffer.add
    best = (float("inf"), None)
    steps, flops, start = 0, 0.0, 0.0
    parameters = model.num_parameters()
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        parameters -= model.get_input_embeddings().weight.numel()

    def passed(_model, given, named):
        nonlocal flops
        embeds = named.get("inputs_embeds")
        tokens = embeds if embeds is not None else named["input_ids"] if "input_ids" in named else given[0]
        passes = 2 if embeds is not None and embeds.requires_grad else 1
        flops += 2.0 * passes * parameters * tokens.shape[0] * tokens.shape[1]

    def added(self, loss, ids):
        nonlocal best
        best = min(best, (float(loss), ids), key=lambda pair: pair[0])
        add(self, loss, ids)

    def checked(done):
        nonlocal flops, start
        point = {"text": tokenizer.batch_decode(best[1])[0], "loss": best[0], "step": steps, "flops": flops,
                 "seconds": time.perf_counter() - start, "done": done}  # fmt: skip
        print(json.dumps(point), flush=True)
        if not done:
            sys.stdin.readline()
        flops, start = 0.0, time.perf_counter()

    def watched(self, *given):
        nonlocal steps
        if steps and steps % job["every"] == 0:
            checked(done=False)
        steps += 1
        return gradient(self, *given)

    GCG.compute_token_gradient, AttackBuffer.add = watched, added
    model.register_forward_pre_hook(passed, with_kwargs=True)
    sys.stdin.readline()
    start = time.perf_counter()
    GCG(model, tokenizer, config_of(job)).run(job["text"] + " {optim_str}", job["target"])
    checked(done=True)


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

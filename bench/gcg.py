"""GCG of this package beside nanogcg 0.3.0, each job in a process of its own; called by bench.py.

The peer needs an older transformers, so that it gets an environment of its own under the cache folder.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEER = ["nanogcg==0.3.0", "transformers==4.47.1", "torch"]
TEXT = "Provide a beginner's guide to making focaccia with rosemary and olive oil"
TARGET = "Sure, here is a beginner's guide to making focaccia with rosemary and olive oil"
INIT = " ".join("!" * 20)
SCREENED = {"screen": "bfloat16", "screen_tokens": 6, "verify": 4}


def bench(folder: Path) -> dict[str, Any]:
    """Seconds a step at width 64 and 256 in two precisions, losses after 20 steps, memory, and the same numbers."""
    try:
        import torch  # noqa: F401

        from withstand.models._fetch import smollm2
    except ImportError:
        return {"skipped": "needs the extra `local`"}
    python = peer_environment()
    model = peer_model(smollm2(), folder)

    def peer(**timing: Any) -> Any:
        job = {"folder": str(model), "dtype": timing.pop("dtype"), "timing": timing}
        return run([python, str(HERE / "nanogcg_peer.py")], job)

    def ours(**job: Any) -> Any:
        return run([sys.executable, str(HERE / "gcg.py")], job)

    base = {"text": TEXT, "target": TARGET, "init": INIT, "seed": 0}
    found: dict[str, Any] = {"parity": parity(python, model)}
    for dtype in ("float32", "bfloat16"):
        for width, steps in ((64, 5), (256, 3)):
            given = {**base, "dtype": dtype, "width": width, "steps": steps}
            theirs, mine = [], []
            for _ in range(2):  # in turn: the machine drifts
                theirs.append(peer(**given))
                mine.append(ours(**given))
            found[f"{dtype} width {width}"] = compared(theirs, mine)
    given = {**base, "dtype": "float32", "width": 64}
    theirs = [peer(**given | {"steps": 20, "seed": seed}) for seed in range(5)]
    mine = [ours(**given | {"steps": 20, "seed": seed, **SCREENED}) for seed in range(5)]
    found["screened float32 width 64"] = compared(theirs, mine) | {
        "fields": SCREENED,
        "loss_after_20_steps": [
            [round(side["losses"][-1], 4) for side in pair] for pair in zip(theirs, mine, strict=True)
        ],
    }  # fmt: skip
    together = ours(**given | {"width": 16, "steps": 4, "behaviors": 4})
    one_by_one = ours(**given | {"width": 16, "steps": 4, "behaviors": 1})
    found["four behaviors together, width 16"] = {
        "ratio": round(4 * median(one_by_one["seconds_per_step"]) / median(together["seconds_per_step"]), 2)
    }
    found["goal"] = "memory <= 1/4 at width 256; together >= 1.3x; what an attack takes is time_to_asr.py's to measure"
    return found


def compared(theirs: Sequence[Any], mine: Sequence[Any]) -> dict[str, Any]:
    peer, own = (median([s for each in side for s in each["seconds_per_step"]]) for side in (theirs, mine))
    shares = [each["share_of_peak"] for each in mine]
    return {
        "nanogcg_s": round(peer, 3), "ours_s": round(own, 3), "ratio": round(peer / own, 2),
        "nanogcg_peak_mb": round(max(each["peak_mb"] for each in theirs)),
        "ours_peak_mb": round(max(each["peak_mb"] for each in mine)),
        "ours_share_of_matmul_peak": round(median(shares), 2),
        "ours_gflops_peak": round(median([each["peak_gflops"] for each in mine])),
    }  # fmt: skip


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def run(command: Sequence[str], job: Any) -> Any:
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peer_environment() -> str:
    from withstand.core.cache import cache_dir

    folder = cache_dir("bench", "nanogcg")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER], check=True)
        (folder / "ready").touch()
    return str(python)


def peer_model(source: Path, folder: Path) -> Path:
    """The model as transformers 4.47 reads it: older names in two files, the weights by link."""
    made = folder / "smollm2"
    made.mkdir()
    config = json.loads((source / "config.json").read_text())
    config |= {"rope_theta": config.pop("rope_parameters")["rope_theta"], "torch_dtype": config.pop("dtype")}
    (made / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((source / "tokenizer_config.json").read_text())
    tokenizer |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": (source / "chat_template.jinja").read_text(),
    }
    (made / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    for name in ("model.safetensors", "tokenizer.json", "generation_config.json"):
        (made / name).symlink_to(source / name)
    return made


def parity(python: str, model: Path) -> dict[str, Any]:
    """The same ids to both: how far gradients, losses and the best candidate differ."""
    import numpy as np
    import torch

    from withstand.core import Behavior
    from withstand.engine.engine import engine_of
    from withstand.engine.text import allowed, make_prompt
    from withstand.registry import find

    target = find.build("target", "smollm2,dtype=float32")
    prompt, slot = make_prompt(target, Behavior("b", TEXT, target_string=TARGET), INIT)
    engine = engine_of(target)
    draw = np.random.default_rng(0)
    free = np.flatnonzero(allowed(target.load().tokenizer, engine.embeddings().shape[0]))
    candidates = []
    for _ in range(16):
        candidate = list(slot)
        candidate[draw.integers(len(slot))] = int(draw.choice(free))
        candidates.append(candidate)
    names = {"head": prompt.head, "slot": slot, "tail": prompt.tail, "target": prompt.target, "candidates": candidates}
    theirs = run([python, str(HERE / "nanogcg_peer.py")], {"folder": str(model), "dtype": "float32", "parity": names})
    [(gradient, _)] = engine.gradients([(prompt, slot)])
    mine, other = engine.by_token(gradient), torch.tensor(theirs["gradient"])
    [losses] = engine.losses([(prompt, slot, candidates)])
    peer = torch.tensor(theirs["losses"])
    target.release()
    return {
        "gradient_relative_difference": float((mine - other).norm() / other.norm()),
        "greatest_loss_difference": float((losses - peer).abs().max()),
        "same_best_candidate": int(losses.argmin()) == int(peer.argmin()),
    }


# --- one job of ours, from stdin ---------------------------------------------------------------------------------


def timed(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    from withstand.attacks.gradient._search import Search
    from withstand.core import Behavior, to_json
    from withstand.registry import find

    fields = {name: job[name] for name in ("width", "steps", "init", "seed", "dtype")}
    fields |= {name: job[name] for name in SCREENED if name in job}
    attack = find.build("attack", {"use": "gcg", **fields})
    model = find.build("target", "smollm2,dtype=float32")
    parts = [
        {"behavior": to_json(Behavior(f"b{i}", job["text"], target_string=job["target"])), "state": None}
        for i in range(job.get("behaviors", 1))
    ]
    pack = [Search.start(attack, model, part) for part in parts]
    seconds, losses = [], []
    for _ in range(job["steps"]):
        start = time.perf_counter()
        attack.step(pack)
        seconds.append(time.perf_counter() - start)
        losses.append(pack[0].loss)
    peak = matmul_peak(getattr(torch, job["dtype"]))
    return {
        "seconds_per_step": seconds,
        "losses": losses,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_gflops": peak,
        "share_of_peak": operations(pack[0], job["width"]) / 1e9 / statistics.median(seconds) / peak,
    }


def operations(search: Any, width: int) -> float:
    """Floating-point operations of an exact step: the candidates' tails, and three passes for the gradient."""
    model = search.engine.model
    head = model.get_output_embeddings().weight.numel()
    layers = sum(
        p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n and "lm_head" not in n
    )
    slot, rest, target = (
        len(search.slot),
        len(search.prompt.tail) + len(search.prompt.target) - 1,
        len(search.prompt.target),
    )
    tail = (slot + 1) / 2 + rest
    return 2 * (width * (tail * layers + target * head) + 3 * ((slot + rest) * layers + target * head))


def matmul_peak(dtype: Any) -> float:
    """GFLOP/s of a matrix product of the size of the model's largest."""
    import torch

    left, right = torch.randn(512, 1536, dtype=dtype), torch.randn(576, 1536, dtype=dtype)
    best = float("inf")
    for _ in range(60):
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * 512 * 1536 * 576 / best / 1e9


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    print(json.dumps(timed(json.load(sys.stdin))))

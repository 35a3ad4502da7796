"""An adapter that was trained on a base with an adapter, as one adapter of that base: no merged copy has to stay.

W + s1 B1 A1 + s2 B2 A2 = W + [s1 B1, s2 B2] [A1; A2], whose rank is the sum of the ranks.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

from withstand.core import Json, bounded
from withstand.core.stage import FILE, read

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PARTS = (".lora_A.weight", ".lora_B.weight")


def joinable(folder: Path) -> bool:
    """Whether an adapter is a plain LoRA of one rank, which a sum of products can hold."""
    from safetensors import safe_open

    try:
        config = _config(folder)
        with safe_open(folder / WEIGHTS, framework="pt") as tensors:
            names = list(tensors.keys())
    except OSError:
        return False
    unusual = ("rank_pattern", "alpha_pattern", "use_dora", "modules_to_save", "fan_in_fan_out")
    plain = config.get("peft_type") == "LORA" and config.get("bias", "none") == "none"
    return plain and not any(config.get(name) for name in unusual) and all(name.endswith(PARTS) for name in names)


def join(folder: Path, first: Path, base: str, revision: str = "") -> None:
    """Make the adapter in `folder`, and those of its steps, adapters of the model named `base` without its adapter
    `first`; each file by rename, the record last."""
    for part in [*(folder / f"step-{step}" for step in read(folder).get("steps", ())), folder]:
        if not read(part).get("joined"):
            _join(part, first, {"base_model_name_or_path": base, "revision": revision or None})


def _join(folder: Path, first: Path, base: Json) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    configs = [_config(path) for path in (first, folder)]
    weights = [load_file(path / WEIGHTS) for path in (first, folder)]
    scales = [_scale(config) for config in configs]
    ranks = [int(config["r"]) for config in configs]
    exact = all(math.log2(scale).is_integer() for scale in scales)  # else 16 bits would round it
    kind = torch.promote_types(*(next(iter(tensors.values())).dtype for tensors in weights)) if exact else torch.float32
    layers = {name.rpartition(".lora_")[0] for tensors in weights for name in tensors}
    new = {}
    for layer in sorted(layers):
        downs, ups = [], []
        own = next(tensors for tensors in weights if f"{layer}{PARTS[0]}" in tensors)
        inside, outside = own[f"{layer}{PARTS[0]}"].shape[1], own[f"{layer}{PARTS[1]}"].shape[0]
        for tensors, rank, scale in zip(weights, ranks, scales, strict=True):
            down, up = (tensors.get(f"{layer}{part}") for part in PARTS)
            downs.append(torch.zeros(rank, inside) if down is None else down.float())
            ups.append(torch.zeros(outside, rank) if up is None else scale * up.float())
        new[f"{layer}{PARTS[0]}"] = torch.cat(downs).to(kind).contiguous()
        new[f"{layer}{PARTS[1]}"] = torch.cat(ups, 1).to(kind).contiguous()
    names = sorted(layer.removeprefix("base_model.model.") for layer in layers)
    config = {**configs[1], "r": sum(ranks), "lora_alpha": sum(ranks), "use_rslora": False, "target_modules": names}
    if str(config["base_model_name_or_path"]).startswith("merged-"):  # else its stage was given a name for it
        config |= base
    scratch = folder / ".joined"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    save_file(new, scratch / WEIGHTS, metadata={"format": "pt"})
    (scratch / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    record = {**read(folder), "joined": True}
    (scratch / FILE).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for file in (WEIGHTS, CONFIG, FILE):
        (scratch / file).replace(folder / file)
    scratch.rmdir()


def _config(folder: Path) -> Any:
    return bounded.parse_json(CONFIG, bounded.read_text(folder / CONFIG))


def _scale(config: Json) -> float:
    rank = float(config["r"])
    return float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)

"""Quantized weights: which kind they are, whether this machine can load them, and whether they have gradients.

What transformers can load and what has a backward pass, its own quantizers say (`validate_environment`,
`is_trainable`, https://huggingface.co/docs/transformers/quantization/overview); there is no table of ours.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from withstand.core import SpecError, bounded

Kind = Literal["", "int8", "int4"]
BITSANDBYTES: Mapping[str, Mapping[str, Any]] = {
    "int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "int4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}
"""What is quantized while it is loaded: LLM.int8 (arXiv:2208.07339) and NF4 (arXiv:2305.14314)."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """`method`: its name. `gradients`: whether it has a backward pass. `whole`: it is unpacked while it is loaded."""

    method: str
    gradients: bool
    whole: bool


def settings(folder: Path | None, quantize: Kind) -> str:
    """The quantization of a model's folder, or the one to load it with, as JSON; "" for none."""
    if quantize:
        return json.dumps(BITSANDBYTES[quantize])
    try:
        path = folder / "config.json" if folder else None
        config = bounded.parse_json(str(path), bounded.read_text(path)) if path else {}
    except (OSError, SpecError):
        return ""  # what is wrong with the folder, loading says
    quantization = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    return json.dumps(quantization, sort_keys=True) if quantization else ""


@lru_cache(maxsize=64)
def quantized(written: str) -> Quantized:
    """What transformers makes of such settings on this machine.

    Raises `SpecError` with the line that installs what is missing, or what else is in the way.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    settings: dict[str, Any] = json.loads(written)
    method = str(settings.get("quant_method") or "unknown")
    try:
        quantizer = AutoHfQuantizer.from_config(settings, pre_quantized=True)
        quantizer.validate_environment(device_map=None)
        whole = bool(getattr(quantizer.quantization_config, "dequantize", False))
        return Quantized(method, whole or bool(quantizer.is_trainable), whole)
    except Exception as error:  # each quantizer raises its own: no library, no GPU, an old one, an unknown method
        text = " ".join(str(error).split())
        hint = "use the unquantized weights, or a machine that has what is missing"
        if isinstance(error, ImportError):
            install = re.search(r"pip install [^`'\"]+", text)
            hint = f"pip install {error.name or method}, or use the unquantized weights"
            hint = install[0].strip() if install else hint
        raise SpecError(
            f"its weights are quantized by {method} and cannot be loaded on this machine: {text[:500]}", hint
        ) from error

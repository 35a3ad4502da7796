"""The model that a stage trains: loaded whole, or behind an adapter; and how it is saved."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from withstand.core import SpecError, WithstandError, at_least
from withstand.core.errors import positive
from withstand.core.stage import Loading

OPEN, CLOSE = "<think>", "</think>"
"""What opens and closes the thinking of an answer."""
ADAPTER = ("adapter_model.safetensors", "adapter_config.json")


@dataclass(frozen=True)
class Adapter:
    """Which weights a stage trains. A stage lists it after `Optimizer`, so that these fields come first.

    method: "lora" (default) trains an adapter; "full" trains all weights, which stay in float32.
    rank, alpha: rank and scale of the adapter, each 1 or more; its update is multiplied by alpha / rank. Defaults 16
        and 32.
    modules: names of the layers that get an adapter, at least one; default PEFT's "all-linear", all but the output
        layer.
    """

    method: Literal["lora", "full"] = "lora"
    rank: int = 16
    alpha: int = 32
    modules: tuple[str, ...] = ("all-linear",)


@dataclass(frozen=True)
class Optimizer:
    """How a stage trains, and what it does on the way.

    warmup: share of the steps, in [0, 1), in which the learning rate rises linearly; then it falls linearly to 0.
        Default 0.05.
    batch: rows per step (for rl: answers), 1 or more, default 8.
    epochs: passes over the rows, above 0, default 1.
    steps: optimizer steps, 0 or more, default 0: `epochs` decides. Above 0 it replaces `epochs`.
    max_length: most tokens of a chat, template and answer included, 8 or more, default 1024. A longer chat is an error;
        nothing is truncated.
    dtype: the precision in which the base is multiplied, "float32" (default) or "bfloat16". The trained weights are
        float32 in both cases.
    seed: a whole number, 0 or more, default 0. It draws the adapter's first weights, the order of rows and the dropout.
    base_id: the name of the base that is written into the adapter, such as a hub id. Default: `base` as given; of a
        folder only the last part of its path, so that no local path is published.
    log_every: steps between two calls of `log`, 1 or more, default 10.
    save_every: steps between two checkpoints, from which an interrupted training resumes; 0: none. Default 50.
    """

    lr: float = 1e-4
    warmup: float = 0.05
    batch: int = 8
    epochs: float = 1.0
    steps: int = 0
    max_length: int = 1024
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    base_id: str = field(default="", metadata={"key": False})
    log_every: int = field(default=10, metadata={"key": False})
    save_every: int = field(default=50, metadata={"key": False})


def check(stage: Any) -> None:
    """Raise `SpecError` for a field that every stage of its own method has and that is out of its range."""
    at_least(0, stage, "steps", "seed", "save_every")
    at_least(1, stage, "rank", "alpha", "batch", "log_every")
    at_least(8, stage, "max_length")
    positive(stage, "lr", "epochs")
    for name in ("warmup", "dropout"):
        if not 0 <= getattr(stage, name, 0) < 1:
            raise SpecError(f"{name} is {getattr(stage, name)}; it must lie in [0, 1)")
    if not stage.modules or not all(stage.modules):
        raise SpecError("modules is empty or holds an empty name", hint='leave it out for "all-linear"')
    for name, choices in (("dtype", ("float32", "bfloat16")), ("method", ("lora", "full"))):
        if getattr(stage, name) not in choices:
            raise SpecError(f"{name} is {getattr(stage, name)!r}", hint=f"it must be {choices[0]!r} or {choices[1]!r}")


def rate_of(method: str, parameters: int) -> float:
    """The learning rate of SFT by size; `SFT.lr` says whose."""
    if method == "lora":
        return 2e-4 if parameters <= 20e9 else 1e-4
    return 2e-5 if parameters <= 10e9 else 1e-5


def check_length(stage: Any, number: int, tokens: int, more: str = "", beginning: str = "") -> None:
    """Raise `SpecError` where a row has more tokens than the stage takes: nothing is ever cut."""
    if tokens > stage.max_length:
        which = f": {beginning}" if beginning else ""
        raise SpecError(
            f"row {number} has {tokens} tokens{more}, more than max_length {stage.max_length}{which}",
            hint="raise max_length, or shorten or leave out the row",
        )


class NotFiniteError(WithstandError):
    """Weights that are no numbers, or too large for what they are saved in."""


def missing(error: ModuleNotFoundError) -> SpecError:
    """What to install where a library of training is not there."""
    return SpecError(f"training needs {error.name}, which is not installed", hint='pip install "withstand[train]"')


def tokenizer_of(base: str, loading: Loading = Loading()) -> Any:
    """The tokenizer, with the chat template that the base is asked with and its arguments set in it.

    Some have no token to pad with, and then the one that ends a text does.
    """
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base, trust_remote_code=loading.trust_remote_code)
    tokenizer.own_template = tokenizer.chat_template
    tokenizer.chat_template = loading.template or tokenizer.chat_template
    if not tokenizer.chat_template:
        raise SpecError(f"the tokenizer of {base} has no chat template", hint="use an instruct or chat model")
    given = "".join(f"{{%- set {name} = {_jinja(value)} -%}}" for name, value in loading.arguments.items())
    tokenizer.chat_template = given + tokenizer.chat_template
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _jinja(value: Any) -> str:
    """A value of JSON as Jinja writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)}: {_jinja(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_jinja, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def load(base: str, stage: Any, loading: Loading = Loading()) -> tuple[Any, Any]:
    """The model of `base` for a stage with the fields method, dtype and seed, and the adapter's config, None for full.

    Sets the random state first: an adapter's first weights are drawn from it. All weights train in float32, and
    bfloat16 is then what they are multiplied in: an update of 1e-5 is lost when added to a weight of bfloat16.
    """
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    check_devices(stage, loading, torch.cuda.device_count())
    set_seed(stage.seed)
    dtype = torch.float32 if stage.method == "full" else getattr(torch, stage.dtype)
    more: dict[str, Any] = {"device_map": loading.device_map} if loading.device_map else {}
    if loading.quantization:
        from transformers import BitsAndBytesConfig

        more["quantization_config"] = BitsAndBytesConfig.from_dict(dict(loading.quantization))
        if loading.device == "cpu":  # elsewhere it is on the GPU already
            more.setdefault("device_map", {"": "cpu"})
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, trust_remote_code=loading.trust_remote_code, **more)
    check_whole(model, base)
    if stage.method == "full" and getattr(model, "is_quantized", False):
        raise SpecError("all weights of a quantized base cannot be trained", hint="method=lora, or leave out quantize")
    if stage.method == "full":
        return model, None
    check_modules(model, stage.modules)
    from peft import LoraConfig

    return model, LoraConfig(
        task_type="CAUSAL_LM",
        r=stage.rank,
        lora_alpha=stage.alpha,
        lora_dropout=getattr(stage, "dropout", 0.0),
        target_modules="all-linear" if stage.modules == ("all-linear",) else list(stage.modules),
    )


def check_whole(model: Any, base: str) -> None:
    """Raise `SpecError` where a folder is an adapter's, which transformers puts on its base: a second adapter would
    take its place, and a stage that switches adapters off would switch off both."""
    if getattr(model, "_hf_peft_config_loaded", False):
        raise SpecError(f"{base} is an adapter, not a model", hint="name its base: hf:BASE,adapter=FOLDER")


def check_modules(model: Any, modules: Sequence[str]) -> None:
    """Raise `SpecError` for an adapter on the output layer, which TRL does not train, or on an embedding of the same
    weights: it is merged into them when it is loaded, and both would be changed."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    ends = [head] if head is None or head.weight is not embedding.weight else [head, embedding]
    for name, module in model.named_modules():
        if any(module is end for end in ends) and any(f".{name}".endswith(f".{given}") for given in modules):
            what = "the output layer" if module is head else "an embedding that shares the output layer's weights"
            raise SpecError(f"{name} is {what}: an adapter cannot train it", hint='leave it out, or method = "full"')


def check_devices(stage: Any, loading: Loading, gpus: int) -> None:
    """Raise `SpecError` where the libraries would train on another GPU than the base's, or on several with as many
    times the rows a step. gpus: how many they see."""
    if loading.device == "cpu" or loading.device_map or not gpus:
        return
    _, _, number = loading.device.partition(":")
    if gpus > 1:
        raise SpecError(
            f"{gpus} GPUs are visible, so that a step would take {gpus} times batch={stage.batch} rows",
            hint=f"CUDA_VISIBLE_DEVICES={number or 0} before the command for one GPU; device_map=auto for a base that "
            "needs several",
        )
    if number not in ("", "0"):
        raise SpecError(
            f"the base is on {loading.device}, and one GPU is visible, cuda:0", hint="leave device out of the base"
        )


def arguments(stage: Any, output: Path, loading: Loading = Loading()) -> dict[str, Any]:
    """What all trainers are told alike, from the fields that every stage of its own method has."""
    import torch

    return {
        "output_dir": str(output),
        "save_strategy": "steps" if stage.save_every else "no",
        "save_steps": stage.save_every or 500,
        "save_total_limit": 2,  # the older one stands until the newer is marked whole
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": stage.batch,
        "num_train_epochs": stage.epochs,
        "max_steps": stage.steps or -1,
        "learning_rate": stage.lr,
        "lr_scheduler_type": "linear",
        "warmup_steps": stage.warmup,  # below 1 it is a share
        "seed": stage.seed,
        "logging_steps": stage.log_every,
        "logging_nan_inf_filter": False,  # the default hides a NaN
        "include_num_input_tokens_seen": True,
        "bf16": stage.method == "full" and stage.dtype == "bfloat16",  # autocast; an adapter's base is loaded in it
        "gradient_checkpointing": False,  # TRL would recompute activations, at a third more time
        "use_cpu": loading.device == "cpu"
        or not torch.accelerator.is_available(),  # else the libraries take "bf16" for that of a GPU
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def save(model: Any, tokenizer: Any, scratch: Path, folder: Path, base_id: str, revision: str = "") -> str:
    """The model, or its adapter in float16, into `folder`, each file by rename; "model" or "adapter".

    `scratch` is a folder beside it, of the same file system. The weights in memory stay as they are.
    """
    import torch

    adapter = hasattr(model, "peft_config")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    state = {name: weight for name, weight in model.state_dict().items() if not adapter or "lora_" in name}
    if adapter:
        state = {name: weight.to(torch.float16) for name, weight in state.items()}
    for name, weight in state.items():
        if not torch.isfinite(weight).all():
            kind = " in float16" if adapter else ""
            raise NotFiniteError(f"{name} holds values that are not finite{kind}", hint="lower lr")
    if adapter:
        # False: "auto" asks the hub whether the vocabulary was changed
        model.save_pretrained(str(scratch), state_dict=state, save_embedding_layers=False)
        config = json.loads((scratch / ADAPTER[1]).read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = base_id
        config["revision"] = revision or None
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()  # PEFT writes a set: its order changes from run to run
        (scratch / ADAPTER[1]).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        names = list(ADAPTER)
    else:
        model.save_pretrained(str(scratch))
        template, tokenizer.chat_template = tokenizer.chat_template, tokenizer.own_template
        tokenizer.save_pretrained(str(scratch))  # with its own template: the one that it is asked with stays a field
        tokenizer.chat_template = template
        names = [path.name for path in scratch.iterdir()]
    folder.mkdir(parents=True, exist_ok=True)
    for file in names:
        (scratch / file).replace(folder / file)
    shutil.rmtree(scratch)
    return "adapter" if adapter else "model"

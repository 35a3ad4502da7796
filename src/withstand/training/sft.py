"""Supervised fine-tuning of a LoRA adapter on chats. Hu et al. 2021, arXiv:2106.09685, by TRL's SFTTrainer and PEFT."""

import json
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import Chat, SpecError, WithstandError

FILES = ("adapter_model.safetensors", "adapter_config.json")


@dataclass(frozen=True, slots=True)
class SFT:
    """One training stage: the loss is that of the last assistant message alone, its end-of-turn token included.

    Where an assistant message stands before that one too, the last goes on with it as after a prefill: one turn, of
    which the first part is not learned.

    rank, alpha: of the adapter, each 1 or more; its update is scaled by alpha / rank. Defaults 16 and 32.
    modules: names of the layers that get one, at least one; default PEFT's "all-linear", all but the output layer.
    dropout: before the adapter, in [0, 1), default 0.
    lr: peak learning rate of AdamW, above 0, default 1e-3; linear warm-up, then linear to 0.
    warmup: share of the steps, in [0, 1), default 0.05.
    batch: chats a step, 1 or more, default 8.
    epochs: passes over the rows, above 0, default 1.
    steps: optimizer steps, 0 or more; above 0 it decides in place of epochs. Default 0.
    max_length: tokens a chat may have, template included, 8 or more, default 1024; a longer one is an error, never cut.
    dtype: of the base while it trains, "float32" (default) or "bfloat16"; the adapter trains in float32 either way.
    seed: any whole number, 0 or more, default 0: draws the adapter's first weights, the order of rows, the dropout.
    base_id: the name written into the adapter as its base, such as a hub id. Default: the base as given, of a folder
        the last part of its path alone, so that no path of a machine is published.
    log_every: steps between two calls of `log`, 1 or more, default 10.

    Same fields, rows, versions and machine: same adapter. It trains on one device, a GPU where there is one.
    """

    version: ClassVar[int] = 1
    rank: int = 16
    alpha: int = 32
    modules: tuple[str, ...] = ("all-linear",)
    dropout: float = 0.0
    lr: float = 1e-3
    warmup: float = 0.05
    batch: int = 8
    epochs: float = 1.0
    steps: int = 0
    max_length: int = 1024
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    base_id: str = field(default="", metadata={"key": False})
    log_every: int = field(default=10, metadata={"key": False})

    def __post_init__(self) -> None:
        for name, least in (
            ("rank", 1),
            ("alpha", 1),
            ("batch", 1),
            ("steps", 0),
            ("seed", 0),
            ("max_length", 8),
            ("log_every", 1),
        ):
            if getattr(self, name) < least:
                raise SpecError(f"{name} is {getattr(self, name)}; it must be {least} or more")
        for name in ("lr", "epochs"):
            if not 0 < getattr(self, name) < math.inf:
                raise SpecError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise SpecError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")
        if not self.modules or not all(self.modules):
            raise SpecError("modules is empty or holds an empty name", hint='leave it out for "all-linear"')
        if self.dtype not in ("float32", "bfloat16"):
            raise SpecError(f"dtype is {self.dtype!r}", hint='it must be "float32" or "bfloat16"')

    def train(
        self, base: str, rows: Sequence[Chat], folder: Path, log: Callable[[int, float], None] | None = None
    ) -> Path:
        """Train on `rows`, chats that end with the answer to learn; the adapter lies in `folder`, which is returned.

        base: a folder with model and tokenizer, or a hub id. `log` gets step and mean loss (nats per answer token)
        since the last call. The adapter is saved in float16, by rename: an interrupted run leaves the old one whole.
        Sets the global random state of torch, numpy and random, as the libraries below do.

        Raises `SpecError` for rows that cannot be trained on, by their number, and for a missing extra;
        `WithstandError` when the loss is no longer finite, and then nothing is saved.
        """
        check_rows(rows)
        with quiet():
            trainer = self._trainer(base, rows, log)
            trainer.train()
        save(trainer.model, folder, self.base_id or (Path(base).resolve().name if Path(base).is_dir() else base))
        return folder

    def _trainer(self, base: str, rows: Sequence[Chat], log: Callable[[int, float], None] | None = None) -> Any:
        """The SFTTrainer of this stage, its rows tokenized."""
        try:
            import torch
            from datasets import Dataset
            from peft import LoraConfig
            from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
            from trl.trainer.sft_config import SFTConfig
            from trl.trainer.sft_trainer import SFTTrainer
        except ModuleNotFoundError as error:
            raise SpecError(
                f"training needs {error.name}, which is not installed", hint='pip install "withstand[train]"'
            ) from error

        tokenizer: Any = AutoTokenizer.from_pretrained(base)
        if not tokenizer.chat_template:
            raise SpecError(f"the tokenizer of {base} has no chat template", hint="use an instruct or chat model")
        data = [tokenized(tokenizer, chat) for chat in rows]
        for number, row in enumerate(data):
            count = len(row["input_ids"])
            if count > self.max_length:
                raise SpecError(
                    f"row {number} has {count} tokens, more than max_length {self.max_length}: {head(rows[number])}",
                    hint="raise max_length, or shorten or leave out the row",
                )
        set_seed(self.seed)  # before the adapter's first weights are drawn
        model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, self.dtype))
        config = SFTConfig(
            output_dir=tempfile.gettempdir(),  # nothing is written there: no checkpoints, no logs
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            per_device_train_batch_size=self.batch,
            num_train_epochs=self.epochs,
            max_steps=self.steps or -1,
            learning_rate=self.lr,
            lr_scheduler_type="linear",
            warmup_steps=self.warmup,  # below 1 it is a share
            max_length=None,  # checked above: nothing is cut
            padding_free=True,  # chats lie end to end, none sees another: half the tokens of a padded batch
            completion_only_loss=True,
            seed=self.seed,
            logging_steps=self.log_every,
            logging_nan_inf_filter=False,  # the default hides a NaN
            bf16=False,  # no autocast: `dtype` is what the base was loaded in
            gradient_checkpointing=False,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        adapter = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules="all-linear" if self.modules == ("all-linear",) else list(self.modules),
        )
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
            peft_config=adapter,
            callbacks=[watcher(log)],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer


def check_rows(rows: Sequence[Chat]) -> None:
    """Raise `SpecError` with the number of the first row that cannot be trained on."""
    if not rows:
        raise SpecError("there are no rows to train on", hint="give at least one chat that ends with an answer")
    for number, chat in enumerate(rows):
        if len(chat) < 2 or chat[-1].role != "assistant":
            raise SpecError(
                f"row {number} does not end with an assistant message after another one: {head(chat)}",
                hint="a row is a chat whose last message is the answer to learn",
            )
        empty = [message.role for message in chat if not message.text.strip() and message.role != "system"]
        if empty:
            raise SpecError(f"row {number} has an empty {empty[0]} message: {head(chat)}", hint="leave the row out")
        if any(message.images for message in chat):
            raise SpecError(f"row {number} has images: {head(chat)}", hint="SFT trains on text alone")


def head(chat: Chat) -> str:
    """The beginning of a chat, to recognize a row by."""
    return repr(chat[0].text[:60]) if chat else "an empty chat"


def tokenized(tokenizer: Any, chat: Chat) -> dict[str, list[int]]:
    """A row as TRL takes it ready made: the ids of the rendered chat, and a mask of what is to be learned."""
    turns = [{"role": message.role, "content": message.text} for message in chat]
    goes_on = turns[-2]["role"] == "assistant"
    asked = tokenizer.apply_chat_template(
        turns[:-1], tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on
    )
    if goes_on:
        turns = [*turns[:-2], {"role": "assistant", "content": turns[-2]["content"] + turns[-1]["content"]}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    if not text.startswith(asked):
        raise SpecError(
            f"the chat template renders a chat without its last answer differently: {head(chat)}",
            hint="use a template whose text only grows with the chat",
        )
    prompt, answer = (
        tokenizer(part, add_special_tokens=False)["input_ids"] for part in (asked, text[len(asked) :])
    )  # apart, as a model that is asked reads them
    return {"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)}


def watcher(log: Callable[[int, float], None] | None) -> Any:
    """A callback of the trainer: hands step and loss on, and stops at a loss that is not finite."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is None:
                return
            if not math.isfinite(loss):
                raise WithstandError(
                    f"the loss is {loss} at step {state.global_step} of {state.max_steps}; training was stopped",
                    hint="lower lr, or train with dtype float32",
                )
            if log:
                log(state.global_step, loss)

    return Watcher()


def save(model: Any, folder: Path, base_id: str) -> None:
    """The adapter of a PEFT model as float16 into `folder`, each file by rename."""
    import torch

    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(torch.float16)
            if not torch.isfinite(weight.data).all():
                raise WithstandError(f"{name} holds values that are not finite in float16", hint="lower lr")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as name:
        # False: "auto" asks the hub whether the vocabulary was changed
        model.save_pretrained(name, save_embedding_layers=False)
        config = json.loads((Path(name) / FILES[1]).read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = base_id
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()  # PEFT writes a set: its order changes from run to run
        (Path(name) / FILES[1]).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for file in FILES:
            (Path(name) / file).replace(folder / file)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of the libraries below, nor their warnings to each other, as long as it lasts."""
    try:
        import datasets
        from transformers.utils import logging as bars
    except ModuleNotFoundError:
        yield  # the trainer says what is missing
        return
    logging: Any = bars
    ours, theirs = logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if ours:
            logging.enable_progress_bar()
        if not theirs:
            datasets.enable_progress_bars()

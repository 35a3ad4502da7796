"""The folder of a transformers model, and what it holds: for keys that know content and no path."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError, bounded, digest
from withstand.core.cache import remembered_sha256
from withstand.core.stage import Loading, marks_of
from withstand.models import _fetch
from withstand.models._quantized import BITSANDBYTES

BUILTIN = "builtin:"
EMBEDDED = {
    f"{BUILTIN}smollm2": _fetch.smollm2, f"{BUILTIN}minilm": _fetch.minilm, f"{BUILTIN}gemma3-270m": _fetch.gemma3,
}  # fmt: skip
RAW, MODERATION = "none", "moderation"
TOKENIZER = ("tokenizer*", "*.model", "chat_template*", "vocab*", "merges*")


def check_local(name: str) -> None:
    """Raise `SpecError` where what runs a model on this machine is not installed."""
    for module in ("torch", "transformers"):
        if find_spec(module) is None:
            raise SpecError(f"{name} needs {module}, which is not installed", hint='pip install "withstand[local]"')


def resolve(name: str, revision: str) -> Path:
    """The folder of a model or adapter. Raises `SpecError` with the way out."""
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if name.startswith(BUILTIN):
        folder = Path(__file__).parent / name.removeprefix(BUILTIN)
        if folder.is_dir():
            return folder
        raise SpecError(f"the package holds no {name}")
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # the hub's library raises many kinds, all with one way out
        raise SpecError(
            f"{name} is not a folder and cannot be downloaded from the hub: {str(error).splitlines()[0]}",
            hint="check the spelling, the network and HF_TOKEN; offline, give the folder of a copy",
        ) from error


def identity_of(folder: Path, adapter: str, template: str) -> dict[str, Json]:
    """Digests of weights, tokenizer, adapter and template, "" for what there is not: the contents, never a path."""
    return {
        "weights": files_digest(folder, ("*.safetensors", "config.json", "generation_config.json")),
        "tokenizer": files_digest(folder, TOKENIZER),
        "adapter": files_digest(resolve(adapter, ""), ("adapter_*",)) if adapter else "",
        "template": digest(template_of(template)) if template else "",
    }


def marks_in(folder: Path | None, adapter: str) -> dict[str, Json]:
    """The marks that trainings left in a folder of weights and in one of an adapter; neither is fetched for it."""
    return {**(marks_of(folder) if folder else {}), **(marks_of(adapter) if adapter else {})}


def template_of(file: str) -> str:
    """The chat template in a file."""
    try:
        return bounded.read_text(file)
    except OSError as error:
        raise SpecError(f"cannot read the template {file}: {error}") from error


def bare_template(tokenizer: Any) -> str:
    """A template that adds what the tokenizer puts before any text: a text then has the ids that it has alone.

    Some put a space before the very first word only, which a special token before it would suppress.
    """
    start = tokenizer.decode(tokenizer("")["input_ids"])
    same = tokenizer(f"{start}a", add_special_tokens=False)["input_ids"] == tokenizer("a")["input_ids"]
    head = start if same else f"{start} "
    return f"{{{{ {head!r} }}}}{{% for turn in messages %}}{{{{ turn.content }}}}{{% endfor %}}"


def loading_of(spec: Any, arguments: Mapping[str, Json]) -> Loading:
    """How a training loads and renders an `hf` target. arguments: what its template gets beside the messages."""
    from transformers import AutoTokenizer

    template = template_of(spec.template) if spec.template not in ("", RAW, MODERATION) else ""
    if spec.template == RAW:
        template = bare_template(AutoTokenizer.from_pretrained(spec.folder()))
    hub = not (spec.adapter or spec.id.startswith(BUILTIN) or Path(spec.id).is_dir())
    return Loading(
        spec.id if hub else "", spec.revision if hub else "", template, arguments, BITSANDBYTES.get(spec.quantize, {}),
        spec.device, spec.device_map, spec.trust_remote_code,
    )  # fmt: skip


def files_digest(folder: Path, patterns: Sequence[str]) -> str:
    """Of the names and contents of the files in a folder that match a pattern.

    Where safetensors are wanted and there are none, PyTorch's own `*.bin` count, which transformers then loads.
    """
    if "*.safetensors" in patterns and not any(folder.glob("*.safetensors")):
        patterns = [*patterns, "*.bin"]
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    if not files:
        raise SpecError(f"{folder} holds no {' or '.join(patterns)}", hint="is it the folder of a transformers model?")
    return digest([[path.name, remembered_sha256(path)] for path in files])

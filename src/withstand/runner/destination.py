"""Where the texts of models go, and which secrets go with them, in words that people confirm."""

from collections.abc import Iterable
from typing import Any

from withstand.registry.stored import OFFICIAL


def destination(models: Iterable[Any]) -> str:
    """The hosts that texts go to, and the variables whose keys go with them; "" for this machine's own models."""
    listed = list(models)
    hosts = sorted({host for model in listed for host in model.hosts})
    variables = sorted({name for model in listed if (name := variable_of(model))})
    return ", ".join(hosts) + (f" with the key in {', '.join(variables)}" if hosts and variables else "")


def variable_of(model: Any) -> str:
    """The environment variable whose value goes to the model's host; "" where none does."""
    if not hasattr(model, "key_env"):
        return ""
    usual = "OPENAI_API_KEY" if OFFICIAL in model.hosts else ""
    return str(model.key_env) or usual

"""What a component is, for keys and records: its name, its version, its fields. Standard library only."""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from withstand.core.content import Json, to_json

FOLDERS = {
    "suite": "data",
    "target": "models",
    "attack": "attacks",
    "defense": "defenses",
    "judge": "judges",
    "stage": "training",
}
"""Kind of component -> its folder in the package, which is also the name of its entry point group."""


SIGNS = {
    "suite": ("load",),
    "target": ("generate",),
    "attack": ("run", "run_together"),
    "defense": ("answer",),
    "judge": ("grade",),
    "stage": ("train",),
}
"""Kind of component -> the methods by one of which it is known."""


def name_of(cls: type) -> str:
    """The registry name of a class: its file's in this package, else module:Class."""
    module = cls.__module__
    if module.startswith("withstand.") and module.split(".")[1] in FOLDERS.values():
        return module.rpartition(".")[2]
    return f"{module}:{cls.__qualname__}"


def version_of(cls: type) -> Json:
    """The version a component declares; its source hash where it declares none."""
    declared = getattr(cls, "version", None)
    return source_hash(cls) if declared is None or isinstance(declared, property) else declared


def describe(component: Any) -> Json:
    """What decides a component's rows, for their keys: name, version, fields, a model's identity.

    A field marked `metadata={"key": False}` is left out. One marked `metadata={"added": "0.2"}` came with that release,
    after rows were stored: it is left out while it holds its default, so that older rows keep their keys. One with
    `metadata={"read": function}` is described by what the function gives for the component, such as a file's content.
    """
    if isinstance(component, (tuple, list)):
        return [describe(inner) for inner in component]
    if not is_dataclass(component) or isinstance(component, type):
        return to_json(component)
    cls = type(component)
    described: dict[str, Json] = {"use": name_of(cls), "version": version_of(cls)}
    for f in fields(component):
        read = f.metadata.get("read")
        value = read(component) if read else describe(getattr(component, f.name))
        if f.metadata.get("key", True) and not ("added" in f.metadata and value == describe(_default_of(f))):
            described[f.name] = value
    if hasattr(component, "identity"):
        described["identity"] = component.identity()
    return described


def _default_of(added: Field[Any]) -> Any:
    """The default of a field that was added later. Raises `RuntimeError` where it has none."""
    if added.default is not MISSING:
        return added.default
    if added.default_factory is MISSING:
        raise RuntimeError(f"the field {added.name} was added later and needs a default")
    return added.default_factory()


def parts(component: Any) -> Iterator[Any]:
    """The component and every component inside its fields."""
    if isinstance(component, (tuple, list)):
        for inner in component:
            yield from parts(inner)
    elif is_dataclass(component) and not isinstance(component, type):
        if any(hasattr(component, sign) for sign in ("generate", "grade", "answer", "run", "load", "train")):
            yield component
        for f in fields(component):
            yield from parts(getattr(component, f.name))


def models(component: Any) -> Iterator[Any]:
    """The models among its parts."""
    return (part for part in parts(component) if hasattr(part, "generate"))


@cache
def source_hash(cls: Any) -> str:
    """128 bits over the source file of a class; "" where there is none (a notebook).

    It is the version of a component that declares none, and so in the keys of its rows. It stays a hash of the whole
    file: any other hash would make every such row of an old store unusable.
    """
    return hash_of(source) if (source := source_of(cls)) else ""


def source_of(cls: Any) -> bytes:
    """The source file of a class; b"" where there is none."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(file).read_bytes() if file is not None and Path(file).is_file() else b""


def hash_of(data: bytes) -> str:
    """128 bits over `data`, as hex digits."""
    return blake2b(data, digest_size=16).hexdigest()

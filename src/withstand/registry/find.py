"""Name -> class -> object: the folder is the registry.

`attacks/llm/pair.py` holds one public class and its name is `pair`; a TOML file in a room is a named spec (a preset).
A name is looked up in the folder, then among entry points (`withstand.attacks` and so on), then as `module:Class`.
Listing reads the heads of files and `show` parses one with `ast`, so neither imports what a component needs.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from withstand.core import Attack, Defense, Judge, Model, SpecError, Suite, WhiteBox, did_you_mean
from withstand.core.describe import FOLDERS
from withstand.core.describe import SIGNS as SIGNS
from withstand.core.describe import describe as describe
from withstand.core.describe import models as models
from withstand.core.describe import name_of as name_of
from withstand.core.describe import parts as parts
from withstand.core.describe import source_hash as source_hash
from withstand.core.describe import version_of as version_of
from withstand.core.errors import suggest
from withstand.core.stage import Stage
from withstand.registry import sets
from withstand.registry.grammar import Spec, spec_of, toml_value, with_first, with_inner

ROOMS = FOLDERS

KINDS: dict[Any, str] = {
    Suite: "suite",
    Model: "target",
    WhiteBox: "target",
    Attack: "attack",
    Defense: "defense",
    Judge: "judge",
    Stage: "stage",
}
"""Annotation of a field -> the kind of component that is looked up for it."""

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """A component that can be found. `path` None: an entry point of another package, not imported yet."""

    kind: str
    name: str
    module: str
    path: Path | None = None

    @property
    def preset(self) -> bool:
        return self.path is not None and self.path.suffix == ".toml"


@cache
def entries(kind: str) -> dict[str, Entry]:
    """Every component of a kind by name: the folder first, then entry points."""
    components: dict[str, Entry] = {}
    for path in sorted(_files(PACKAGE / ROOMS[kind])):
        if path.stem in components:
            raise RuntimeError(f"two components are called {path.stem}: {components[path.stem].path} and {path}")
        module = ".".join(["withstand", *path.relative_to(PACKAGE).with_suffix("").parts])
        components[path.stem] = Entry(kind, path.stem, module, path)
    for point in _entry_points().select(group=f"withstand.{ROOMS[kind]}"):
        components.setdefault(point.name, Entry(kind, point.name, point.value))
    return components


def entry_of(kind: str, name: str) -> Entry | None:
    """The component with this name, in which a hyphen and an underscore are the same; None where there is none."""
    plain = name.replace("-", "_")
    components = entries(kind)
    return components.get(name) or next((e for n, e in components.items() if n.replace("-", "_") == plain), None)


def _files(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as items:
        for item in items:
            if item.name.startswith(("_", ".")):
                continue
            if item.is_dir():
                yield from _files(Path(item.path))
            elif item.name.endswith((".py", ".toml")):
                yield Path(item.path)


@cache
def _entry_points() -> Any:
    from importlib.metadata import entry_points

    return entry_points()  # read once for all groups: it looks into every installed package


def summary(entry: Entry) -> str:
    """One line that says what it is: the head of its docstring, or the first comment of a preset."""
    if entry.path is None:
        return f"from {entry.module}"
    with entry.path.open(encoding="utf-8") as file:
        head = file.read(600)
    if entry.preset:
        return head.partition("\n")[0].lstrip("# ")
    match = re.match(r'"""(.+?)(?:\n\n|"""|\Z)', head, re.DOTALL)
    return " ".join(match[1].split()) if match else ""


# --- specs -------------------------------------------------------------------------------------------------------


ALIAS = "alias"
"""What any spec may say besides the fields of its component: the name that reports print for it. In no key."""


def has_alias_field(cls: type) -> bool:
    """Whether a component, of a user for example, has a field of that name itself."""
    return any(field.name == ALIAS for field in _fields(cls))


def resolve(kind: str, spec: Spec) -> tuple[type, dict[str, Any]]:
    """The class a spec names and the fields it gives, presets unfolded (what is given wins), without the alias."""
    cls, given = _resolve(kind, spec)
    return cls, given if has_alias_field(cls) else {key: value for key, value in given.items() if key != ALIAS}


def _resolve(kind: str, spec: Spec) -> tuple[type, dict[str, Any]]:
    given = spec_of(spec)
    name = given.pop("use")
    entry = entry_of(kind, name)
    if entry is None:
        if cls := _outside(name, given):
            return _checked(kind, cls), given
        raise unknown(kind, name, given)
    if entry.preset:
        assert entry.path is not None
        preset = tomllib.loads(entry.path.read_text(encoding="utf-8"))
        cls, base = resolve(kind, preset)
        return cls, with_inner({**base, **_named(cls, given)})
    cls = _class(entry.module, kind)
    return cls if entry.path else _checked(kind, cls), with_inner(_named(cls, given))


def _named(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """FIRST under the name of the first field."""
    return with_first(name_of(cls), given, [f.name for f in _fields(cls)])


def _outside(name: str, given: dict[str, Any]) -> type | None:
    """`module:Class` of a user's own code, which the grammar has read as NAME:FIRST."""
    first = given.get("", "")
    if not (re.fullmatch(r"[A-Za-z_][\w.]*", name) and re.fullmatch(r"[A-Za-z_]\w*", str(first))):
        return None
    try:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            return None
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):  # it, or the parent package of a dotted name
            return None
        raise SpecError(
            f"the module {error.name} that {_file_of(name)} imports is not installed",
            hint="install it, or correct the import",
        ) from error
    except Exception as error:  # the user's own module: whatever it raises is for them to mend
        raise SpecError(f"{name} cannot be imported: {type(error).__name__}: {error}", hint="fix the module") from error
    cls = getattr(module, first, None)
    if not isinstance(cls, type):
        raise SpecError(f"{name} has no class {first}")
    del given[""]
    return cls


def _file_of(module: str) -> str:
    """The file name of a module that may not be importable, for a message."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).name if spec and spec.origin else module


def _signed(kind: str, thing: Any) -> bool:
    return any(callable(getattr(thing, sign, None)) for sign in SIGNS[kind])


def _checked(kind: str, cls: type) -> type:
    """A class from elsewhere that can be a component of its kind, or a `SpecError`."""
    if not is_dataclass(cls) or cls.__hash__ is None:
        raise SpecError(f"{name_of(cls)} is not a frozen dataclass", hint="write @dataclass(frozen=True) above it")
    if not _signed(kind, cls):
        raise SpecError(f"{name_of(cls)} is not {a(kind)}: it has no method {' or '.join(SIGNS[kind])}")
    return cls


def a(kind: str) -> str:
    """The kind with its article."""
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def unknown(kind: str, name: str, given: Mapping[str, Any]) -> SpecError:
    if kind == "attack" and name in sets.names():
        return sets.misplaced(name)
    if "/" in name or ("/" in str(given.get("", "")) and not entries(kind).get(name)):
        head, _, tail = name.partition("/")
        if head in entries(kind):
            meant = suggest([f"{head}:{tail}"])
            return SpecError(f"no {kind} is called {name!r}", hint=f"{meant} the first field goes after a colon")
    if re.fullmatch(r"[A-Z]\w*[a-z]\w*", str(given.get("", ""))) and re.fullmatch(r"[A-Za-z_][\w.]*", name):
        return SpecError(
            f"no {kind} is called {name!r}, and there is no module {name}",
            hint=f"`{name}:{given['']}` is a class in {name.replace('.', '/')}.py in this folder, or in an installed "
            f"package; `withstand list {kind}s` shows the {kind}s",
        )
    near = did_you_mean(name, [*entries(kind), *(sets.names() if kind == "attack" else ())])
    elsewhere = [room for room in ROOMS if room != kind and name in entries(room)]
    if elsewhere and not near:
        hint = f"{name} is {a(elsewhere[0])}, not {a(kind)}"
    else:
        model = "a model is openai:NAME or hf:NAME; " if kind == "target" else ""
        hint = near or f"{model}`withstand list {kind}s` shows all; your own is module:Class"
    return SpecError(f"no {kind} is called {name!r}", hint=hint)


@cache
def _class(module: str, kind: str) -> type:
    """The one public class of a component file, or the object an entry point names."""
    name, _, attribute = module.partition(":")
    try:
        loaded = importlib.import_module(name)
    except ImportError as error:
        raise _missing(name, error) from error
    if attribute:
        if not isinstance(cls := getattr(loaded, attribute, None), type):
            raise SpecError(f"{name} has no class {attribute}", hint="the package that declares it is broken")
        return cls
    classes = [
        value
        for key, value in vars(loaded).items()
        if isinstance(value, type) and value.__module__ == name and is_dataclass(value) and not key.startswith("_")
    ]
    if len(classes) != 1:
        raise RuntimeError(f"{name} must hold one public dataclass, the {kind}; it holds {len(classes)}")
    return classes[0]


def _missing(name: str, error: ImportError) -> SpecError:
    extra = {"torch": "local", "transformers": "local", "peft": "local", "trl": "train", "datasets": "train"}.get(
        (error.name or "").partition(".")[0], "all"
    )
    return SpecError(
        f"{name.rpartition('.')[2]} needs {error.name}, which is not installed",
        hint=f'pip install "withstand[{extra}]"',
    )


# --- objects ---------------------------------------------------------------------------------------------------


def build(kind: str, spec: Spec, **defaults: Any) -> Any:
    """The component that a spec describes; `defaults` fill fields that exist and that the spec leaves out."""
    cls, given = resolve(kind, spec)
    by_name = {f.name: f for f in _fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in given:
        if key not in by_name:
            hint = did_you_mean(key, by_name, f"its fields are {', '.join(by_name) or 'none'}")
            hint = _inside(name_of(cls), key, hints, given) or hint
            raise SpecError(f"{name_of(cls)} has no field {key!r}", hint=hint)
    given = {**{key: value for key, value in defaults.items() if key in by_name}, **given}
    try:
        values = {key: _coerce(name_of(cls), key, hints[key], value) for key, value in given.items()}
    except RecursionError:
        raise SpecError(f"{name_of(cls)} contains itself", hint="a file must not name itself after an @") from None
    if lacking := [name for name, f in by_name.items() if name not in values and _required(f)]:
        named = ", ".join(lacking)
        example = f"{name_of(cls)}:{lacking[0].upper()}" if lacking[0] == next(iter(by_name)) else f"{lacking[0]}=..."
        data = ", or --data FOLDER (or FILE, or URL)" if kind == "suite" and lacking[0] == "path" else ""
        raise SpecError(f"{name_of(cls)} needs {named}", hint=f"for example {example}{data}")
    try:
        return cls(**values)
    except ValueError as error:  # how a component of somebody else may say that a field is wrong
        raise SpecError(f"{name_of(cls)}: {error}") from error


def _inside(name: str, key: str, hints: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """How to write a field that belongs to a component inside this one, as in `llm:openai:m,base_url=URL`."""
    for outer, value in given.items():
        if hints.get(outer) in KINDS and isinstance(value, Mapping):  # of a preset
            if key in {f.name for f in _fields(resolve(KINDS[hints[outer]], value)[0])}:
                return f"it is a field of {spec_of(value)['use']}: write {outer}.{key}={given[key]}"
        elif hints.get(outer) in KINDS and isinstance(value, str):
            inner = {f.name for f in _fields(resolve(KINDS[hints[outer]], value)[0])}
            theirs = {field: text for field, text in given.items() if field in inner and field not in hints}
            if key in theirs:
                inner_fields = ", ".join(f'{field}="{text}"' for field, text in {"use": value, **theirs}.items())
                return f"it is a field of {value.partition(':')[0]}: write {name},{outer}={{{inner_fields}}}"
    return ""


def _fields(cls: type) -> tuple[Field[Any], ...]:
    return tuple(f for f in fields(cls) if f.init) if is_dataclass(cls) else ()


def _coerce(owner: str, key: str, hint: Any, value: Any) -> Any:
    args = [arg for arg in typing.get_args(hint) if arg is not type(None)]
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    many = typing.get_origin(hint) is tuple
    if hint in KINDS:
        if isinstance(value, (str, Mapping)):
            return build(KINDS[hint], value)
        if not _signed(KINDS[hint], value):
            raise SpecError(f"{owner}: {key} = {value!r} is not {a(KINDS[hint])}", hint=f'write {key} = "NAME"')
        return value
    if union and len(args) == 1 and args[0] in KINDS:
        return None if value in (None, "none", "") else _coerce(owner, key, args[0], value)
    if many and isinstance(value, str) and value.startswith("["):
        value = toml_value(value)
    if many and args[0] in KINDS:
        values = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_coerce(owner, key, args[0], inner) for inner in values)
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))  # a key has no NaN
    tries: list[Any] = [value]
    if isinstance(value, str) and re.match(r"[\[{\d.+-]|true|false", value):  # as the command line writes it
        with contextlib.suppress(SpecError):
            tries.append(toml_value(value))
    if union and value == "none" and type(None) in typing.get_args(hint):
        tries.append(None)
    tries += [[inner] for inner in tries if many and not isinstance(inner, (list, tuple))]
    problem = "true and false are not numbers" if isinstance(tries[-1], bool) else ""
    for candidate in tries:
        if isinstance(candidate, bool) and bool not in (hint, *args):
            continue
        try:
            return adapter.validate_python(candidate)
        except ValidationError as error:
            problem = problem or error.errors()[0]["msg"]
    raise SpecError(f"{owner}: {key} = {value!r} does not fit: {problem}", hint=f"{key} is {_type_name(hint)}")


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


# --- what a component is, for keys and for people ----------------------------------------------------------------


def label(kind: str, spec: Spec) -> str:
    """A short name for people: what was written, less the alias and the fields that cannot change a row.

    Keys of runs hold it, so that it must never change for a spec that runs today.
    """
    given = spec_of(spec)
    name = given.pop("use")
    name = entry.name if (entry := entry_of(kind, name)) else name
    cls, _ = resolve(kind, spec)
    names = [f.name for f in _fields(cls)]
    silent = {f.name for f in _fields(cls) if not f.metadata.get("key", True)}
    silent |= set() if has_alias_field(cls) else {ALIAS}
    first = given.pop("", None) if "" in given else given.pop(names[0], None) if names and _bare(cls) else None
    hints = typing.get_type_hints(cls)
    text = name if first is None else f"{name}:{_short(hints.get(names[0]) if names else None, first)}"
    fields_text = (f"{key}={_short(hints.get(key), value)}" for key, value in given.items() if key not in silent)
    return ",".join([text, *fields_text])


def _bare(cls: type) -> bool:
    """Whether the first field must be given, so that it belongs to the name."""
    return any(map(_required, _fields(cls)[:1]))


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _short(hint: Any, value: Any) -> str:
    kind = next((KINDS[h] for h in (hint, *typing.get_args(hint)) if h in KINDS), None)
    text = _nested(kind, value) if kind else str(value)
    text = "{" + text + "}" if kind and "," in text else text  # so that its fields are not taken for the outer one's
    return text if len(text) <= 40 else text[:37] + "..."


def _nested(kind: str, value: Any) -> str:
    """A component, or several, inside another one: as written, less any alias."""
    if isinstance(value, str) and value.startswith("[") and ALIAS in value:
        value = toml_value(value)
    if isinstance(value, (list, tuple)) and ALIAS in str(value):
        return str([_nested(kind, inner) for inner in value])
    return label(kind, value) if isinstance(value, Mapping) or f",{ALIAS}=" in str(value) else str(value)

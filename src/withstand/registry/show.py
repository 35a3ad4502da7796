"""What a component is, read from its source: nothing that it needs is imported."""

import ast
import importlib.util
import re
import sys
import textwrap
import tomllib
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError
from withstand.registry import sets
from withstand.registry.find import SIGNS, Entry, a, entries, entry_of, unknown
from withstand.registry.grammar import parse, written

LINES, WIDTH = 6, 104
"""Of a long value, which `--json` gives whole."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What `withstand show` prints: `fields` are (name, type, default or "", whether it is part of the key).

    `values`: what the constants of the module hold that are defaults.
    """

    entry: Entry
    docstring: str
    fields: tuple[tuple[str, str, str, bool], ...]
    preset: tuple[tuple[str, Any], ...] = ()
    constants: tuple[tuple[str, str], ...] = ()
    values: tuple[tuple[str, Any], ...] = ()

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Titles with their lines."""
        if self.preset:
            lines = []
            for key, value in self.preset:
                first, *more = _few(value) or [""]
                if more:
                    first, more = "", [f"      {line}" for line in (first, *more)]
                lines += [f"  {key} = {first}".rstrip(), *more]
            yield "preset", lines
        if self.constants:
            yield "facts", [line for key, value in self.constants for line in _fact(key, value)]
        if self.fields:
            lines, values = [], dict(self.values)
            for field, type_, default, keyed in self.fields:
                default_text = f" = {default}" if default else "  (needed)"
                lines.append(f" {' ' if keyed else '*'}{field}: {type_}{default_text}")
                if default in values:
                    value = values[default]
                    plain = isinstance(value, str) and "\n" not in value  # quotes show its blanks
                    lines += [f"      {line}" for line in _few(repr(value) if plain else value)]
            yield "fields (those marked * cannot change a row and are not in its key)", lines

    def json(self) -> Json:
        return {
            "kind": self.entry.kind,
            "name": self.entry.name,
            "docstring": self.docstring,
            "preset": dict(self.preset),
            "facts": dict(self.constants),
            "values": dict(self.values),
            "fields": [
                {"name": name, "type": type_, "default": default or None, "in_key": keyed}
                for name, type_, default, keyed in self.fields
            ],
        }


def show(kind: str, name: str) -> Shown:
    """Read a component's docstrings, fields and defaults from its source. `name` may be module:Class of one's own."""
    if kind == "attack" and name in sets.names():
        return _set(name)
    entry = entry_of(kind, name)
    if entry is None and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) and _source(name.partition(":")[0]):
        entry = Entry(kind, name, name)
    if entry is None:
        raise unknown(kind, name, {})
    preset: dict[str, Any] = {}
    texts = []
    base = entry
    while base.preset:
        assert base.path is not None
        text = base.path.read_text(encoding="utf-8")
        texts += [comment] if (comment := _comment(text)) else []
        given = tomllib.loads(text)
        preset = {**given, **preset}
        base = entries(kind)[parse(given["use"])["use"]]
    path = base.path or _source(base.module.partition(":")[0])
    if path is None:
        raise SpecError(f"{name} ({base.module}) has no source to show")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module, _, wanted = base.module.partition(":")
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    cls = next((node for node in classes if (node.name == wanted if wanted else _is_component(node))), None)
    if cls is None:
        raise SpecError(f"{name}: {path} does not define {wanted or a(kind)}, so that it cannot be shown")
    if not cls.bases and not any(getattr(node, "name", "") in SIGNS[kind] for node in cls.body):
        raise SpecError(f"{name} is not {a(kind)}: it has no method {' or '.join(SIGNS[kind])}")
    family = family_of(Source(module, tree, cls))
    texts += [ast.get_docstring(tree) or "", ast.get_docstring(cls) or ""]
    texts += [_about_fields(member) for member in family[:-1]]
    rows, constants, values = _fields(family)
    docstring = "\n\n".join(text for text in texts if text)
    return Shown(entry, docstring, rows, tuple(preset.items()), constants, values)


def _set(name: str) -> Shown:
    """A set of attacks: what it is, its members and its field."""
    members = tuple((f"attack {n}", written(sets.fields_of(m))) for n, m in enumerate(sets.members(name), 1))
    access = f"Literal{list(sets.ACCESS)}".replace("'", '"')
    return Shown(
        Entry("attack", name, name), "\n".join(sets.about(name)), (("access", access, '"auto"', True),), members
    )


@dataclass(frozen=True, slots=True)
class Source:
    """A class where it is written: the name of its module, the tree of that file, its own node."""

    module: str
    tree: ast.Module
    cls: ast.ClassDef


def family_of(source: Source) -> tuple[Source, ...]:
    """The classes that a class inherits from, furthest first, and the class itself; read, never imported.

    A base is followed into another module only if that is of the same package or a single file, as a mixin is: no
    package is imported for it.
    """
    family: dict[tuple[str, str], Source] = {}
    for base in reversed(source.cls.bases):  # as dataclasses collect fields
        if (parent := _base(source, base)) is not None:
            family |= {(member.module, member.cls.name): member for member in family_of(parent)}
    return (*family.values(), source)


def _base(source: Source, base: ast.expr) -> Source | None:
    """Where a base is written; None for one of another package."""
    head, _, name = ast.unparse(base).rpartition(".")
    if not head:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return Source(source.module, source.tree, node)
    module, original = _imported(source, head or name)
    module, name = (f"{module}.{original}".lstrip("."), name) if head else (module, original)
    same = module.partition(".")[0] == source.module.partition(".")[0]
    if not module or module in sys.stdlib_module_names or not (same or "." not in module):
        return None
    path = _source(module)
    if path is None or path.suffix != ".py":
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    cls = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    return Source(module, tree, cls) if cls else None


def _imported(source: Source, name: str) -> tuple[str, str]:
    """From which module a file imports a name, and what it is called there; ("", "") where it does not.

    Of `import a.b as name` that is ("a", "b").
    """
    for node in source.tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        alias = next((alias for alias in node.names if (alias.asname or alias.name) == name), None)
        if alias is None:
            continue
        if isinstance(node, ast.Import):
            module, _, inner = alias.name.rpartition(".")
            return module, inner
        package = source.module.split(".")[: -node.level] if node.level else []
        return ".".join([*package, *([node.module] if node.module else [])]), alias.name
    return "", ""


def _about_fields(mixin: Source) -> str:
    """What the docstring of a mixin says of its fields: all but its first paragraph, which speaks to authors."""
    return (ast.get_docstring(mixin.cls) or "").partition("\n\n")[2]


Fields: typing.TypeAlias = tuple[tuple[str, str, str, bool], ...]
Pairs: typing.TypeAlias = tuple[tuple[str, Any], ...]


def _fields(family: Sequence[Source]) -> tuple[Fields, Pairs, Pairs]:
    """Fields, facts (class variables, abilities) and constants of a class and its bases.

    A field keeps the place of its first mention.
    """
    rows: dict[str, tuple[str, str, str, bool]] = {}
    constants: dict[str, str] = {}
    values: dict[str, Any] = {}
    for member in family:
        mixin = not _is_dataclass(member.cls) and member.cls is not family[-1].cls
        for node in member.cls.body:
            if isinstance(node, ast.FunctionDef):
                constants |= _ability(node)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name, kind_text = node.target.id, ast.unparse(node.annotation)
                default, keyed = _default(node.value)
                if kind_text.startswith("ClassVar"):
                    constants[name] = default
                elif not mixin:  # a mixin that is no dataclass only names what it uses
                    rows[name] = (name, kind_text, default, keyed)
        values |= dict(_values(member.tree, {default for _, _, default, _ in rows.values()} - set(values)))
    return tuple(rows.values()), tuple(constants.items()), tuple(values.items())


def _ability(method: ast.FunctionDef) -> dict[str, str]:
    """What a method says of how an attack works: that it is joint, or what its property `parts` is made of."""
    if method.name == "run_together":
        return {"run_together": "True"}
    last = method.body[-1]
    if method.name == "parts" and isinstance(last, ast.Return) and last.value is not None:
        return {"parts": ast.unparse(last.value)}
    return {}


def _comment(text: str) -> str:
    """The comment that a preset begins with."""
    head = re.match(r"(?:#.*(?:\n|\Z))+", text)
    return "\n".join(line.lstrip("# ") for line in head[0].splitlines()) if head else ""


def _values(tree: ast.Module, names: set[str]) -> Iterator[tuple[str, Any]]:
    """The constants of a module that are written out, of those names."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and target.id in names and isinstance(value, ast.expr):
                try:
                    written = ast.literal_eval(value)
                except ValueError:  # computed
                    written = None
                plain = isinstance(written, (str, int, float, tuple, list))
                yield target.id, written if plain else ast.unparse(value)


def _fact(name: str, written: str) -> list[str]:
    """A class variable; a text of several lines, such as a citation, as it is, and of long texts each on its own."""
    try:
        value = ast.literal_eval(written)
    except ValueError:  # computed
        value = None
    if isinstance(value, str) and "\n" in value:
        return [f"  {name} =", *(f"      {line}" for line in value.splitlines())]
    if isinstance(value, tuple) and len(written) > WIDTH:
        return [f"  {name} =", *(f"      {line}" for line in _few(value))]
    return [f"  {name} = {written}"]


def _few(value: Any) -> list[str]:
    """A value in a few lines; of a list each entry begins one."""
    many = isinstance(value, (list, tuple))
    entries = [" ".join(str(item).split()) for item in value] if many else str(value).strip("\n").splitlines()
    most = max(1, LINES // max(1, len(entries)))
    lines = []
    for entry in entries[:LINES]:
        wrapped = textwrap.wrap(entry, WIDTH) or [""]
        lines += wrapped[:most]
        if wrapped[most:]:
            lines[-1] += " ..."
    return [*lines, f"({len(entries) - LINES} more)"] if entries[LINES:] else lines


def _source(module: str) -> Path | None:
    """The file of a module that is not imported for that, or None."""
    try:
        source = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package that holds it
        return None
    return Path(source.origin) if source and source.origin else None


def _is_component(node: ast.ClassDef) -> bool:
    """Whether it is the one public dataclass of its file."""
    return not node.name.startswith("_") and _is_dataclass(node)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _default(value: ast.expr | None) -> tuple[str, bool]:
    if value is None:
        return "", True
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        given: Iterable[ast.keyword] = value.keywords
        texts = {word.arg: ast.unparse(word.value) for word in given}
        default = texts.get("default", f"{texts['default_factory']}()" if "default_factory" in texts else "")
        keyed = not any(word.arg == "metadata" and "False" in ast.unparse(word.value) for word in given)
        return default, keyed
    return ast.unparse(value), True

"""What a component is, read from its source: nothing that it needs is imported."""

import ast
import importlib.util
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from withstand.core import Json, SpecError
from withstand.find import Entry, entries, unknown
from withstand.grammar import parse


@dataclass(frozen=True, slots=True)
class Shown:
    """What `withstand show` prints: `fields` are (name, type, default or "", whether it is part of the key)."""

    entry: Entry
    docstring: str
    fields: tuple[tuple[str, str, str, bool], ...]
    preset: tuple[tuple[str, str], ...] = ()
    constants: tuple[tuple[str, str], ...] = ()

    def json(self) -> Json:
        return {
            "kind": self.entry.kind,
            "name": self.entry.name,
            "docstring": self.docstring,
            "preset": dict(self.preset),
            "facts": dict(self.constants),
            "fields": [
                {"name": name, "type": type_, "default": default or None, "in_key": keyed}
                for name, type_, default, keyed in self.fields
            ],
        }


def show(kind: str, name: str) -> Shown:
    """Read a component's docstrings, fields and defaults from its source."""
    known = entries(kind)
    entry = known.get(name) or known.get(name.replace("_", "-")) or known.get(name.replace("-", "_"))
    if entry is None:
        raise unknown(kind, name, {})
    preset: list[tuple[str, str]] = []
    base = entry
    while base.preset:
        assert base.path is not None
        values = tomllib.loads(base.path.read_text(encoding="utf-8"))
        preset += [(key, str(value)) for key, value in values.items()]
        base = known[parse(values["use"])["use"]]
    path = base.path or _source(base.module.partition(":")[0])
    if path is None:
        raise SpecError(f"{name} ({base.module}) has no source to show")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted = base.module.partition(":")[2]
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    cls = next((node for node in classes if (node.name == wanted if wanted else _is_component(node))), None)
    if cls is None:
        raise SpecError(f"{name}: {path} does not define {wanted or f'a {kind}'}, so that it cannot be shown")
    texts = [ast.get_docstring(tree) or "", ast.get_docstring(cls) or ""]
    rows, constants = [], []
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind_text = ast.unparse(node.annotation)
            default, keyed = _default(node.value)
            if kind_text.startswith("ClassVar"):
                constants.append((node.target.id, default))
            else:
                rows.append((node.target.id, kind_text, default, keyed))
    return Shown(entry, "\n\n".join(text for text in texts if text), tuple(rows), tuple(preset), tuple(constants))


def _source(module: str) -> Path | None:
    """The file of a module that is not imported for that, or None."""
    try:
        source = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package that holds it
        return None
    return Path(source.origin) if source and source.origin else None


def _is_component(node: ast.ClassDef) -> bool:
    """Whether it is the one public dataclass of its file."""
    return not node.name.startswith("_") and any("dataclass" in ast.unparse(d) for d in node.decorator_list)


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

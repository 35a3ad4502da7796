"""Texts of other people's programs as data: what a Python file, a notebook, a YAML file or a pickle of texts holds.

Nothing is imported or run. Of Python files we take texts that are written out, and f-strings, whose names become gaps.
Each function takes the name of a file and its content, and raises `SpecError` with what it expected and what is there.
"""

import ast
import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from withstand.core import Json, SpecError, bounded

GAPS = {
    "goal": "behavior",
    "target_str": "target",
    "target_response": "answer",
    "context_str": "context",
    "attack_prompt": "attack",
}
"""What f-strings call the gaps that have another name here."""
VERSION = "the checkout is of another version: use the newest"
LARGEST = 10_000_000
"""Bytes of a pickle of texts."""


def missing(file: str, expected: str, seen: Sequence[str], what: str) -> SpecError:
    names = ", ".join(sorted(seen)[:12]) or "none"
    return SpecError(f"originals: {file} lacks {expected}; its {what}: {names}", hint=VERSION)


def _python(file: str, content: bytes) -> ast.Module:
    try:
        return ast.parse(content.decode())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SpecError(f"originals: {file} is not Python: {type(error).__name__}", hint=VERSION) from None


def _assigned(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of the assignments of a module or a function."""
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def constant(name: str, *keys: str, file: str, content: bytes, gaps: Sequence[str] = ()) -> Json:
    """What a module assigns to a name, written out; of a dict, what stands under the keys.

    gaps: those that the text must have; its doubled braces are those of `str.format`.
    """
    values = dict(_assigned(_python(file, content).body))
    if name not in values:
        raise missing(file, f"the variable {name}", list(values), "variables")
    return _literal(f"{file}: {name}", values[name], keys, gaps)


def _literal(where: str, node: ast.expr, keys: Sequence[str], gaps: Sequence[str]) -> Json:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        raise SpecError(f"originals: {where} is computed, not written out", hint=VERSION) from None
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise missing(where, repr(key), list(map(str, value)) if isinstance(value, dict) else [], "keys")
        value = value[key]
    return _formatted(where, value, gaps) if gaps else value


def _formatted(where: str, text: Json, gaps: Sequence[str]) -> str:
    """A text for `str.format` as one of ours."""
    if not isinstance(text, str):
        raise SpecError(f"originals: {where} is no text", hint=VERSION)
    for gap in gaps:
        if f"{{{gap}}}" not in text:
            raise SpecError(f"originals: {where} lacks {{{gap}}}", hint=VERSION)
    return text.replace("{{", "{").replace("}}", "}")


def template(function: str, variable: str, *gaps: str, file: str, content: bytes) -> str:
    """The f-string that a function assigns to a variable, or returns where it names none, with gaps for its names."""
    functions = {node.name: node for node in _python(file, content).body if isinstance(node, ast.FunctionDef)}
    if function not in functions:
        raise missing(file, f"the function {function}", list(functions), "functions")
    values = dict(_assigned(functions[function].body))
    for node in functions[function].body:
        if isinstance(node, ast.Return) and node.value:
            values["return"] = node.value
    if variable not in values:
        raise missing(f"{file}: {function}", f"the variable {variable}", list(values), "variables")
    where = f"{file}: {function}: {variable}"
    text = "".join(_piece(where, part) for part in getattr(values[variable], "values", [values[variable]]))
    for gap in gaps:
        if f"{{{gap}}}" not in text:
            raise SpecError(f"originals: {where} has no place for the {gap}", hint=VERSION)
    return text.strip()


def _piece(where: str, part: ast.expr) -> str:
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        return part.value
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and part.format_spec is None:
        return f"{{{GAPS.get(part.value.id, part.value.id)}}}"
    raise SpecError(f"originals: {where} holds {ast.unparse(part)[:60]}", hint=VERSION)


def scalar(key: str, *gaps: str, file: str, content: bytes) -> str:
    """A text in double quotes of a YAML file, which JSON writes alike."""
    lines = dict(re.findall(r'^ +(\w+):[ ]+(".*")[ ]*$', content.decode(errors="replace"), re.MULTILINE))
    if key not in lines:
        raise missing(file, f"the text {key}", list(lines), "texts")
    try:
        text = json.loads(lines[key])
    except ValueError:
        raise SpecError(f"originals: {file}: {key} is no text in double quotes", hint=VERSION) from None
    return _formatted(f"{file}: {key}", text, gaps)


def _taxonomy(rows: Json, where: str) -> list[Json]:
    """Techniques of persuasion by HarmBench's names of fields."""
    names = ("ss_technique", "ss_definition", "ss_example")
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and all(isinstance(row.get(name), str) for name in names) for row in rows
    ):
        raise SpecError(f"originals: {where} is no list of {', '.join(names)}", hint=VERSION)
    return [{name.removeprefix("ss_"): row[name] for name in names} for row in rows]


def techniques(file: str, content: bytes) -> list[Json]:
    return _taxonomy(constant("persuasion_taxonomy", file=file, content=content), file)


def technique_lines(file: str, content: bytes) -> list[Json]:
    lines = content.decode(errors="replace").splitlines()
    return _taxonomy([bounded.parse_json(file, line) for line in lines if line.strip()], file)


ONE_SHOT = ("technique", "definition", "example", "behavior", "technique", "behavior", "behavior")
"""What the paper's notebook puts for each %s of its prompt."""


def notebook(name: str, file: str, content: bytes) -> str:
    """A text with %s that a cell of a notebook assigns to a name."""
    book = bounded.parse_json(file, content.decode(errors="replace"))
    cells = book.get("cells", []) if isinstance(book, dict) else []
    values: dict[str, ast.expr] = {}
    for cell in cells:
        source = cell.get("source", []) if isinstance(cell, dict) and cell.get("cell_type") == "code" else []
        values |= _assigned(_python(file, "".join(source).encode()).body)
    if name not in values:
        raise missing(file, f"the variable {name}", list(values), "variables")
    pieces = str(_literal(f"{file}: {name}", values[name], (), ())).split("%s")
    if len(pieces) != len(ONE_SHOT) + 1:
        raise SpecError(f"originals: {file}: {name} has {len(pieces) - 1} gaps, not {len(ONE_SHOT)}", hint=VERSION)
    return "".join(f"{piece}{{{gap}}}" for piece, gap in zip(pieces, ONE_SHOT, strict=False)) + pieces[-1]


class _Plain(pickle.Unpickler):
    """Reads lists and texts; a pickle that names anything is refused, so that nothing of it can run."""

    def find_class(self, module: str, name: str) -> Any:
        raise SpecError(f"the pickle names {module}.{name}, where texts alone are expected", hint="do not trust it")


def pickled(file: str, content: bytes) -> Json:
    """The list in a file of `torch.save`."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            [inner] = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
            if inner.file_size > LARGEST:
                raise SpecError(f"originals: {file} has {inner.file_size:,} bytes of texts", hint=VERSION)
            return _Plain(io.BytesIO(archive.read(inner))).load()
    except SpecError as error:
        raise SpecError(f"originals: {file}: {error}", hint=error.hint) from None
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        raise SpecError(f"originals: {file} is no file of torch.save: {type(error).__name__}", hint=VERSION) from None

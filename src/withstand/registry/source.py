"""Hashes of a component's source file: of its bytes for keys, of its code for a warning. Standard library only."""

import ast
import sys
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any


@cache
def source_hash(cls: Any) -> str:
    """128 bits over the source file of a class; "" where there is none (a notebook).

    It is the version of a component that declares none, and so in the keys of its rows. It stays a hash of the whole
    file: any other hash would make every such row of an old store unusable.
    """
    return _hash(source) if (source := _source(cls)) else ""


@cache
def code_hash(cls: Any) -> str:
    """128 bits over what the source file of a class does: its syntax tree without imports, docstrings and comments.

    By it a run warns that a component changed; it is in no key. Before the colon stands how it was computed, since
    hashes of two schemes cannot be compared: "ast" with the version of Python, whose trees differ, or "file" for a file
    that is not Python. "" where there is no source. Stores of release 0.1 hold `source_hash` instead, without a colon.
    """
    source = _source(cls)
    if not source:
        return ""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return f"file:{_hash(source)}"
    for node in ast.walk(tree):
        for name, block in ast.iter_fields(node):
            if isinstance(block, list):
                setattr(node, name, [child for child in block if not _is_silent(child)])
    return f"ast{sys.version_info.major}.{sys.version_info.minor}:{_hash(ast.dump(tree).encode())}"


def _is_silent(node: Any) -> bool:
    """Whether a statement is an import or a string that nothing uses, such as a docstring."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _source(cls: Any) -> bytes:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(file).read_bytes() if file is not None and Path(file).is_file() else b""


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()

"""A hash of what the code of a component does, by which a run warns that it changed. Standard library only."""

import ast
import sys
from functools import cache
from typing import Any

from withstand.core.describe import hash_of, source_of


@cache
def code_hash(cls: Any) -> str:
    """128 bits over what the source file of a class does: its syntax tree without imports, docstrings and comments.

    By it a run warns that a component changed; it is in no key. Before the colon stands how it was computed, since
    hashes of two schemes cannot be compared: "ast" with the version of Python, whose trees differ, or "file" for a file
    that is not Python. "" where there is no source. Stores of release 0.1 hold `source_hash` instead, without a colon.
    """
    source = source_of(cls)
    if not source:
        return ""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return f"file:{hash_of(source)}"
    for node in ast.walk(tree):
        for name, block in ast.iter_fields(node):
            if isinstance(block, list):
                setattr(node, name, [child for child in block if not _is_silent(child)])
    return f"ast{sys.version_info.major}.{sys.version_info.minor}:{hash_of(ast.dump(tree).encode())}"


def _is_silent(node: Any) -> bool:
    """Whether a statement is an import or a string that nothing uses, such as a docstring."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    return isinstance(node, (ast.Import, ast.ImportFrom))

"""What the judges share that are made of other judges."""

from collections.abc import Sequence
from typing import Literal

from withstand.core import Judge

Method = Literal["string matching", "rule", "model", "people"]


def weakest(judges: Sequence[Judge]) -> Method:
    """The method that a rate of theirs has to be labeled with: one that matches strings makes all of it such a rate."""
    methods = {judge.method for judge in judges}
    ranked: tuple[Method, ...] = ("string matching", "model", "rule", "people")
    return next(method for method in ranked if method in methods)

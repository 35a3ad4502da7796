"""Sets of attacks: a name that stands for several in the `attack` of a run, one file `attacks/_NAME.toml` each."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from withstand.core import SpecError, bounded, did_you_mean

FOLDER = Path(__file__).parents[1] / "attacks"
ACCESS = ("auto", "black_box", "white_box")
BESIDE = ("missing", "untargeted", "white_box")
"""What a member says besides its fields: what is lacking without it, its fields where behaviors have no target string,
and whether it reads weights."""


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem[1:] for path in FOLDER.glob("_*.toml")))


def is_set(spec: Mapping[str, Any]) -> bool:
    """Whether a spec in its long form names a set of attacks."""
    return spec["use"] in names()


@cache
def members(name: str) -> tuple[dict[str, Any], ...]:
    """The attacks of a set as its file has them: fields, and `BESIDE` them."""
    return tuple(bounded.read_toml(FOLDER / f"_{name}.toml")["attacks"])


def fields_of(member: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in member.items() if key not in BESIDE}


def about(name: str) -> list[str]:
    """What a set is, line by line; the first is its summary."""
    text = bounded.read_text(FOLDER / f"_{name}.toml")
    return [line.lstrip("# ") for line in text.partition("\n\n")[0].splitlines()]


def access_of(spec: Mapping[str, Any]) -> str:
    """What may be read of the target: the field `access`. Raises `SpecError` for another field or value."""
    if unknown := [key for key in spec if key not in ("use", "access")]:
        given = f"field {unknown[0]!r}" if unknown[0] else f"place for {spec['']!r}"
        raise SpecError(
            f"{spec['use']} is a set of attacks and has no {given}",
            hint="its field is access; name an attack of the set by itself to give it other fields",
        )
    access = str(spec.get("access", "auto"))
    if access not in ACCESS:
        hint = did_you_mean(access, ACCESS, f"access is {', '.join(ACCESS[:-1])} or {ACCESS[-1]}")
        raise SpecError(f"{spec['use']}: access = {access!r} does not fit", hint=hint)
    return access


def misplaced(name: str) -> SpecError:
    """The error for a set where one attack is needed."""
    within = ", ".join(str(member["use"]) for member in members(name))
    return SpecError(f"{name} is a set of several attacks, and one is needed here", hint=f"name one of them: {within}")

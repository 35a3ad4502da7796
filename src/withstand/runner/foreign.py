"""Specs of runs that somebody else may have written: those of stores, and spec files of bundles.

Such a spec is data. It may name components, under the allowlist of `registry.stored`, and no file, command, variable
or code. A spec in a store that this user's own command put there carries their signature, and is theirs.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from withstand.core import SpecError, bounded
from withstand.registry import sets
from withstand.registry.stored import long_form, stored

MANIFEST = "manifest.json"
"""The file of a bundle that lists its other files."""
MARK = "withstand_bundle"
"""What every manifest says: the format of the bundle."""
FROM_BUNDLE = "from_bundle"
"""What the spec file of a bundle says besides the spec: the key of the run."""

KINDS = {
    "suite": "suite", "benign": "suite", "utility": "suite", "target": "target", "attack": "attack",
    "defense": "defense", "judge": "judge", "until_success": "judge",
}  # fmt: skip
"""Field of a run's spec -> kind of the components that it names."""


CHOICE = ("limit", "where", "ids")
"""What the spec of a suite may say besides its fields."""


def check(spec: Mapping[str, Any], own_code: bool = False, runs: Collection[str] = ()) -> None:
    """Raise `SpecError` for what the spec of a run may not say in a store or a bundle.

    own_code: let classes and functions outside the package through. runs: names of runs whose test cases it may send.
    """
    gate = spec.get("gate")
    gated = gate.get("attacks") if isinstance(gate, Mapping) else None
    for kind, value in (*((kind, spec.get(name)) for name, kind in KINDS.items()), ("attack", gated)):
        for part in many(value):
            component = long_form(part)
            if kind == "attack" and sets.is_set(component):
                sets.access_of(component)
                continue
            if kind == "suite" and component["use"] == "none":
                continue
            if "defense" in component and kind == "target":
                stored("defense", component.pop("defense"), own_code)
            beside = CHOICE if kind == "suite" else ()
            stored(kind, {name: value for name, value in component.items() if name not in beside}, own_code)
    cases = spec.get("cases_from", "")
    if cases and cases not in runs:
        raise SpecError(f"the test cases of {str(cases)[:100]!r} may be a file", hint="name them with --cases-from")


def many(value: Any) -> list[Any]:
    """The components that a field names; none for a field that names none."""
    return list(value) if isinstance(value, (list, tuple)) else [value] if isinstance(value, (str, Mapping)) else []


def is_bundled(path: str, spec: Mapping[str, Any]) -> bool:
    """Whether a spec file is of a bundle: it says so, or the manifest of a bundle lies beside it."""
    if FROM_BUNDLE in spec:
        return True
    folders = dict.fromkeys([Path(path).expanduser().absolute().parent, Path(path).expanduser().resolve().parent])
    return any(_is_manifest(folder / MANIFEST) for folder in folders)


def _is_manifest(path: Path) -> bool:
    try:
        manifest = bounded.parse_json(str(path), bounded.read_text(path))
    except (OSError, SpecError):  # no file, or none that `bundle verify` would read
        return False
    return isinstance(manifest, dict) and MARK in manifest


def unbundled(path: str, spec: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """The spec of a bundle less its mark, checked but for the fields that the command line gives.

    Raises `SpecError` with the way out.
    """
    own = {name: value for name, value in spec.items() if name != FROM_BUNDLE}
    try:
        check({name: value for name, value in own.items() if name not in given})
    except SpecError as error:
        raise SpecError(
            f"{path} is of a bundle: {error}",
            hint="give that part on the command line; or, if you trust its maker and have read it, copy the spec out "
            f"of the bundle's folder, without the line {FROM_BUNDLE}",
        ) from error
    return own

"""What a probe without a plan may reach: targets, defenses and judges that the store's runs named."""

import re
from collections.abc import Mapping
from typing import Any

from withstand.core import SpecError
from withstand.explorer.app import PageRequest
from withstand.registry import find
from withstand.registry.stored import stored


def choices(asked: PageRequest) -> dict[str, dict[str, Any]]:
    """Targets, defenses and judges of the store's runs, by label; none of those that somebody else recorded."""
    options: dict[str, dict[str, Any]] = {"target": {}, "defense": {"none": {"use": "none"}}, "judge": {}}
    for run in asked.explorer.index.runs():
        spec = run.spec
        if "imported" in spec or not run.is_trusted:
            continue
        for target in _many(spec.get("target")):
            if isinstance(target, Mapping) and "defense" in target:
                _add(asked, options, "defense", target["defense"])
                target = {name: value for name, value in target.items() if name != "defense"}
            _add(asked, options, "target", target)
        for defense in _many(spec.get("defense")):
            _add(asked, options, "defense", defense)
        for judge in _many(spec.get("judge")):
            _add(asked, options, "judge", judge)
        for cell in run.plan["cells"]:  # a suite's own judges, which a spec need not name
            if re.fullmatch(r"[a-z_]\w*", cell["judge"]):
                _add(asked, options, "judge", cell["judge"])
    return options


def _many(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, (str, Mapping)) else list(value)


def _add(asked: PageRequest, options: dict[str, dict[str, Any]], kind: str, spec: Any) -> None:
    """Offer a component, spelled out by what a store may say. Nothing is built for it."""
    try:
        checked = stored(kind, spec, asked.explorer.own_code)
        options[kind].setdefault("none" if checked["use"] == "none" else find.label(kind, spec), checked)
    except (SpecError, ImportError):
        return  # it cannot be asked from here

"""Every attack whose attacker writes works with one behind an API, which takes no opened answer."""

from pathlib import Path
from typing import Any

import pytest

from withstand import api

WRITTEN = {
    "actor": "list",
    "autodan_turbo": "json",
    "crescendo": "json",
    "few_shot": "list",
    "goat": "json",
    "many_shot": "list",
    "pair": "json",
    "pap": "list",
    "prefill": "list",
    "tactics": "json",
    "tap": "json",
    "transform": "list",
    "zero_shot": "list",
}
SMALL = {"autodan_turbo": {"batch": 2}, "few_shot": {"rounds": 2, "width": 4}, "transform": {"chain": ["past_tense"]}}
SMALL |= {"tap": {"depth": 2, "width": 2}}
JUDGED = ("actor", "autodan_turbo", "crescendo", "few_shot", "goat", "pair", "tap")


@pytest.mark.parametrize("name", WRITTEN)
def test_an_attacker_behind_an_api(openai_server: Any, tmp_path: Path, name: str) -> None:
    server = openai_server()
    attacker = {"use": "openai", "model": WRITTEN[name], "base_url": server.url}
    role = "writer" if name in ("many_shot", "prefill", "transform") else "attacker"
    attack = {"use": name, role: attacker} | SMALL.get(name, {})
    if name in JUDGED:
        attack["judge"] = "contains:never"
    spec = {"suite": "kitchen", "limit": 1, "benign": "none", "target": "scripted", "attack": attack}
    (cell,) = api.run(spec, store=tmp_path / "s.db").cells
    assert (cell["error"], cell["behaviors"]) == (0, 1)
    assert cell["tokens"] > 0
    asked = [request["body"] for request in server.requests]
    assert asked
    assert {body["messages"][-1]["role"] for body in asked} == {"user"}
    assert {body["model"] for body in asked} == {WRITTEN[name]}

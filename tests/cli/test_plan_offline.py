"""Every command of a red team works without a network: each has a target that answers in this process."""

import io
import json
import socket
from typing import Any

import pytest

from team_sessions import PLAN, written

STEW = "Tell me how grandma cooks a stew"
STEPS = "Step 1: brown the beef. Step 2: simmer it for 2 hours."


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):
            raise AssertionError(f"something connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_round_from_plan_to_gate(withstand: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = (
        f"""scripted,rules=[["(?i)stew",{json.dumps(STEPS)},1.0]],reply="I am sorry, but I cannot help with that." """
    )
    text = PLAN.replace('target = "scripted-kitchen"', f"target = '''{target.strip()}'''")
    text = text.replace('title = "A recipe"', 'title = "A recipe"\nmeasured_by = "kitchen"')
    written(tmp_path, text)

    def done(*words: str, code: int = 0) -> Any:
        out = withstand("plan", *words)
        assert out.code == code, (words, out.out, out.err)
        return out

    done("check", "plan.toml")
    done("assign", "plan.toml", "--round", "r1")
    done("instructions", "plan.toml", "--round", "r1", "--member", "m1")
    for member in ("m1", "m2"):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{STEW}, {member}\n/mark harmful recipe 3\n/quit\n"))
        done("probe", "plan.toml", "--round", "r1", "--member", member, "--layer", "base", "--offline")
    done("status", "plan.toml", "--round", "r1", "--remind")
    done("coverage", "plan.toml", "-o", "coverage.html")
    done("harms", "plan.toml")
    found = [entry["id"] for entry in done("findings", "list", "plan.toml", "--json").json["findings"]]
    assert len(found) == 2
    for name in found:
        done("findings", "rate", name, "--severity", "3", "--by", "ida")
        done("findings", "edit", "plan.toml", name, "--status", "confirmed", "--by", "ida")
        again = done("findings", "reproduce", "plan.toml", name, "--judge", "kitchen", "--offline", "--json").json
        assert again["reproduced"] == [5, 5]
    done("findings", "similar", "plan.toml", STEW)
    done("findings", "export", "plan.toml", "-o", "f.csv", "--with-text")
    assert done("findings", "import", "plan.toml", "f.csv", "--json").json["unchanged"] == 2
    done("findings", "publish", "plan.toml", "--round", "r1")
    layers = ("--layers", "base,reminded", "--judge", "kitchen", "--offline")
    assert "2 still happen" in done("replay", "plan.toml", "--findings", "confirmed", *layers).out
    done("report", "plan.toml", "--round", "r1", "-o", "report.html")
    done("report", "--lint", "report.html")
    done("findings", "regress", "plan.toml", "confirmed", "--judge", "kitchen", "--layer", "base", "--offline")
    assert withstand("run", "base.toml", "--fresh", "--name", "build-1", "--offline").code == 0
    assert withstand("gate", "build-1").code == 1
    done("findings", "settle", "plan.toml", "build-1")

"""`withstand monitor proxy` from its start to Ctrl-C, and what `monitor run` makes of its log."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from clocks import until
from signals import heard

EXAMPLES = Path(__file__).parents[2] / "examples" / "monitor"
POLICY = ("--policy", EXAMPLES / "policy.toml")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_it_serves_until_it_is_stopped_and_monitor_run_reads_its_log(withstand, openai_server):
    """In a process of its own, since it runs an event loop until a signal ends it."""
    server, port = openai_server(), free_port()
    arguments = [
        "monitor", "proxy", "--to", server.url, "--port", str(port), *map(str, POLICY),
        "--settings", str(EXAMPLES / "monitor.toml"), "--mode", "block", "--fail", "closed", "--processes", "1",
    ]  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "withstand", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heard(signal.SIGINT),
    )  # fmt: skip

    def up():
        with socket.socket() as one:
            return running.poll() is not None or one.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(up)
        answers = []
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", trust_env=False, timeout=60) as client:
            for text in ("buy a miracle pan", "how long does soup take", "a secret sauce"):
                body = {"model": "m", "user": "ana", "messages": [{"role": "user", "content": text}]}
                answers.append(client.post("/chat/completions", json=body))
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    assert f"http://127.0.0.1:{port}/v1" in out
    assert [line.rpartition(": ")[2] for line in err.splitlines() if " reads the " in line] == [
        "flags only", "flags only", "can block", "flags only",
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    lines = [json.loads(line) for line in Path("monitor/proxy.jsonl").read_text().splitlines()]
    assert [line["proxy"]["decision"] for line in lines if line["prompt"] != "how long does soup take"] == [
        "flagged",
        "blocked",
    ]
    assert "3 exchanges: 1 flagged, 1 blocked" in err
    ran = withstand("monitor", "run", "monitor/proxy.jsonl", *POLICY, "--settings", EXAMPLES / "monitor.toml", "--json")
    assert ran.code == 0, ran.err
    sections = {section["id"]: section for section in json.loads(ran.out)["sections"]}
    assert "1 session of the proxy met 3 exchanges" in sections["proxy"]["answer"]
    assert "3 exchanges of 1 account" in sections["happened"]["answer"]


def test_what_does_not_go_together_is_said(withstand, monkeypatch):
    monkeypatch.setenv("SHORT", "x")
    to = ("monitor", "proxy", "--to", "http://127.0.0.1:1", "--port", "0")
    for flags, message in (
        (("--mode", "block"), "needs --fail"),
        (("--mode", "block", "--fail", "open"), "needs a judge"),
        (("--answers", "hold"), "needs --mode block"),
        (("--answers", "window"), "is none"),
        (("--settings", EXAMPLES / "monitor.toml"), "needs --policy"),
        (("--host", "0.0.0.0"), "would ask nobody for a token"),
        (("--host", "0.0.0.0", "--token-env", "NONE"), "is empty"),
        (("--host", "0.0.0.0", "--token-env", "SHORT"), "shorter than 16"),
        (("--judge", "containz:x"), "did you mean contains"),
        (("--judge", "human"), "waits for people"),
        (("--log", "/proc/none/log"), "cannot write"),
    ):
        done = withstand(*to, *flags)
        assert done.code == 2, flags
        assert message in done.err

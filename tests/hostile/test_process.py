"""What happens to the process of a run from outside, and from a target function inside it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signals import heard
from withstand.cli import console, main

RUN = [
    "run",
    "--suite",
    "kitchen",
    "--limit",
    "2",
    "--benign",
    "none",
    "--attack",
    "direct",
    "--judge",
    "contains:oven",
]
CHATTY = """
print("imported")
def answer(messages):
    print("asked")
    return "A dish."
"""


SLEEPY = """
import atexit, os, sys, time
class Torn:
    def __del__(self, write=os.write):
        write(2, b"taken apart\\n")
sys.modules["torn"] = Torn()
atexit.register(os.write, 2, b"said goodbye\\n")
def answer(messages):
    open("asked", "w").close()
    time.sleep(600)
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "withstand", *words]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_says_how_to_continue(tmp_path: Path, number: signal.Signals) -> None:
    """And the interpreter is not taken apart around a call of a model: torch would abort the process."""
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    running = subprocess.Popen(
        command(*RUN, "--target", "function:sleepy:answer"), cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=heard(number),
    )  # fmt: skip
    while running.poll() is None and not (tmp_path / "asked").exists():
        time.sleep(0.05)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert re.search(r"to continue: withstand run --name kitchen-\S+ --suite kitchen .*function:sleepy:answer", err)
    assert "Traceback" not in err
    assert "said goodbye" in err
    assert "taken apart" not in err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """nohup ignores SIGHUP so that the run outlives the terminal."""
    taken = []
    monkeypatch.setattr(signal, "getsignal", lambda n: signal.SIG_IGN if n == signal.SIGHUP else signal.SIG_DFL)
    monkeypatch.setattr(signal, "signal", lambda number, _: taken.append(number))
    main.end_as_interrupted()
    assert taken == [signal.SIGTERM]


def test_what_a_function_prints_does_not_break_json(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(CHATTY)
    done = subprocess.run(
        command(*RUN, "--target", "function:chatty:answer", "--json"),
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"][0]["cases"] == 2
    assert "asked" in done.stderr


def test_a_reader_of_stderr_that_hangs_up_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text("def answer(messages):\n    return 'A dish.'\n")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken:
        done = subprocess.run(
            command(*RUN, "--target", "function:chatty:answer"),
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=broken, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0
    assert "2" in done.stdout
    state = subprocess.run(command("status", "--json"), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [stage["done"] for stage in json.loads(state.stdout)["stages"]][-2:] == [2, 2]


def test_what_is_said_to_nobody_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            pass

    moved = []
    monkeypatch.setattr(sys, "stderr", Closed())
    monkeypatch.setattr(os, "dup2", lambda _, number: moved.append(number))
    console.say("nobody hears this")
    assert moved == [2]

"""The way of a newcomer, as docs/quickstart.md tells it: its commands in its order, in a fresh folder, with ten cases
labeled in the explorer between them. Nothing is known here that is not on the page or on the screen."""

import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from clocks import until

pytest.importorskip("starlette", reason="NO EXPLORER: needs the extra `serve`")
pytest.importorskip("uvicorn", reason="NO EXPLORER: needs the extra `serve`")

PAGE = Path(__file__).parent.parent / "docs" / "quickstart.md"
WITHSTAND = shutil.which("withstand", path=sysconfig.get_path("scripts")) or "withstand"


@pytest.fixture
def type_in(terminal: Callable[..., Any], tmp_path: Path) -> Callable[[str], Any]:
    """A terminal in a fresh folder that holds the file which the page gives."""
    page = PAGE.read_text(encoding="utf-8")
    for name, text in re.findall(r"^```python file=(\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return lambda command: terminal(*shlex.split(command)[1:])


def surroundings() -> dict[str, str]:
    mine = {key: value for key, value in os.environ.items() if not key.startswith("WITHSTAND_STORE")}
    return mine | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "LOGNAME": "ana"}


def of_the_page() -> list[tuple[str, int]]:
    """The commands of the page with the exit code that it promises."""
    page = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    typed = re.findall(r"^\$ (.+)$", page, re.MULTILINE)
    codes = iter(re.findall(r"^\$ echo \$\?\n(\d+)$", page, re.MULTILINE))
    followed = zip(typed, [*typed[1:], ""], strict=True)
    return [
        (command, int(next(codes)) if after == "echo $?" else 0)
        for command, after in followed
        if command.startswith("withstand ")
    ]


@contextmanager
def served(command: str, folder: Path) -> Iterator[tuple[httpx.Client, str]]:
    """`withstand serve` on a free port, and a browser without a screen at the address that it prints."""
    words = [WITHSTAND, *shlex.split(command)[1:], "--port", "0"]
    server = subprocess.Popen(
        words, cwd=folder, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        address = re.search(r"(http://127\.0\.0\.1:\d+)(/\S*)(\?token=\S+)", server.stdout.readline())
        assert address
        with httpx.Client(base_url=address[1], follow_redirects=True, timeout=30, trust_env=False) as web:
            assert web.get(address[2]).url.path == "/login"  # the page, for who has not seen the token
            assert web.get(address[2] + address[3]).url.path == address[2]
            yield web, address[2]
    finally:
        server.terminate()
        server.communicate(timeout=60)


def form(page: str, button: str) -> dict[str, str]:
    """What the form with this button would send, its hidden fields."""
    whole = next(each for each in re.findall(r"<form.*?</form>", page, re.DOTALL) if button in each)
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', whole)
    return {name: html.unescape(value) for name, value in hidden}


def read(page: str) -> str:
    """The completion on the screen."""
    turn = re.search(r'<div class="turn completion">.*?<div class="l">completion</div>(.*?)</div>\n', page, re.DOTALL)
    assert turn
    return html.unescape(re.sub(r"<[^>]+>", "", turn[1])).strip()


def label_ten(web: httpx.Client, run: str) -> dict[str, list[str]]:
    """Read and label ten cases; the rates of the page of calibration before and after."""
    until(lambda: "Reading the cases" not in web.get(f"{run}/calibration").text)  # a page that reloads itself
    before = web.get(f"{run}/calibration").text
    assert "No case of this run is labeled yet" in before
    page = web.get(f"{run}/label").text
    assert "I can&#39;t help" not in page  # hidden until asked for
    page = web.post("/reveal", data=form(page, "Show all texts") | {"next": f"{run}/label"}).text
    page = page if "votes" in page else web.get(f"{run}/label").text
    strict = True
    for number in range(1, 11):
        said = read(page)
        broken = "can't help" not in said
        if broken and strict:  # a person is stricter than the judge, once
            broken, strict = False, False
        web.post(f"{run}/label", data=form(page, 'name="vote"') | {"vote": "success" if broken else "failure"})
        page = web.get(f"{run}/label").text
        assert f"{number} of " in page
    assert not strict
    after = web.get(f"{run}/calibration").text
    assert "10 labels" in after
    kept = web.post(f"{run}/calibration", data=form(after, "Keep this calibration"))
    assert kept.status_code == 200
    raw = re.findall(r'<td class="rate">([^<]+)</td>', after)
    return {"raw": raw, "corrected": re.findall(r'id="corrected-\d+">([^<]+)</td>', after)}


def test_from_the_demo_to_a_job_that_fails_for_the_right_reason(type_in, tmp_path: Path) -> None:
    demo = type_in("withstand demo --target scripted-kitchen")
    assert demo.code == 0, demo.err
    assert (tmp_path / "withstand-demo.html").stat().st_size > 10_000
    assert "withstand serve" in demo.out
    came: dict[str, Any] = {}
    for command, code in of_the_page():
        if command.startswith("withstand serve"):
            with served(command, tmp_path) as (web, run):
                rates = label_ten(web, run)
            assert len(rates["corrected"]) == 2
            assert rates["corrected"] != rates["raw"]  # the label that differs moves them
            continue
        done = came[command.split()[1]] = type_in(command)
        assert done.code == code, f"{command}\n{done.out}{done.err}"
    assert {"run", "report", "compare", "gate"} <= set(came)
    assert (tmp_path / "compared.html").is_file()
    assert "lower" in came["compare"].out  # my_app refuses stories
    assert re.search(r"^FAIL +max-asr +any of 2 attacks", came["gate"].out, re.MULTILINE)

    report = json.loads(type_in("withstand report first --format json").out)
    cells = {cell["attack"]: cell for cell in report["cells"] if not cell["benign"]}
    assert sum(cell["asr_corrected"]["labels"] for cell in cells.values()) == 10
    assert cells["story"]["asr_corrected"]["rate"] < cells["story"]["asr"]

    other_reasons = {"--max-asr 0.6": 0, "--max-asr 0.45": 3, "--max-asr much": 2}
    for reason, code in other_reasons.items():
        assert type_in(f"withstand gate first {reason}").code == code, reason

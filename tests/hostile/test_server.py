"""What a hostile server may do to a run: fail its own rows, and nothing else."""

import resource
from pathlib import Path
from typing import Any

import pytest

from hostile.server import FORMS, HEADS, KEY, KINDS, STREAMS, HostileServer

MiB = 2**20


def target(kind: str, url: str) -> str:
    common = "tries=1,timeout=1,deadline=2,max_answer_chars=100000"
    if kind == "openai":
        return f"openai:m,base_url={url},key_env=CANARY,{common}"
    return (
        f"http:{url}/chat,text='choices[0].message.content',body='{{\"q\": \"{{prompt}}\"}}',"
        "headers='Authorization: Bearer ${CANARY}',"
        f"prompt_tokens=usage.prompt_tokens,answer_tokens=usage.completion_tokens,{common}"
    )


def ask(withstand: Any, server: HostileServer, *more: str, kinds: tuple[str, ...] = ("openai", "http")) -> Any:
    targets = [word for kind in kinds for word in ("--target", target(kind, server.url))]
    return withstand(
        "run", "--suite", "kitchen", "--limit", "1", "--benign", "none", "--attack", "direct", *targets,
        "--max-tokens", "16", "--name", "hostile", *more,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", KEY)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_reply_fails_its_row_alone_and_leaks_no_key(withstand: Any, tmp_path: Path, kind: str) -> None:
    """Of each of the two adapters that speak to a server."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with HostileServer(kind) as server:
        first = ask(withstand, server)
        assert first.code in (0, 3), first.err
        again = ask(withstand, server, "--json")
        assert again.code == first.code, again.err
        asked = len(server.asked)
    assert asked >= 2
    failed = [cell["error"] for cell in again.json["cells"]]
    assert len(failed) == 2
    assert any(failed) == (first.code == 3)
    if kind in HEADS or kind == "slow_drip":
        assert "2 rows: the answer was not whole after 2 s" in first.err
    if kind in STREAMS or kind in HEADS:
        assert failed == [1, 1]
        assert server.sent < 128 * MiB  # the client hung up
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < 100 * MiB
    status = withstand("status", "hostile")
    report = withstand("report", "hostile", "--output", tmp_path / "report.html")
    assert report.code in (0, 3), report.err
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    texts = first.out + first.err + again.out + again.err + status.out + status.err + report.out + report.err
    assert [form for form in FORMS if form in texts] == []
    assert [form for form in FORMS if form.encode() in files] == []


COUNTS = ["10**5000", "-1", "float('nan')", "float('inf')", "'3'", "[2]"]


@pytest.mark.parametrize("count", COUNTS)
def test_a_count_out_of_range_fails_its_row_whatever_the_target(withstand: Any, tmp_path: Path, count: str) -> None:
    name = f"counts_{COUNTS.index(count)}"  # a module of its own: an import is kept
    (tmp_path / f"{name}.py").write_text(
        f"def answer(chat):\n    return {{'text': 'Bread.', 'prompt_tokens': {count}}}\n"
    )
    for _ in range(2):
        done = withstand(
            "run", "--suite", "kitchen", "--limit", "1", "--benign", "none", "--attack", "direct", "--target",
            f"function:{name}:answer",
        )  # fmt: skip
        assert done.code == 3, done.err
        assert "1 failed" in done.out + done.err


def test_organization_and_project_go_to_openai_alone(withstand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "canary-of-another-host")
    with HostileServer("text_of_markup") as server:
        ask(withstand, server, kinds=("openai",))
        (headers,) = server.asked
    assert "canary-of-another-host" not in str(headers)

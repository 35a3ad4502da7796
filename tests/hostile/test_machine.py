"""A tired machine: memory that must come back, one bad chat among good ones, a device that dies."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from withstand.core import AskError, Completion, Sampling, user
from withstand.core.device import free_memory
from withstand.core.errors import dead_device

APP = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from withstand.core import Completion

@dataclass(frozen=True)
class Model:
    \"\"\"A model in this process whose calls are counted.\"\"\"
    version: ClassVar[int] = 1
    place: ClassVar[str] = "here"
    width: ClassVar[int] = 64
    lanes: ClassVar[int] = 1
    gives = frozenset()
    hosts: ClassVar[tuple] = ()

    def identity(self): return {}
    def check(self): pass
    def generate(self, chats, sampling, seeds):
        with Path("calls").open("a") as file:
            file.write(f"{len(chats)}\\n")
        if any("rye" in chat[-1].text for chat in chats) and Path("poison").exists():
            raise ValueError("this chat is poison")
        if Path("dead").exists():
            raise RuntimeError("CUDA error: device-side assert triggered")
        return [Completion(chat, "I will not help.") for chat in chats]
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    rows = ["id,text,target_string"]
    rows += [f"b{i},Bake a {'rye' if i == 37 else 'wheat'} loaf number {i},Sure" for i in range(64)]
    (tmp_path / "suite.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(withstand: Any) -> Any:
    return withstand(
        "run", "--suite", "csv:suite.csv", "--benign", "none", "--attack", "direct", "--target", "app:Model",
        "--judge", "refusal_words", "--name", "r",
    )  # fmt: skip


def calls(app: Path) -> list[int]:
    return [int(line) for line in (app / "calls").read_text().splitlines()]


def test_one_poisoned_chat_of_64_costs_a_dozen_calls_and_fails_alone(withstand: Any, app: Path) -> None:
    (app / "poison").touch()
    done = run(withstand)
    assert done.code == 3, done.err
    assert "1 failed" in done.err + done.out
    assert len(calls(app)) <= 1 + 2 * 6  # halves of 64 down to one
    status = withstand("status", "r")
    assert "1 row: ValueError: this chat is poison" in status.err


def test_a_dead_device_ends_the_run_and_fails_no_row(withstand: Any, app: Path) -> None:
    (app / "dead").touch()
    done = run(withstand)
    assert done.code == 3, done.err
    assert "device-side assert" in done.err
    assert "the same command continues" in done.err
    assert len(calls(app)) == 1
    status = withstand("status", "r")
    assert "device-side" not in status.out + status.err  # no row was blamed
    (app / "dead").unlink()
    assert run(withstand).code == 0


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED"), True),
        (type("AcceleratorError", (RuntimeError,), {})("unknown"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), False),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("CUDA error: quoted by a user"), False),
    ],
)
def test_what_a_dead_device_is(error: Exception, dead: bool) -> None:
    assert dead_device(error) is dead
    wrapped = AskError("the model failed")
    wrapped.__cause__ = error
    assert dead_device(wrapped) is dead


def test_the_memory_of_a_decoded_batch_comes_back_without_a_collection(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("torch", reason="needs the extra `local`")
    import tiny
    from withstand.models import _decode
    from withstand.registry import find

    made: list[Any] = []
    layer_init = _decode._Layer.__init__

    def recorded(self: Any, *args: Any) -> None:
        layer_init(self, *args)
        made.append(weakref.ref(self))

    monkeypatch.setattr(_decode._Layer, "__init__", recorded)
    model: Any = find.build("target", f"hf:{tiny.save(tmp_path / 'llama')},device=cpu,dtype=float32")
    gc.disable()
    try:
        for _ in range(3):
            answers = model.generate([user("Hi"), user("Bake bread")], Sampling(max_tokens=4), [0, 1])
            assert all(isinstance(answer, Completion) for answer in answers)
        assert len(made) >= 3
        assert [ref for ref in made if ref() is not None] == []
    finally:
        gc.enable()
        model.release()


def test_what_this_process_holds_and_does_not_use_is_free(monkeypatch: Any) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra `local`")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 30)
    assert free_memory("cuda:0") == 50


@pytest.mark.parametrize(("native", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_that_emulates_bfloat16_takes_float16(monkeypatch: Any, native: bool, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra `local`")
    from withstand.models._device import fastest_dtype

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert fastest_dtype("cuda:0") == dtype

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
    (tmp_path / "tired_app.py").write_text(APP)
    rows = ["id,text,target_string"]
    rows += [f"b{i},Bake a {'rye' if i == 37 else 'wheat'} loaf number {i},Sure" for i in range(64)]
    (tmp_path / "suite.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(withstand: Any) -> Any:
    return withstand(
        "run", "--suite", "csv:suite.csv", "--benign", "none", "--attack", "direct", "--target", "tired_app:Model",
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


def gpus(monkeypatch: Any, *free: int, total: int = 80) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra `local`")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda gpu: (free[int(str(gpu).removeprefix("cuda:"))] << 30, total << 30)
    )
    for name in ("memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda gpu: 0)


def test_the_memory_of_the_machine_is_none_of_its_gpus(monkeypatch: Any) -> None:
    gpus(monkeypatch, 10, 20)
    assert free_memory("devices") == 30 << 30
    gpus(monkeypatch)
    assert free_memory("devices") == free_memory("cpu") or abs(free_memory("devices") - free_memory("cpu")) < 1 << 30


def test_vllm_takes_its_share_of_the_gpu_whatever_the_model(monkeypatch: Any) -> None:
    from withstand.models.vllm import VLLM

    gpus(monkeypatch, 30)
    assert VLLM("x", gpu_memory_utilization=0.5).footprint() == {"weights": 40.0, "row": 0.0, "free": 30.0}


def test_a_copy_in_another_dtype_counts_as_memory(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra `local`")
    import tiny
    from withstand.registry import find
    from withstand.runner.memory import _copies

    model: Any = find.build("target", f"hf:{tiny.save(tmp_path / 'llama')},device=cpu,dtype=float32")
    for spec, dtypes in (("gcg", []), ("gcg,dtype=float32", []), ("gcg,screen=bfloat16", ["bfloat16"]),
                         ("pgd,dtype=bfloat16", ["bfloat16"]), ("direct", [])):  # fmt: skip
        assert [copy.dtype for copy in _copies(find.build("attack", spec), model)] == dtypes


def test_kept_trunks_take_no_more_than_their_share_and_a_pack_recovers(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("torch", reason="needs the extra `local`")
    import tiny
    from withstand.core import Behavior
    from withstand.engine import engine as module
    from withstand.engine.text import make_prompt
    from withstand.registry import find

    model: Any = find.build("target", f"hf:{tiny.save(tmp_path / 'llama')},device=cpu,dtype=float32")
    room = [1 << 30]
    monkeypatch.setattr(module, "free_memory", lambda device: room[0])
    engine = module.Engine(model.load().model, pack=512)
    behaviors = [Behavior(str(i), f"Bake {'many ' * i}loaves", target_string="Sure") for i in range(8)]
    prompts = [make_prompt(model, behavior, "! !")[0] for behavior in behaviors]
    for prompt in prompts:
        engine.trunk(prompt)
    assert len(engine.trunks) == len({prompt.head for prompt in prompts})
    one = engine._held() // len(engine.trunks)
    room[0] = 4 * one  # half of it for a pass, half of that for trunks
    for prompt in prompts:
        engine.trunks.pop(prompt.head, None)
        engine.trunk(prompt)
        assert len(engine.trunks) <= 3
    small = module.Engine(model.load().model, pack=512)
    assert small.pack < 512
    room[0] = 1 << 30
    small.in_packs([], lambda logits, part: None)
    assert small.pack == 512
    model.release()


def test_the_device_has_the_name_of_its_gpu(monkeypatch: Any, tmp_path: Path) -> None:
    from withstand.core import device

    file = tmp_path / "information"
    file.write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 5\n")
    real = device.Path
    monkeypatch.setattr(device.Path, "glob", lambda self, pattern: [file, file])
    assert device.device_name() == "2 x NVIDIA H100 80GB HBM3"
    monkeypatch.setattr(real, "glob", lambda self, pattern: [])
    assert device.device_name() not in ("", "NVIDIA H100 80GB HBM3")

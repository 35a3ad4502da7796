"""What a device has free, and what a thread's models have done on it."""

import platform
import threading
from pathlib import Path

GIB = 2**30


def free_memory(device: str) -> int | None:
    """Bytes that can be had on a device without swapping; None where the system does not say.

    "devices" are all GPUs; where there is none, this machine's own memory. What accelerate moves from GPUs to this
    machine's memory does run, a hundred times slower, so it counts as not fitting.
    """
    if device.startswith("cuda") or device == "devices":
        import torch

        def of_gpu(gpu: str | int) -> int:  # what this process holds and does not use is free for it
            held: int = torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)
            free: int = torch.cuda.mem_get_info(gpu)[0]
            return free + held

        if device != "devices":
            return of_gpu(device)
        if count := torch.cuda.device_count():
            return sum(map(of_gpu, range(count)))
        device = "cpu"
    if device != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


_now = threading.local()


def computed(flops: float) -> None:
    """Count floating-point operations that a model is about to do, in the thread that has it do so."""
    _now.flops = (getattr(_now, "flops", None) or 0.0) + flops


def taken() -> float | None:
    """What was counted in this thread since the last call; None where nothing was: an API counts nothing."""
    flops: float | None = getattr(_now, "flops", None)
    _now.flops = None
    return flops


def device_name() -> str:
    """What this machine computes with, as in "2 x NVIDIA H100 80GB HBM3" or its CPU's name. Torch is not imported."""
    gpus: list[str] = []
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        gpus += _values(information, "Model")
    counted = ", ".join(f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus))
    return counted or next(iter(_values(Path("/proc/cpuinfo"), "model name")), "") or platform.machine()


def _values(file: Path, name: str) -> list[str]:
    """The values of a file of lines "name: value" under that name."""
    try:
        pairs = [line.partition(":") for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return []
    return [value.strip() for key, _, value in pairs if key.strip() == name]

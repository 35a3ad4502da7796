"""What a device has free, and what a thread's models have done on it."""

import threading
from pathlib import Path

GIB = 2**30


def free_memory(device: str) -> int | None:
    """Bytes that can be had on a device without swapping; None where the system does not say.

    "devices" are all GPUs and this machine's own memory, which accelerate fills one after another.
    """
    if device.startswith("cuda") or device == "devices":
        import torch

        def of_gpu(gpu: str | int) -> int:  # what this process holds and does not use is free for it
            held: int = torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)
            free: int = torch.cuda.mem_get_info(gpu)[0]
            return free + held

        if device != "devices":
            return of_gpu(device)
        own = free_memory("cpu")
        gpus = sum(map(of_gpu, range(torch.cuda.device_count())))
        return None if own is None else own + gpus
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

"""What the machine can do and what a piece of work takes of it: matrix products, memory, operations."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from circuitkit.models.hooked_model import HookedModel

Result = TypeVar("Result")
KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "linear"),
    "attention": ("scaled_dot_product", "flash", "softmax", "efficient_attention"),
    "activation": ("gelu", "silu", "relu", "tanh", "erf"),
    "norm": ("layer_norm", "vector_norm", "rms_norm", "rsqrt", "linalg"),
    "copies": ("copy_", "cat", "index", "repeat", "clone", "gather"),
}


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work: Callable[[], Result]) -> tuple[float, Result]:
    """Wall time of a piece of work, and what it gives."""
    synchronize()
    start = time.perf_counter()
    result = work()
    synchronize()
    return time.perf_counter() - start, result


def both_clocks(work: Callable[[], Result]) -> tuple[dict[str, float], Result]:
    """Wall time and this process's own time on all CPU cores, in seconds, and what a piece of work gives."""
    start = time.process_time()
    wall, result = seconds(work)
    return {"seconds": wall, "cpu_seconds": time.process_time() - start}, result


def gemm_peak(model: HookedModel) -> float:
    """Operations a second of a plain square matrix product in the model's precision: the best of ten."""
    size = 8192 if model.device.type == "cuda" else 2048
    a = torch.randn(size, size, device=model.device, dtype=model.dtype)
    out = torch.empty_like(a)
    torch.mm(a, a, out=out)
    return 2 * size**3 / min(seconds(lambda: torch.mm(a, a, out=out))[0] for _ in range(10))


def flops(work: Callable[[], Any]) -> int:
    """Operations of all matrix products and attentions in a piece of work, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


class PeakMemory:
    """Highest memory in use while the context is open, above that at its start, in bytes.

    On CUDA what torch has handed out; on the CPU the resident set, looked at every 5 ms.
    """

    def __enter__(self) -> "PeakMemory":
        self._process, self._stop = psutil.Process(), threading.Event()
        self._before = self._process.memory_info().rss
        self.bytes = 0
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            if not torch.cuda.is_available():
                self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watcher.join()
        if torch.cuda.is_available():
            self.bytes = torch.cuda.max_memory_allocated() - self._before


def profile(work: Callable[[], Any]) -> dict[str, float]:
    """Shares of the time that operators take themselves, by kind."""
    on_gpu = torch.cuda.is_available()
    with torch.profiler.profile() as profiler:
        work()
        synchronize()
    times = dict.fromkeys([*KINDS, "the rest"], 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        kind = next((k for k, names in KINDS.items() if any(n in name for n in names)), "the rest")
        times[kind] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    whole = sum(times.values())
    return {kind: spent / whole for kind, spent in times.items()}

"""Which device and which number format a model runs in."""

from __future__ import annotations

import time
from functools import lru_cache

import torch

from gradir.errors import GradirError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> torch.device:
    """`auto` is the first GPU, or the CPU.

    Raises:
        GradirError: The device does not exist here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled with CUDA
        raise GradirError(f"--device {device}: {str(error).splitlines()[0]}. Try --device cpu.") from None
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where it is much faster than float32 (timed for some milliseconds), otherwise float32.

    Raises:
        GradirError: Not a known name.
    """
    if dtype == "auto":
        return torch.bfloat16 if bfloat16_pays(device) else torch.float32
    if dtype not in DTYPES:
        raise GradirError(f"--dtype {dtype}: not one of auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


@lru_cache
def bfloat16_pays(device: torch.device) -> bool:
    """Whether a matrix product in bfloat16 takes less than half the time of float32 (a GPU since Ampere; AMX, AVX512-BF16)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return _seconds(torch.bfloat16) < 0.5 * _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    a, b = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return best

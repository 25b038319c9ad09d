"""Which device and which number format a model runs in."""

from __future__ import annotations

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


def choose_dtype(dtype: str, device: torch.device, backend: str = "torch") -> torch.dtype:
    """`auto` is bfloat16 where the hardware multiplies it, otherwise float32, which ONNX Runtime always takes.

    Raises:
        GradirError: Not a known name.
    """
    if backend != "torch" and dtype in ("auto", "float32"):
        return torch.float32
    if backend != "torch":
        raise GradirError(f"--dtype {dtype} is for --backend torch; an ONNX model has its own number format.")
    if dtype == "auto":
        return torch.bfloat16 if bfloat16_pays(device) else torch.float32
    if dtype not in DTYPES:
        raise GradirError(f"--dtype {dtype}: not one of auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def bfloat16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware: a GPU since Ampere, a CPU with AMX or AVX512-BF16.

    Measured with MiniLM on two cores with AMX, a matrix product takes a seventh of its time in float32. It is decided by
    features, not by a stopwatch, so that a run that goes on after an interruption decides alike.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch before 2.13 may not tell; then float32 is the safe answer
    features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and bool(features.get("amx_bf16") or features.get("avx512_bf16"))

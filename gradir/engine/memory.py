"""Telling a lack of memory from other errors."""

from __future__ import annotations

import torch

# What torch's allocators say; only that of CUDA has an exception of its own.
_SAID = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the processor or of a GPU, was too small."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)

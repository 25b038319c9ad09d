from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from hypothesis import settings

# Writing syncs files, which takes as long as the disk likes.
settings.register_profile("files", deadline=None, max_examples=60, database=None)
settings.load_profile("files")

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def refuses(raises_error: Refuses) -> Refuses:
    """`with refuses(*words)`: the block raises our error, and its text holds all the words: place, problem, fix."""
    return raises_error

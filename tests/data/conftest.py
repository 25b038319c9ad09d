from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import settings

from gradir.errors import GradirError

# Writing syncs files, which takes as long as the disk likes.
settings.register_profile("files", deadline=None, max_examples=60, database=None)
settings.load_profile("files")

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def refuses() -> Refuses:
    """`with refuses(*words)`: the block raises our error, and its text holds all the words: place, problem, fix."""

    @contextmanager
    def check(*words: str) -> Iterator[None]:
        with pytest.raises(GradirError) as caught:
            yield
        for word in words:
            assert word in str(caught.value)

    return check

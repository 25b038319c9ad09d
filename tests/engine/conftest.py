from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def pyserini_encoders() -> Iterator[Any]:
    """`pyserini.encode`, unmodified; importing it starts the JVM and asks for a key that it does not use."""
    from gradir import jvm

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "unused")
        jvm.ensure()
        import pyserini.encode

        yield pyserini.encode

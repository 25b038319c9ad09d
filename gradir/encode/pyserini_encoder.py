"""Pyserini's own document encoders in our loop, for the classes that our engine does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradir.encode.class_encoder import Fields
from gradir.encode.pyserini_form import Encoding
from gradir.encode.rows import Side
from gradir.errors import GradirError, MissingDependency


@dataclass(frozen=True)
class OpenPyserini:
    """Opens one of Pyserini's encoders, by Pyserini's own code; picklable, for workers.

    Attributes:
        flags: As given.
        batch_size: Documents of a batch.
    """

    flags: Encoding
    batch_size: int

    def __call__(self, device: str) -> PyseriniEncoder:
        """The encoder, open.

        Raises:
            MissingDependency: Pyserini is not installed.
            GradirError: It has no such document encoder, or could not open this one.
        """
        from gradir import jvm

        flags, wanted = self.flags, self.flags.encoder_class
        try:
            jvm.ensure()
            import pyserini.encode as theirs
            from pyserini.encode.__main__ import init_encoder
        except ImportError as error:
            purpose = f"The encoder class of {flags.encoder}"
            raise MissingDependency("Pyserini", purpose, jvm.INSTALL) from error
        if wanted is not None and theirs.document_encoder_class_map.get(wanted) is None:
            raise GradirError(f"--encoder-class {wanted}: Pyserini has no document encoder of this name here.")
        how = (flags.pooling, flags.l2_norm, flags.prefix, flags.multimodal, flags.explicit_truncate)
        try:
            opened = init_encoder(flags.encoder, wanted, device, *how)
        except (
            OSError,
            ValueError,
            RuntimeError,
            TypeError,
            KeyError,
            AttributeError,
        ) as error:  # some do not fit transformers 5
            cause = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
            raise GradirError(f"{flags.encoder}: Pyserini cannot open it ({cause}).") from error
        return PyseriniEncoder(opened, self)


class PyseriniEncoder:
    """One of Pyserini's encoders with the face of ours. Its tokens are not counted.

    Args:
        encoder: Pyserini's object.
        settings: How it was opened.
    """

    tokens = 0

    def __init__(self, encoder: Any, settings: OpenPyserini):
        self._encoder, self._settings = encoder, settings

    def description(self) -> dict[str, Any]:
        """What decides the vectors, as far as it is known."""
        names = ("pooling", "l2_norm", "max_length", "fp16", "multimodal", "explicit_truncate")
        described = {name: getattr(self._settings.flags, name) for name in names}
        described["batch_size"] = self._settings.batch_size
        return {"kind": "pyserini", "class": type(self._encoder).__name__} | described

    def vocab(self) -> list[str]:
        """None: its sparse vectors are dictionaries."""
        return []

    def encode_windows(
        self, windows: Iterable[Sequence[Fields]], side: Side, progress: Callable[[int], object] | None
    ) -> Iterator[Any]:
        """Float32 [N, D], or a dictionary for each document, of each window."""
        import torch

        for window in windows:
            found: list[Any] = []
            for start in range(0, len(window), self._settings.batch_size):
                batch = window[start : start + self._settings.batch_size]
                with torch.no_grad():
                    found += list(self._encoder.encode(**self._arguments(batch)))
                if progress:
                    progress(len(batch))
            yield found if isinstance(found[0], dict) else np.asarray(found, dtype=np.float32)

    def _arguments(self, batch: Sequence[Fields]) -> dict[str, Any]:
        flags = self._settings.flags
        arguments: dict[str, Any] = {name: getattr(flags, name) for name in ("fp16", "max_length", "add_sep")}
        names = [*([] if flags.multimodal else ["text"]), *(flags.fields or ["text"])]
        return arguments | {f"{name}s": [fields[name] for fields in batch] for name in names}

"""Query encoders by the name of a Pyserini class: on our engine where it has the class, else Pyserini's own object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradir import jvm
from gradir.data.vectors import SparseVectors, Vectors
from gradir.errors import GradirError, MissingDependency, nearest
from gradir.models.config import PYSERINI_SCALE

if TYPE_CHECKING:
    from gradir.engine.encoder import Encoder

_SPARSE = ("unicoil", "slim")  # beside splade; Pyserini has no map of these


@dataclass(frozen=True)
class EncoderClass:
    """What `--encoder-class` says of an encoder, with Pyserini's own flags.

    Attributes:
        name: `splade`, `auto`, `dpr`, …
        pooling: For `auto`.
        l2_norm: For `auto`: scale vectors to unit length.
        prefix: Put before every query, with a space between.
    """

    name: str
    pooling: str = "cls"
    l2_norm: bool = False
    prefix: str | None = None

    def open(self, encoder: str, device: str, dtype: str, max_length: int | None) -> Encoder | PyseriniQueries:
        """The encoder.

        Raises:
            GradirError: No such class, or Pyserini could not open it.
        """
        from gradir.models.pyserini_classes import CLASSES, open_as

        if self.name not in CLASSES:
            return PyseriniQueries(self, encoder, device)
        from dataclasses import replace

        from gradir.engine.encoder import Encoder

        folder = open_as(self.name, encoder, pooling=self.pooling, l2_norm=self.l2_norm, prefix=self.prefix)
        if max_length is not None:
            folder = replace(folder, config=replace(folder.config, max_query_length=max_length))
        opened = Encoder(folder, device, dtype)
        opened.empties = False  # Pyserini's classes expand the special tokens of an empty text
        return opened


class PyseriniQueries:
    """A query encoder of Pyserini, asked one query at a time.

    Args:
        wanted: Its class.
        encoder: Folder or hub name.
        device: `auto`, `cpu`, `cuda:0`, …

    Attributes:
        active_terms: Terms of the sparse vectors given so far.

    Raises:
        MissingDependency: Pyserini is not installed.
        GradirError: It has no such class, or could not open the encoder.
    """

    def __init__(self, wanted: EncoderClass, encoder: str, device: str):
        from gradir.engine.devices import choose_device

        self.kind = "splade" if wanted.name in _SPARSE else "dense"
        self._wanted, self._name, self.active_terms = wanted, encoder, 0
        try:
            self._encoder = _open(wanted, encoder, str(choose_device(device)))
        except (OSError, ValueError, RuntimeError, AttributeError, TypeError) as error:  # whatever its classes raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise GradirError(f"{encoder}: Pyserini could not open it as {wanted.name} ({reason}).") from None
        self._numbers: dict[str, int] = self._encoder.tokenizer.get_vocab() if self.kind == "splade" else {}

    def vocab(self) -> list[str]:
        """The terms of sparse vectors; position = term id."""
        from gradir.models.vocabulary import size, terms_by_id

        return terms_by_id(self._encoder.tokenizer, size(self._encoder.tokenizer))

    def description(self) -> dict[str, Any]:
        """What decides its vectors, as far as flags do."""
        known: dict[str, Any] = {"kind": self.kind, "encoder": self._name, "encoder_class": asdict(self._wanted)}
        return known | ({"impact_scale": PYSERINI_SCALE} if self.kind == "splade" else {})

    def encode(self, texts: Sequence[str], side: str = "query") -> Vectors:
        """Vectors of the queries: float32 [N, D], or N sparse vectors of impacts."""
        found = [self._encoder.encode(text) for text in texts]
        if self.kind == "dense":
            return np.array([np.ravel(vector) for vector in found], dtype=np.float32)
        rows = []
        for weights in found:
            kept = ((term, int(weight)) for term, weight in weights.items() if weight > 0)
            rows.append(sorted((self._numbers[term], weight) for term, weight in kept))
        indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        pairs = np.array([pair for row in rows for pair in row], dtype=np.int32).reshape(-1, 2)
        self.active_terms += len(pairs)
        return SparseVectors(indptr, pairs[:, 0].copy(), pairs[:, 1].copy())


def _open(wanted: EncoderClass, encoder: str, device: str) -> Any:
    try:
        jvm.ensure()
        import pyserini.encode as theirs
        from pyserini.search.faiss.__main__ import init_query_encoder
    except ImportError as error:
        raise MissingDependency("Pyserini", f"--encoder-class {wanted.name}", jvm.INSTALL) from error
    if wanted.name == "unicoil":
        return theirs.UniCoilQueryEncoder(encoder, device=device)
    if wanted.name == "slim":
        return theirs.SlimQueryEncoder(encoder, device=device)
    known = (*theirs.query_encoder_class_map, *_SPARSE, "splade")
    if theirs.query_encoder_class_map.get(wanted.name) is None:
        raise GradirError(f"--encoder-class {wanted.name}: not one of {', '.join(known)}{nearest(wanted.name, known)}.")
    how = {"pooling": wanted.pooling, "l2_norm": wanted.l2_norm, "prefix": wanted.prefix}
    return _called(init_query_encoder, encoder=encoder, encoder_class=wanted.name, device=device, **how)


def _called(function: Any, **given: Any) -> Any:
    """Call it with those arguments that it knows, and None for those it demands: they differ between versions."""
    import inspect

    parameters = inspect.signature(function).parameters
    demanded = {name: None for name, one in parameters.items() if one.default is inspect.Parameter.empty}
    return function(**demanded | {name: value for name, value in given.items() if name in parameters})

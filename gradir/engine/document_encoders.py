"""Document encoder objects that are called as Pyserini's are: `encode(texts, titles=…, max_length=…, add_sep=…)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import Vectors
from gradir.engine.encoder import Encoder
from gradir.engine.query_encoders import opened_as, to_dicts
from gradir.errors import GradirError
from gradir.models.config import Kind


class _DocumentEncoder:
    """What both kinds share: joining titles and texts, and the length of a call.

    Args:
        encoder: An encoder, or its folder or hub name.
        opening: How a folder is opened: the arguments of `Encoder.open` (`device`, `dtype`, `backend="onnx"`, …).

    Raises:
        GradirError: The encoder is of the other kind.
    """

    kind: ClassVar[Kind]
    other: ClassVar[str]

    def __init__(self, encoder: Encoder | str | Path, **opening: Any):
        self._folder = None if isinstance(encoder, Encoder) else encoder
        self._opening = opening
        self._text_prefix = ""
        self.encoder = opened_as(self.kind, encoder, f"this encoder is not {self.kind}. Use {self.other}.", opening)

    @classmethod
    def from_pyserini(
        cls,
        model_name: str | Path,
        tokenizer_name: str | None = None,
        device: str = "auto",
        prefix: str | None = None,
        pooling: str | None = None,
        l2_norm: bool | None = None,
        fp16: bool = False,
        max_length: int | None = None,
        **_: Any,
    ) -> Self:
        """An object made with the keywords of Pyserini's constructors; those not given follow the encoder's folder.

        Args:
            model_name: Encoder folder or hub name.
            tokenizer_name: The same, or None: an encoder is read with its own tokenizer.
            device: `auto`, `cpu`, `cuda:0`, …
            prefix: Put before the text (behind the title) with one space, in place of the folder's own prefix.
            pooling: How token states become one vector (dense).
            l2_norm: Scale vectors to unit length (dense).
            fp16: float16 instead of float32.
            max_length: Tokens of a document, special ones included, where a call does not say.

        Raises:
            GradirError: A tokenizer from elsewhere.
        """
        if tokenizer_name not in (None, model_name, str(model_name)):
            raise GradirError(f"tokenizer {tokenizer_name}: {model_name} is read with its own. Leave it out.")
        opening: dict[str, Any] = {"device": device, "dtype": "float16" if fp16 else "float32"}
        opening["max_passage_length"] = max_length
        if cls.kind == "dense":
            opening |= {"pooling": pooling, "normalize": l2_norm}
        if prefix is not None:
            opening["passage_prefix"] = ""
        made = cls(model_name, **opening)
        made._text_prefix = "" if prefix is None else f"{prefix} "
        return made

    def _vectors(
        self, texts: Sequence[str], titles: Sequence[str | None] | None, max_length: int | None, add_sep: bool
    ) -> Vectors:
        encoder = self._at_length(max_length)
        texts = [self._text_prefix + text for text in texts]
        if titles is not None:
            between = separator(encoder.tokenizer) if add_sep else " "
            texts = [f"{title}{between}{text}" if title else text for title, text in zip(titles, texts, strict=True)]
        return encoder.encode(texts, "passage")

    def _at_length(self, max_length: int | None) -> Encoder:
        """The encoder with this length, opened again if its own is another; it is kept for the calls to come."""
        if max_length in (None, self.encoder.config.max_passage_length):
            return self.encoder
        if self._folder is None:
            raise GradirError(f"max_length={max_length}: open the encoder with max_passage_length={max_length}.")
        self.encoder = Encoder.open(self._folder, **self._opening | {"max_passage_length": max_length})
        return self.encoder


class SparseDocumentEncoder(_DocumentEncoder):
    """In place of Pyserini's `SpladeDocumentEncoder`; see `_DocumentEncoder` for the arguments."""

    kind, other = "splade", "DenseDocumentEncoder"

    def __init__(self, encoder: Encoder | str | Path, **opening: Any):
        super().__init__(encoder, **opening)
        self._terms = np.asarray(self.encoder.vocab(), dtype=object)

    def encode(
        self,
        texts: Sequence[str],
        titles: Sequence[str | None] | None = None,
        max_length: int | None = None,
        add_sep: bool = False,
        **_: Any,
    ) -> list[dict[str, int]]:
        """`{term: impact}` of each document, impacts above 0.

        Args:
            texts: N texts.
            titles: N titles, each put before its text with a space.
            max_length: Tokens of a document, special ones included; the folder's own length if not given.
            add_sep: Join title and text by the tokenizer's separator instead.
        """
        vectors = self._vectors(texts, titles, max_length, add_sep)
        return to_dicts(vectors, self._terms)  # type: ignore[arg-type]


class DenseDocumentEncoder(_DocumentEncoder):
    """In place of Pyserini's `AutoDocumentEncoder`; see `_DocumentEncoder` for the arguments."""

    kind, other = "dense", "SparseDocumentEncoder"

    def encode(
        self,
        texts: Sequence[str],
        titles: Sequence[str | None] | None = None,
        max_length: int | None = None,
        add_sep: bool = False,
        **_: Any,
    ) -> NDArray[np.float32]:
        """Vectors, float32 [N, D]; the arguments are those of `SparseDocumentEncoder.encode`."""
        return self._vectors(texts, titles, max_length, add_sep)  # type: ignore[return-value]


def separator(tokenizer: Any) -> str:
    """What a tokenizer puts between the two texts of a pair, as text that it reads so: `[SEP]`, `</s></s>`.

    A pair too long for the model is cut at its end. (Pyserini cuts the longer of the two, which differs where a title takes
    more than half of the length.)
    """
    pair = tokenizer("a", "a")
    owners = pair.sequence_ids()
    end, start = len(owners) - 1 - owners[::-1].index(0), owners.index(1)
    return "".join(tokenizer.convert_ids_to_tokens(pair["input_ids"][end + 1 : start]))

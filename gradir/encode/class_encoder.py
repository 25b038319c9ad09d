"""Pyserini's encoder classes on our engine: fields of a document to the text that the class would have made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradir.encode.pyserini_form import Encoding
from gradir.encode.rows import Side

Fields = dict[str, str | None]
# Impacts come so many times as large from the engine. Divided again they are the same, and the terms whose impact rounds to 0,
# which Pyserini's SPLADE encoder keeps, are not lost. A power of two, so that no digit changes.
FINER = 1 << 16


@dataclass(frozen=True)
class OpenClass:
    """Opens a folder as one of Pyserini's classes; picklable, for workers.

    Attributes:
        encoder_class: One of `gradir.models.pyserini_classes.CLASSES`.
        flags: As given; of these three, what the class makes of them counts.
        pooling: For the class auto.
        l2_norm: Scale vectors to unit length.
        prefix: Put before the text, with a space between.
    """

    encoder_class: str
    flags: Encoding
    pooling: str
    l2_norm: bool
    prefix: str | None

    def __call__(self, device: str) -> ClassEncoder:
        """The encoder, open."""
        from gradir.engine.devices import choose_device
        from gradir.engine.encoder import Encoder
        from gradir.models.config import position_limit, read_model_settings
        from gradir.models.loading import locate
        from gradir.models.pyserini_classes import open_as

        chosen = choose_device(device)
        path = locate(self.flags.encoder)
        length = min(self.flags.max_length, position_limit(read_model_settings(path)) or self.flags.max_length)
        folder = open_as(self.encoder_class, path, pooling=self.pooling, l2_norm=self.l2_norm, max_length=length)
        if folder.config.kind == "splade":
            folder = replace(folder, config=replace(folder.config, impact_scale=folder.config.impact_scale * FINER))
        dtype = "float32" if not self.flags.fp16 else "bfloat16" if chosen.type == "cpu" else "float16"
        tokens = self.flags.batch_size and self.flags.batch_size * length
        encoder = Encoder(folder, device, dtype, tokens)
        encoder.empties = False
        return ClassEncoder(encoder, self)


class ClassEncoder:
    """An engine whose texts are `{field: value}`.

    Args:
        encoder: The engine.
        settings: How it was opened.
    """

    def __init__(self, encoder: Any, settings: OpenClass):
        self._encoder = encoder
        self._compose = composer(settings, encoder.tokenizer)

    @property
    def tokens(self) -> int:
        """Tokens encoded so far."""
        return int(self._encoder.tokens)

    def description(self) -> dict[str, Any]:
        """The engine's, with the scale that the written impacts have."""
        described: dict[str, Any] = self._encoder.description()
        if described["kind"] == "splade":
            described["impact_scale"] /= FINER
        return described

    def vocab(self) -> list[str]:
        """The terms of sparse vectors."""
        vocab: list[str] = self._encoder.vocab()
        return vocab

    def encode_windows(
        self, windows: Iterable[Sequence[Fields]], side: Side, progress: Callable[[int], object] | None
    ) -> Iterator[Any]:
        """Vectors of each window."""
        composed = ([self._compose(fields) for fields in window] for window in windows)
        yield from self._encoder.encode_windows(composed, side, progress)


def composer(settings: OpenClass, tokenizer: Any) -> Callable[[Fields], str]:
    """How a class makes one text of the fields it is given.

    A title that is empty or missing is the word None, as in Pyserini, where the class joins it to the text; in a pair, where
    Pyserini fails, it is empty, and so is a text that is missing.
    """
    prefix = "" if settings.prefix is None else f"{settings.prefix} "
    titled = (
        "title" in (settings.flags.fields or ()) and settings.encoder_class != "arctic"
    )  # which looks at the text alone
    paired = settings.encoder_class == "dpr" or (
        settings.flags.add_sep and settings.encoder_class not in ("ance", "tct_colbert")
    )
    if titled and paired:
        from gradir.engine.document_encoders import separator

        between = separator(tokenizer)
        return lambda fields: f"{fields['title'] or ''}{between}{prefix}{fields['text'] or ''}"
    if titled:
        return lambda fields: f"{fields['title']} {prefix}{fields['text']}"
    if prefix:
        return lambda fields: f"{prefix}{fields['text']}"
    return lambda fields: fields["text"] or ""

"""One run in the form of `pyserini.encode`: which class encodes, with which settings, and the run itself."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from gradir.command import Outcome
from gradir.data.manifest import fingerprint
from gradir.encode.class_encoder import FINER, OpenClass
from gradir.encode.formats import Format, next_command
from gradir.encode.perform import Plan, perform
from gradir.encode.pyserini_corpus import PyseriniCorpus
from gradir.encode.pyserini_encoder import OpenPyserini
from gradir.encode.pyserini_form import Encoding, Input, Output
from gradir.encode.rows import taken
from gradir.encode.stage import devices_of
from gradir.errors import GradirError

# What Pyserini looks for in the encoder's path, in its order.
KEYWORDS = (
    "dpr", "tct_colbert", "aggretriever", "ance", "sentence-transformers", "unicoil", "openai-api", "cosdpr", "auto", "clip",
    "contriever", "arctic", "uniir", "splade", "qwen3", "dse", "mmeb",
)  # fmt: skip
OURS = ("auto", "splade", "sentence-transformers", "contriever", "arctic", "dpr", "ance", "tct_colbert")
PART_SIZE = 4096


def run(read: Input, write: Output, encoding: Encoding) -> Outcome:
    """Encode as `pyserini.encode` would: the same ids, order, texts and, within rounding, numbers.

    Raises:
        GradirError: Fields that do not fit, and whatever goes wrong in reading, encoding and writing.
    """
    fields = tuple(read.fields or ["text"])
    found = class_of(encoding.encoder, encoding.encoder_class)
    _check_fields(fields, tuple(encoding.fields or ["text"]), encoding.multimodal and found not in OURS)
    delimiter = read.delimiter.replace("\\n", "\n")
    corpus = PyseriniCorpus(read.corpus, fields, read.docid_field, delimiter)
    source = taken(corpus, None, read.shard_id, read.shard_num)
    if next(source.rows(), None) is None:
        raise GradirError(f"{read.corpus}: holds no documents. Is it the right file?")
    opener = opener_of(encoding, found)
    devices = _devices(encoding.device)
    opened = opener(devices[0])
    described = opened.description()
    _check_vectors(opened, write.to_faiss, encoding.dimension, next(source.rows()).text)
    config: dict[str, Any] = {"input": {**vars(read), "corpus": None, "fields": fields}, "add_sep": encoding.add_sep}
    config |= {
        "fields": encoding.fields or ["text"],
        "encoder_class": encoding.encoder_class,
        "prefix": encoding.prefix,
    }
    config |= {"format": "faiss" if write.to_faiss else "pyserini", **described}
    inputs = source.files()
    if described["kind"] == "pyserini":
        local = Path(encoding.encoder)
        config["encoder"] = fingerprint(local)["sha256"] if local.exists() else encoding.encoder
    format: Format = "faiss" if write.to_faiss else "pyserini"
    finer = FINER if isinstance(opener, OpenClass) else 1
    part_size = PART_SIZE if isinstance(opener, OpenClass) else whole_batches(opener.batch_size)
    plan = Plan(source, opener, devices, format, write.embeddings, part_size, finer=finer)
    then = next_command(format, write.embeddings, "passage", "TOPICS", encoding.encoder, described["kind"])
    return perform(plan, opened, "gradir encode input output encoder", config, inputs, write.overwrite, then)


def whole_batches(batch_size: int) -> int:
    """Documents of a part of Pyserini's own encoders: batches as Pyserini has them, which can decide the numbers."""
    return max(1, PART_SIZE // batch_size) * batch_size


def _check_fields(known: tuple[str, ...], given: tuple[str, ...], multimodal: bool) -> None:
    wanted = given if multimodal else ("text", *given)
    lacking = sorted(set(wanted) - set(known))
    if lacking:
        raise GradirError(
            f"the encoder takes the fields {', '.join(dict.fromkeys(wanted))}, and input --fields names {', '.join(known)}. "
            f"Add {', '.join(lacking)} there."
        )


def _devices(device: str) -> tuple[str, ...]:
    """The devices; the CPU in place of GPUs where there is none, said on stderr."""
    import torch

    if torch.cuda.is_available() or "cuda" not in device:
        return devices_of(device)
    _warn(f"--device {device}: there is no GPU here, encoding on the CPU")
    return ("cpu",)


def _warn(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


def _check_vectors(opened: Any, to_faiss: bool, dimension: int | None, text: Any) -> None:
    """Refuse what could only fail when all documents are encoded: one is encoded to see."""
    if not to_faiss and dimension is None:
        return
    (vectors,) = opened.encode_windows([[text]], "passage", None)
    found = getattr(vectors, "shape", None)
    if to_faiss and found is None:
        raise GradirError("--to-faiss holds dense vectors, these are sparse. Leave it out.")
    if found is not None and dimension not in (None, found[1]):
        raise GradirError(f"--dimension {dimension}: the vectors have {found[1]} numbers. Leave it out.")


# They pass trust_remote_code=True.
_RUN_CODE = ("qwen3", "dse")


def opener_of(encoding: Encoding, found: str) -> OpenClass | OpenPyserini:
    """What opens the encoder: our engine, or Pyserini's class.

    Args:
        encoding: As given.
        found: The class.

    Raises:
        GradirError: A class without a document encoder, or a number that is not above 0.
    """
    for flag, number in (("--batch-size", encoding.batch_size), ("--max-length", encoding.max_length)):
        if number is not None and number < 1:
            raise GradirError(f"{flag} {number}: give a number above 0.")
    if found == "bpr":
        raise GradirError("--encoder-class bpr: Pyserini has no document encoder of it. Try dpr.")
    if found not in OURS:
        _check_code(encoding, found)
        return OpenPyserini(encoding, _batch_size(encoding))
    # Pyserini has one class for the three
    fixed = "auto" if found in ("sentence-transformers", "contriever") else found
    return OpenClass(fixed, encoding, *_settings(encoding))


def _check_code(encoding: Encoding, found: str) -> None:
    """Pyserini runs a model's own code unasked in some classes; here it has to be asked for, unless the folder names none.

    Raises:
        GradirError: It is not.
    """
    config = Path(encoding.encoder) / "config.json"
    plain = config.is_file() and "auto_map" not in config.read_text(encoding="utf-8")
    if found in _RUN_CODE and not plain and not encoding.trust_remote_code:
        raise GradirError(
            f"--encoder-class {found}: Pyserini runs the model's own code, if {encoding.encoder} has any. "
            "If you trust it, give --trust-remote-code."
        )


def _batch_size(encoding: Encoding) -> int:
    """Documents of a batch of Pyserini's own encoders."""
    if encoding.use_openai:
        from pyserini.encode import OPENAI_API_RETRY_DELAY

        return int(encoding.rate_limit / (60 / OPENAI_API_RETRY_DELAY))
    return encoding.batch_size or 64


def class_of(encoder: str, given: str | None) -> str:
    """The class that Pyserini takes: as given, or the first keyword anywhere in the path, or auto."""
    if given is not None:
        return given
    path = encoder.lower()
    found = next((keyword for keyword in KEYWORDS if keyword in path), "auto")
    if found in path and not re.search(rf"(?<![a-z0-9]){re.escape(found)}(?![a-z0-9])", path):
        _warn(
            f"{encoder} is taken for class {found}, whose name stands inside a word of the path; give --encoder-class"
        )
    return found


def _settings(encoding: Encoding) -> tuple[str, bool, str | None]:
    """(pooling, L2, prefix) as Pyserini passes them on: the flags count for the class auto alone.

    Where `auto` was guessed from the path and not given, they do not count even then.
    """
    path, given = encoding.encoder, encoding.encoder_class
    pooling, l2_norm, prefix = "cls", False, None
    if given == "sentence-transformers" or "sentence-transformers" in path:
        pooling, l2_norm = "mean", True
    if given == "contriever" or "contriever" in path:
        pooling, l2_norm = "mean", False
    if given == "auto" or (given is None and not any(keyword in path.lower() for keyword in KEYWORDS)):
        return encoding.pooling, encoding.l2_norm, encoding.prefix
    unused = [flag for flag, value in _AUTO_FLAGS.items() if getattr(encoding, flag) != value]
    if unused:
        flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in unused)
        _warn(
            f"{flags} {'counts' if len(unused) == 1 else 'count'} for --encoder-class auto alone, in Pyserini and here"
        )
    return pooling, l2_norm, prefix


_AUTO_FLAGS: dict[str, Any] = {"pooling": "cls", "l2_norm": False, "prefix": None}

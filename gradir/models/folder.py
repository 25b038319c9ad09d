"""Encoder folders: opening them, and writing them so that Hugging Face, sentence-transformers and Pyserini open them too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from gradir.data.atomic import new_text
from gradir.data.vectors import write_vocab
from gradir.errors import GradirError, InputError
from gradir.models.config import (
    EncoderConfig,
    Kind,
    check_config,
    override,
    position_limit,
    read_config,
    read_model_settings,
    write_config,
)
from gradir.models.vocabulary import ids_without_token, size, special_ids, terms_by_id

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spm.model")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class EncoderFolder:
    """An encoder folder, read.

    Attributes:
        path: The folder (for a hub name, its local copy).
        config: What `gradir.json` says, with both hashes filled in.
        model: A `DenseEncoder` or `SpladeEncoder` in eval mode, float32, on the CPU.
        tokenizer: The Hugging Face tokenizer.
    """

    path: Path
    config: EncoderConfig
    model: nn.Module
    tokenizer: Any


def locate(encoder: str | Path, trust_remote_code: bool = False) -> Path:
    """The local folder of an encoder; a hub name is downloaded (or found in the cache).

    Args:
        encoder: A folder or hub name.
        trust_remote_code: Fetch the model's own Python code as well.

    Raises:
        GradirError: Neither a folder nor a hub name that can be fetched.
    """
    path = Path(encoder)
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(path, "is a file", "Name the model folder that it lies in")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", *(["*.py"] if trust_remote_code else [])]
    try:
        return Path(snapshot_download(str(encoder), allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise GradirError(
            f"{encoder} is no folder here, and the hub did not give it ({_cause(error)}). Check the path or the name."
        ) from None


def open_folder(
    encoder: str | Path, kind: Kind | None = None, trust_remote_code: bool = False, **changes: Any
) -> EncoderFolder:
    """Read an encoder folder or hub name.

    Args:
        encoder: A folder written by gradir, sentence-transformers or Hugging Face, or a hub name.
        kind: Overrides what the folder seems to be; pooling follows it unless given too.
        trust_remote_code: Allow the model's own Python code to run.
        changes: Overrides of the fields of `EncoderConfig`; None leaves a field as it is.

    Raises:
        GradirError: No such encoder, no tokenizer, a vocabulary that does not fit the model, weights that are missing,
            texts longer than the model takes.
    """
    path = locate(encoder, trust_remote_code)
    config = read_config(path)
    if kind and kind != config.kind:
        config = replace(config, kind=kind, pooling="max" if kind == "splade" else "mean", normalize=kind == "dense")
    config = override(config, **changes)
    check_config(config, position_limit(read_model_settings(path)))
    tokenizer = open_tokenizer(path, trust_remote_code)
    open_model = _open_dense if config.kind == "dense" else _open_splade
    model = open_model(path, config, tokenizer, trust_remote_code)
    return EncoderFolder(path, replace(config, **_hashes(path)), model.eval(), tokenizer)


def open_tokenizer(path: Path, trust_remote_code: bool = False) -> Any:
    """The Hugging Face tokenizer of a folder.

    Raises:
        InputError: The folder holds none, or a damaged one.
    """
    from transformers import AutoTokenizer

    if not any((path / name).exists() for name in (*_TOKENIZER_FILES, "tokenizer_config.json")):
        raise InputError(path, "holds no tokenizer", "Copy the tokenizer's files beside the weights")
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"its tokenizer cannot be loaded ({_cause(error)})", _fix(error)) from None


def _open_dense(path: Path, config: EncoderConfig, tokenizer: Any, trust_remote_code: bool) -> nn.Module:
    from gradir.models.encoders import DenseEncoder

    backbone, missing = load_pretrained("AutoModel", path, trust_remote_code)
    if backbone.config.is_encoder_decoder:
        raise InputError(path, "is an encoder-decoder model", "Only encoders are known")
    lacking = [name for name in missing if "pooler" not in name]  # BERT's pooler is not used
    if lacking:
        raise InputError(path, f"has no weights for {_some(lacking)}", "Copy it again")
    _check_vocabulary(path, tokenizer, backbone.get_input_embeddings().num_embeddings)
    return DenseEncoder(backbone, config.pooling, config.normalize)  # type: ignore[arg-type]


def _open_splade(path: Path, config: EncoderConfig, tokenizer: Any, trust_remote_code: bool) -> nn.Module:
    from gradir.models.encoders import SpladeEncoder

    mlm, lacking = load_pretrained("AutoModelForMaskedLM", path, trust_remote_code)
    if lacking:
        fix = "Make a SPLADE encoder of it first: gradir train init-splade"
        raise InputError(path, f"has no weights for {_some(lacking)}", fix)
    decoder = mlm.get_output_embeddings()
    if not isinstance(decoder, nn.Linear):
        raise InputError(path, f"{type(mlm).__name__} has no linear output layer", "It cannot be a SPLADE encoder")
    rows = min(decoder.out_features, mlm.get_input_embeddings().num_embeddings)
    _check_vocabulary(path, tokenizer, rows)
    dropped = ids_without_token(tokenizer, decoder.out_features)
    if config.special_tokens == "drop":
        dropped += special_ids(tokenizer)
    return SpladeEncoder(mlm, dropped)


def _check_vocabulary(path: Path, tokenizer: Any, rows: int) -> None:
    if size(tokenizer) > rows:
        raise InputError(
            path, f"the tokenizer has {size(tokenizer)} tokens, the model {rows}", "They do not belong together"
        )


def load_pretrained(auto_class: str, path: Path, trust_remote_code: bool = False) -> tuple[Any, list[str]]:
    """(model in float32, names of weights that the folder lacks), from safetensors only.

    Raises:
        InputError: The folder cannot be loaded, or holds pickles only.
    """
    import transformers
    from safetensors import SafetensorError

    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if pickles and not any(path.glob("*.safetensors")):
        raise InputError(
            path,
            f"has its weights in {pickles[0]} only, and a pickle can run any code",
            "Save the model again where you trust it, with save_pretrained: that writes model.safetensors",
        )
    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # what is missing is reported by us, with the fix
    try:
        model, info = getattr(transformers, auto_class).from_pretrained(
            path, dtype="float32", trust_remote_code=trust_remote_code, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(path, f"cannot be loaded ({_cause(error)})", _fix(error)) from None
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    return model, sorted(info["missing_keys"])


def _cause(error: Exception) -> str:
    """The first line of what a library says."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _fix(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "If you trust its code, give --trust-remote-code"
    return "Is it a whole model folder?"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def write_splade_folder(folder: Path, mlm: Any, tokenizer: Any, config: EncoderConfig) -> None:
    """Write a SPLADE encoder folder that gradir, Pyserini (`AutoModelForMaskedLM`) and `SparseEncoder` open.

    Args:
        folder: An empty folder.
        mlm: The masked-language model, whole.
        tokenizer: Its tokenizer; `model_max_length` is set to the passage length, which is what truncates elsewhere.
        config: `gradir.json`; the hashes are filled in.
    """
    tokenizer.model_max_length = max(config.max_query_length, config.max_passage_length)
    # Every call sets both; in the file they would be those of the last call, and bind those who use the file as it is.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    mlm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = mlm.get_output_embeddings().out_features
    write_vocab(folder, terms_by_id(tokenizer, rows))
    package = "sentence_transformers.sparse_encoder.models"
    _write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{package}.MLMTransformer"},
            {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": f"{package}.SpladePooling"},
        ],
    )
    (folder / "1_SpladePooling").mkdir()
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": rows}
    _write_json(folder / "1_SpladePooling" / "config.json", pooling)
    _write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": config.max_passage_length, "do_lower_case": False}
    )
    prompts = {"query": config.query_prefix, "document": config.passage_prefix}
    settings = {"model_type": "SparseEncoder", "prompts": prompts, "similarity_fn_name": "dot"}
    _write_json(folder / "config_sentence_transformers.json", settings)
    write_config(folder, replace(config, **_hashes(folder)))


def _hashes(path: Path) -> dict[str, Any]:
    return {"tokenizer_sha256": _hash(path, _TOKENIZER_FILES), "weights_sha256": weights_hash(path)}


def weights_hash(path: Path) -> str:
    """SHA-256 over the safetensors files of a folder, in name order; empty if there are none."""
    return _hash(path, sorted(file.name for file in path.glob("*.safetensors")))


def _hash(path: Path, names: Iterable[str]) -> str:
    files = [path / name for name in names if (path / name).exists()]
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest() if files else ""


def _write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    with new_text(path) as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")

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
from gradir.errors import GradirError, InputError
from gradir.models.config import EncoderConfig, Kind, check_pooling, override, read_config, write_config

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spm.model")


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


def locate(encoder: str | Path) -> Path:
    """The local folder of an encoder; a hub name is downloaded (or found in the cache).

    Raises:
        GradirError: Neither a folder nor a hub name that can be fetched.
    """
    path = Path(encoder)
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "*/config.json"]
    try:
        return Path(snapshot_download(str(encoder), allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        cause = str(error).splitlines()[0]
        raise GradirError(
            f"{encoder} is no folder here, and the hub did not give it ({cause}). Check the path or the name."
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
        GradirError: No such encoder, no tokenizer, a vocabulary that does not fit the model, weights that are missing.
    """
    path = locate(encoder)
    config = read_config(path)
    if kind and kind != config.kind:
        config = replace(config, kind=kind, pooling="max" if kind == "splade" else "mean", normalize=kind == "dense")
    config = override(config, **changes)
    check_pooling(config)
    tokenizer = open_tokenizer(path, trust_remote_code)
    model = _open_model(path, config, tokenizer, trust_remote_code)
    hashes: dict[str, Any] = {"tokenizer_sha256": _hash(path, _TOKENIZER_FILES), "weights_sha256": weights_hash(path)}
    return EncoderFolder(path, replace(config, **hashes), model.eval(), tokenizer)


def open_tokenizer(path: Path, trust_remote_code: bool = False) -> Any:
    """The Hugging Face tokenizer of a folder.

    Raises:
        InputError: The folder holds none.
    """
    from transformers import AutoTokenizer

    if not any((path / name).exists() for name in (*_TOKENIZER_FILES, "tokenizer_config.json")):
        raise InputError(path, "holds no tokenizer", "Copy the tokenizer's files beside the weights")
    return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)


def _open_model(path: Path, config: EncoderConfig, tokenizer: Any, trust_remote_code: bool) -> nn.Module:
    from gradir.models.encoders import DenseEncoder, SpladeEncoder

    if config.kind == "dense":
        backbone, missing = load_pretrained("AutoModel", path, trust_remote_code)
        lacking = [name for name in missing if "pooler" not in name]  # BERT's pooler is not used
        model: nn.Module = DenseEncoder(backbone, config.pooling, config.normalize)  # type: ignore[arg-type]
    else:
        backbone, lacking = load_pretrained("AutoModelForMaskedLM", path, trust_remote_code)
        dropped = sorted(set(tokenizer.all_special_ids)) if config.special_tokens == "drop" else []
        size = backbone.get_input_embeddings().num_embeddings
        model = SpladeEncoder(backbone, [i for i in dropped if i < size])
    if lacking:
        raise InputError(
            path,
            f"has no weights for {', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''}",
            "Make a SPLADE encoder of it first: gradir train init-splade"
            if config.kind == "splade"
            else "Copy it again",
        )
    rows = backbone.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(
            path, f"the tokenizer has {len(tokenizer)} tokens, the model {rows}", "They do not belong together"
        )
    return model


def load_pretrained(auto_class: str, path: Path, trust_remote_code: bool = False) -> tuple[Any, list[str]]:
    """(model in float32, names of weights that the folder lacks), from safetensors only."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # what is missing is reported by us, with the fix
    try:
        model, info = getattr(transformers, auto_class).from_pretrained(
            path, dtype="float32", trust_remote_code=trust_remote_code, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise InputError(
            path, f"cannot be loaded ({str(error).splitlines()[0]})", "Is it a whole model folder?"
        ) from None
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    return model, sorted(info["missing_keys"])


def write_splade_folder(folder: Path, mlm: Any, tokenizer: Any, config: EncoderConfig) -> None:
    """Write a SPLADE encoder folder that gradir, Pyserini (`AutoModelForMaskedLM`) and `SparseEncoder` open.

    Args:
        folder: An empty folder.
        mlm: The masked-language model, whole.
        tokenizer: Its tokenizer; `model_max_length` is set to the passage length, which is what truncates elsewhere.
        config: `gradir.json`; the hashes are filled in.
    """
    tokenizer.model_max_length = max(config.max_query_length, config.max_passage_length)
    mlm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    with new_text(folder / "vocab.txt") as stream:
        stream.writelines(f"{token}\n" for token, _ in vocab)
    package = "sentence_transformers.sparse_encoder.models"
    _write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{package}.MLMTransformer"},
            {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": f"{package}.SpladePooling"},
        ],
    )
    (folder / "1_SpladePooling").mkdir()
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": len(vocab)}
    _write_json(folder / "1_SpladePooling" / "config.json", pooling)
    _write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": config.max_passage_length, "do_lower_case": False}
    )
    prompts = {"query": config.query_prefix, "document": config.passage_prefix}
    settings = {"model_type": "SparseEncoder", "prompts": prompts, "similarity_fn_name": "dot"}
    _write_json(folder / "config_sentence_transformers.json", settings)
    hashes: dict[str, Any] = {
        "tokenizer_sha256": _hash(folder, _TOKENIZER_FILES),
        "weights_sha256": weights_hash(folder),
    }
    write_config(folder, replace(config, **hashes))


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

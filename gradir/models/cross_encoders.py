"""Cross-encoders as Hugging Face has them: opening a folder to be trained further, their logits, and writing a folder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gradir.data.atomic import new_text
from gradir.data.jsonl import FORMAT, check_format
from gradir.errors import GradirError, InputError
from gradir.models.hugging_face import read_model_settings, read_object
from gradir.models.loading import cause, load_pretrained, refuse_pickles
from gradir.models.weights import check_memory

Mono = Literal["mono-bert", "mono-t5"]

RECORD = "reranker.json"  # how the model is asked, beside its weights
_IDENTITY = "torch.nn.modules.linear.Identity"


def load_cross_encoder(
    path: Path, method: str = "auto", trust_remote_code: bool = False
) -> tuple[Any, Mono, list[str]]:
    """(model in float32, what it is, names of weights that are newly initialised).

    A sequence classifier and an encoder-decoder are taken as they are. Any other encoder gets a new head of one logit.

    Args:
        path: Its folder.
        method: `mono-bert`, `mono-t5`, or `auto`: the latter for an encoder-decoder, the former for all else.
        trust_remote_code: Allow the model's own Python code to run.

    Raises:
        InputError: The folder cannot be loaded, lacks weights, is not what `method` says, or gives more than two scores.
    """
    architecture = str((read_model_settings(path).get("architectures") or [""])[0])
    found: Mono = "mono-t5" if architecture.endswith("ForConditionalGeneration") else "mono-bert"
    if method not in ("auto", found):
        raise InputError(path, f"is {architecture}, which is not for method {method}", f"Give {found}")
    whole = found == "mono-t5" or architecture.endswith("ForSequenceClassification")
    if whole:
        loader = "AutoModelForSeq2SeqLM" if found == "mono-t5" else "AutoModelForSequenceClassification"
        model, missing = load_pretrained(loader, path, trust_remote_code)
        if missing:
            raise InputError(path, f"has no weights for {missing[0]}", "Is it a whole model folder?")
    else:
        model, missing = _with_new_head(path, trust_remote_code)
    if found == "mono-bert" and model.config.num_labels not in (1, 2):
        problem = f"gives {model.config.num_labels} scores for a pair"
        raise InputError(path, problem, "Only rerankers with 1 or 2 are known; start from the encoder it was made from")
    return model, found, missing


def _with_new_head(path: Path, trust_remote_code: bool) -> tuple[Any, list[str]]:
    """An encoder as a sequence classifier of one logit; and the names of what the folder has no weights for."""
    import transformers
    from safetensors import SafetensorError

    refuse_pickles(path)
    check_memory(path)
    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            path,
            num_labels=1,
            dtype="float32",
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        fix = "Start from an encoder such as BERT, or from an encoder-decoder such as T5"
        raise InputError(path, f"cannot be loaded as a sequence classifier ({cause(error)})", fix) from None
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    return model, sorted(info["missing_keys"])


def class_logits(model: Any, tokenizer: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`logits(ids, mask, types)` of a sequence classifier, int64 [B, S] each to [B, 1 or 2]."""
    typed = "token_type_ids" in tokenizer.model_input_names
    typed = typed and "token_type_ids" in inspect.signature(model.forward).parameters

    def logits(ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        further = {"token_type_ids": types} if typed else {}
        found: Tensor = model(input_ids=ids, attention_mask=mask, **further).logits
        return found

    return logits


def first_token_logits(model: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`logits(ids, mask, types)` of an encoder-decoder's first token, int64 [B, S] each to [B, V]."""

    def logits(ids: Tensor, mask: Tensor, _: Tensor) -> Tensor:
        start = torch.full((len(ids), 1), model.config.decoder_start_token_id, device=ids.device)
        found: Tensor = model(input_ids=ids, attention_mask=mask, decoder_input_ids=start, use_cache=False).logits
        return found[:, 0]

    return logits


def label_tokens(
    tokenizer: Any, labels: Sequence[str], path: Path, fix: str = "Choose two words that are one token each."
) -> tuple[int, int]:
    """The tokens of (relevant, not relevant).

    Args:
        tokenizer: The model's.
        labels: The two words.
        path: The model's folder, for the error, and
        fix: what it shall tell to do.

    Raises:
        GradirError: There are not two labels, one is several tokens, or both are the same.
    """
    if len(labels) != 2:
        raise GradirError(f"labels are two words, for relevant and for not relevant, not {list(labels)}.")
    found = []
    for word in labels:
        ids: list[int] = tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = tokenizer.convert_ids_to_tokens(ids)
            raise GradirError(f"{path}: the label {word!r} is not one token but {pieces}. {fix}")
        found.append(ids[0])
    if found[0] == found[1]:
        raise GradirError(f"{path}: the labels {' and '.join(map(repr, labels))} are the same token. Choose others.")
    return found[0], found[1]


def read_record(folder: Path) -> dict[str, Any]:
    """What `write_cross_encoder` wrote of how the model is asked; empty where there is nothing.

    Raises:
        InputError: It is malformed, or of a newer format.
    """
    if not (folder / RECORD).exists():
        return {}
    record = read_object(folder / RECORD)
    check_format(folder / RECORD, record)
    return record


def write_cross_encoder(folder: Path, model: Any, tokenizer: Any, record: Mapping[str, Any]) -> None:
    """Write a folder that gradir, Hugging Face and sentence-transformers' `CrossEncoder` open; the latter for classifiers only.

    Args:
        folder: An empty folder.
        model: The model.
        tokenizer: Its tokenizer; `model_max_length` is set to the record's `max_length`, which is what truncates elsewhere.
        record: `method`, `max_length`, and of T5 models `prompt` and `labels`; kept as `reranker.json`.
    """
    if record["method"] == "mono-bert":
        # without it `CrossEncoder` puts a sigmoid over a single logit
        model.config.sentence_transformers = {"activation_fn": _IDENTITY}
    tokenizer.model_max_length = record["max_length"]
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with new_text(folder / RECORD) as stream:
        json.dump({"format": FORMAT, **record}, stream, indent=1, ensure_ascii=False)
        stream.write("\n")

"""Finding an encoder's folder, and loading its tokenizer and weights: no pickle, no code that was not asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradir.errors import GradirError, InputError
from gradir.models.weights import check_memory

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spm.model")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


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
            f"{encoder} is no folder here, and the hub did not give it ({cause(error)}). Check the path or the name."
        ) from None


def open_tokenizer(path: Path, trust_remote_code: bool = False) -> Any:
    """The Hugging Face tokenizer of a folder.

    Raises:
        InputError: The folder holds none, or a damaged one.
    """
    from transformers import AutoTokenizer

    if not any((path / name).exists() for name in (*TOKENIZER_FILES, "tokenizer_config.json")):
        raise InputError(path, "holds no tokenizer", "Copy the tokenizer's files beside the weights")
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"its tokenizer cannot be loaded ({cause(error)})", _fix(error)) from None


def load_pretrained(auto_class: str, path: Path, trust_remote_code: bool = False) -> tuple[Any, list[str]]:
    """(model in float32, names of weights that the folder lacks), from safetensors only.

    Raises:
        InputError: The folder cannot be loaded, holds pickles only, or is larger than the free memory.
    """
    import transformers
    from safetensors import SafetensorError

    refuse_pickles(path)
    check_memory(path)
    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # what is missing is reported by us, with the fix
    try:
        model, info = getattr(transformers, auto_class).from_pretrained(
            path, dtype="float32", trust_remote_code=trust_remote_code, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(path, f"cannot be loaded ({cause(error)})", _fix(error)) from None
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    return model, sorted(info["missing_keys"])


def refuse_pickles(path: Path) -> None:
    """Say so where a folder holds its weights as pickles only.

    Raises:
        InputError: It does.
    """
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if pickles and not any(path.glob("*.safetensors")):
        raise InputError(
            path,
            f"has its weights in {pickles[0]} only, and a pickle can run any code",
            "Save the model again where you trust it, with save_pretrained: that writes model.safetensors",
        )


def cause(error: Exception) -> str:
    """The first line of what a library says."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _fix(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "If you trust its code, give --trust-remote-code"
    return "Is it a whole model folder?"

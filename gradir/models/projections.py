"""Layers after the pooling of a dense encoder, in sentence-transformers' folders `2_Dense`, `3_LayerNorm`, …"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gradir.errors import InputError
from gradir.models.hugging_face import WHOLE, is_count, read_object
from gradir.models.loading import refuse_pickles
from gradir.models.weights import read_tensors

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    one.__name__: one for one in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.ELU)
}


def read_projection(folder: Path) -> list[nn.Module]:
    """The layers of one folder: a linear layer and its activation, or a layer norm.

    Raises:
        InputError: It is damaged, or holds something that is not known here.
    """
    settings = read_object(folder / "config.json")
    refuse_pickles(folder)
    if "dimension" in settings:
        return [_filled(folder, nn.LayerNorm(settings["dimension"]), "norm")]
    if settings.get("use_residual") or settings.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise InputError(
            folder, "has a residual, or a layer over tokens", "Only layers over the pooled vector are known"
        )
    name = str(settings.get("activation_function") or "torch.nn.modules.activation.Tanh")
    short = name.rsplit(".", 1)[-1]
    if not name.startswith("torch.nn.") or short not in _ACTIVATIONS:
        raise InputError(folder, f"has the activation {name}", f"Only {', '.join(_ACTIVATIONS)} are known")
    if not (is_count(settings.get("in_features")) and is_count(settings.get("out_features"))):
        raise InputError(folder / "config.json", "has no whole numbers `in_features` and `out_features`", WHOLE)
    linear = _filled(
        folder, nn.Linear(settings["in_features"], settings["out_features"], bias=settings.get("bias", True)), "linear"
    )
    return [linear, _ACTIVATIONS[short]()]


def _filled(folder: Path, layer: nn.Module, name: str) -> nn.Module:
    """The layer with the weights of the folder."""
    weights = read_tensors(folder, [f"{name}.{key}" for key in layer.state_dict()])
    return fill(layer, {key.removeprefix(f"{name}."): value for key, value in weights.items()}, folder)


def fill(layer: nn.Module, weights: dict[str, Tensor], folder: Path) -> nn.Module:
    """The layer with these weights.

    Raises:
        InputError: One lacks, or has another shape.
    """
    try:
        layer.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(folder, f"its weights do not fit ({' '.join(str(error).split())})", "Copy it again") from None
    return layer


def projection_files(layers: Iterable[nn.Module]) -> list[tuple[str, dict[str, Any], dict[str, Tensor]]]:
    """(class, settings, weights) of each folder that sentence-transformers reads a row of layers from.

    Raises:
        TypeError: A layer that it does not know.
    """
    files: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = []
    for layer in layers:
        name = type(layer).__name__
        if isinstance(layer, nn.Linear):
            size = {"in_features": layer.in_features, "out_features": layer.out_features}
            settings = {**size, "bias": layer.bias is not None, "activation_function": _full_name(nn.Identity)}
            files.append(("Dense", settings, _named(layer, "linear")))
        elif isinstance(layer, nn.LayerNorm):
            files.append(("LayerNorm", {"dimension": layer.normalized_shape[0]}, _named(layer, "norm")))
        elif name in _ACTIVATIONS and files and files[-1][0] == "Dense":
            files[-1][1]["activation_function"] = _full_name(_ACTIVATIONS[name])
        else:
            raise TypeError(f"{name} stands behind no linear layer, or is none of {', '.join(_ACTIVATIONS)}")
    return files


def _full_name(activation: type[nn.Module]) -> str:
    return f"{activation.__module__}.{activation.__name__}"


def _named(layer: nn.Module, name: str) -> dict[str, Tensor]:
    return {f"{name}.{key}": value.contiguous() for key, value in layer.state_dict().items()}

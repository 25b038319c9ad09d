"""Encoders that run in ONNX Runtime: `model.onnx` and `model_int8.onnx`, as `gradir export` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradir.errors import GradirError, InputError, MissingDependency
from gradir.models.config import EncoderConfig, Side

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradir.models.folder import EncoderFolder

NOTE = "gradir"  # the key of our own note among an ONNX file's metadata
# What is fixed in a graph: a folder opened with other values is another encoder.
_IN_GRAPH = ("kind", "pooling", "normalize", "dimensions", "pool_prefix", "activation", "expansion", "special_tokens")
_PREFIXES = ("query_prefix", "passage_prefix")  # counted in the graph where the pooling leaves them out
_INSTALL = "pip install 'gradir[cpu]'"


def graph_name(side: Side = "passage", int8: bool = False) -> str:
    """The file of a graph: `model.onnx`, or `model_query.onnx` where queries go through a model of their own."""
    return f"model{'_query' if side == 'query' else ''}{'_int8' if int8 else ''}.onnx"


def note_of(config: EncoderConfig) -> dict[str, Any]:
    """What decides the outputs of a graph, as it is noted in the file."""
    names = _IN_GRAPH + (() if config.pool_prefix else _PREFIXES)
    return {name: getattr(config, name) for name in (*names, "weights_sha256")}


def open_onnx(
    folder: EncoderFolder, int8: bool = False, device: str = "cpu", side: Side = "passage", threads: int | None = None
) -> OnnxModel | nn.Module:
    """The model of one side of an encoder folder in ONNX Runtime.

    Args:
        folder: The folder, read by `gradir.models.folder.open_folder`.
        int8: Take the graph with 8-bit products (CPU only).
        device: `cpu`, `cuda`, `cuda:0`, …
        side: Queries go through the model of documents unless the folder gives them one of their own; one that is only a
            table of weights needs no ONNX Runtime and is returned as it is.
        threads: Threads of one product; those of torch if not given.

    Raises:
        GradirError: The folder has no such graph, or one of other weights or another configuration.
    """
    import torch

    from gradir.models.encoders import StaticEncoder

    own = side == "query" and folder.query_model is not folder.model
    if own and isinstance(folder.query_model, StaticEncoder):
        return folder.query_model.to(torch.device(device))
    if int8 and torch.device(device).type != "cpu":
        raise GradirError(
            f"--backend onnx-int8 runs on CPUs only, not on {device}. Use --backend onnx or --device cpu."
        )
    path = graph_path(folder.path, "query" if own else "passage", int8)
    model = OnnxModel(path, device, threads or torch.get_num_threads())
    check_note(path, model.note, folder.config, int8)
    return model


def graph_path(folder: Path, side: Side, int8: bool) -> Path:
    """The graph of a folder.

    Raises:
        InputError: There is none.
    """
    path = folder / graph_name(side, int8)
    if not path.exists():
        fix = f"Make one: gradir export {folder} --output DIR {_flags(int8)}, and name DIR as the encoder"
        raise InputError(folder, f"holds no {path.name}", fix)
    return path


def check_note(path: Path, note: dict[str, Any], config: EncoderConfig, int8: bool) -> None:
    """Refuse a graph whose outputs are not what the folder says.

    Raises:
        InputError: It was made from other weights or another configuration.
    """
    wanted = note_of(config)
    differing = [name for name in wanted if note.get(name) != wanted[name]]
    if differing:
        problem = f"was not made from this folder as it is opened (other {', '.join(differing)})"
        raise InputError(path, problem, f"Make it again: gradir export {path.parent} --output DIR {_flags(int8)}")


def _flags(int8: bool) -> str:
    return "--onnx --int8" if int8 else "--onnx"


class OnnxModel:
    """A graph of ONNX Runtime, called as every model.

    Args:
        path: The ONNX file.
        device: `cpu`, `cuda`, `cuda:0`, …
        threads: Threads of one product; as ONNX Runtime likes if not given.

    Attributes:
        note: What gradir noted in the file; empty in the files of others.
        size: Numbers of an output row, D or V; None where the graph does not say.

    Raises:
        MissingDependency: ONNX Runtime is not installed.
        GradirError: It has no CUDA, or the file cannot be loaded.
    """

    def __init__(self, path: Path, device: str = "cpu", threads: int | None = None):
        self.path, self.device = path, device
        self._session = _open_session(path, device, threads)
        self._failures = _errors()
        self._inputs = [one.name for one in self._session.get_inputs()]
        unknown = sorted(set(self._inputs) - {"input_ids", "attention_mask", "token_type_ids"})
        if unknown:
            raise InputError(path, f"wants the inputs {', '.join(unknown)}", "Only graphs of gradir export are known")
        shape = self._session.get_outputs()[0].shape
        self.size = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None
        self.note: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map.get(NOTE, "{}"))

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """What the graph gives, float32 [B, D], [B, V] or (of a cross-encoder) [B], on the CPU.

        Args:
            input_ids: int64 [B, S].
            attention_mask: 1 for a token, 0 for padding, int64 [B, S].
            token_type_ids: Which of two texts a token belongs to, int64 [B, S]; the first for all if not given.
        """
        import torch

        types = None if token_type_ids is None else token_type_ids.cpu().numpy()
        return torch.from_numpy(self.run(input_ids.cpu().numpy(), attention_mask.cpu().numpy(), types))

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: Any = None
    ) -> NDArray[np.float32]:
        """As a call, with NumPy's arrays."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        feeds = {name: np.zeros_like(input_ids) if given[name] is None else given[name] for name in self._inputs}
        try:
            output: NDArray[np.float32] = self._session.run(None, feeds)[0]
        except self._failures as error:  # as one that the engine knows, which may ask for less memory
            raise RuntimeError(str(error)) from error
        return output


def _open_session(path: Path, device: str, threads: int | None) -> Any:
    """The session of a file on a device."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependency("onnxruntime", "--backend onnx", _INSTALL) from error
    providers: list[Any] = ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if kind == "cuda":
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise GradirError(_no_cuda(ort.__version__))
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(number or 0)}))
    elif kind != "cpu":
        raise GradirError(f"ONNX Runtime runs on cpu and cuda here, not on {device}. Try --device cpu.")
    try:
        session = ort.InferenceSession(str(path), _options(ort, threads), providers=providers)
    except _errors() as error:
        reason = str(error).splitlines()[0]
        raise InputError(path, f"cannot be loaded ({reason})", "Export it again") from None
    if kind == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise GradirError(_no_cuda(ort.__version__))  # it falls back to the CPU without an error
    return session


def _options(ort: Any, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors; they are raised as well
    # Plans of memory are kept for each shape of a batch, and there are as many as batches.
    options.enable_mem_pattern = False
    # Threads that wait in a loop take the cores from the tokenizer of the next window.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which share no base class of their own."""
    import onnxruntime as ort

    state = ort.capi.onnxruntime_pybind11_state
    kinds = [one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception)]
    return (*kinds, RuntimeError)


def _no_cuda(version: str) -> str:
    return (
        f"this onnxruntime ({version}) has no working CUDA. Where onnxruntime and onnxruntime-gpu are both installed, one hides "
        "the other: pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu (gradir doctor checks it). "
        "Or give --device cpu."
    )

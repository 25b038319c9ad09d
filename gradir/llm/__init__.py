"""One port to a language model, behind a store of its answers: transformers, offline vLLM or any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from gradir.errors import GradirError

if TYPE_CHECKING:
    from gradir.llm.client import LLM

ENGINES: dict[str, tuple[str, str]] = {
    "hf": ("gradir.llm.hf_engine", "open_engine"),
    "openai": ("gradir.llm.openai_engine", "open_engine"),
    "vllm": ("gradir.llm.vllm_engine", "open_engine"),
}


def open_llm(llm: str, requests: Path, base_url: str | None = None, options: Sequence[str] = ()) -> LLM:
    """A language model and the store of its answers. The model itself is opened when there is something to ask it.

    Args:
        llm: `hf:MODEL` (transformers), `vllm:MODEL` (vLLM in this process) or `openai:MODEL` (a server). MODEL is a folder or a
            name on the hub, there optionally `@revision`; at a server, the name by which it knows the model.
        requests: Folder of the store; made where there is none.
        base_url: Of the server, with its version: `http://127.0.0.1:8000/v1`, which is the default. Only for `openai:`.
        options: KEY=VALUE of the engine: see the dataclass `Settings` of its module.

    Raises:
        GradirError: Tells all that is wrong with the arguments; or another process uses the store.
    """
    from gradir.llm.client import LLM
    from gradir.llm.given import read_llm
    from gradir.llm.store import Store

    engine = llm.partition(":")[0]
    problems = []
    if engine in ENGINES and engine != "openai" and base_url is not None:
        problems.append(f"--base-url is for --llm openai:MODEL; {engine} runs the model itself")
    try:
        given = read_llm(llm, options)
    except GradirError as error:
        problems.append(str(error))
    if problems:
        raise GradirError("\n".join(problems))
    module, function = ENGINES[engine]
    return LLM(
        given.identity,
        lambda: getattr(import_module(module), function)(given.model, base_url, given.options),
        Store(requests),
        given.prices,
    )

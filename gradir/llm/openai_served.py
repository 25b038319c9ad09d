"""What a server says of the model it serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gradir.errors import GradirError, nearest
from gradir.llm.openai_http import NotFound, Refused, Server, Trouble
from gradir.llm.tokenizer import Tokenizer


class Served(NamedTuple):
    """A model at a server.

    Attributes:
        vllm: The server is vLLM.
        context: Most tokens of a prompt and its answer together, if it says so.
        root: The model's folder, or its name on the hub, if it says so.
    """

    vllm: bool = False
    context: int | None = None
    root: str | None = None

    def tokenizer(self) -> Tokenizer | None:
        """The model's, where it lies on this machine too: in its folder or in the hub's cache."""
        try:
            return Tokenizer(folder) if self.vllm and (folder := self._folder()) else None
        except GradirError:  # not all of its files are here
            return None

    def _folder(self) -> str | None:
        root = self.root
        if not root or Path(root).is_dir():
            return root
        if Path(root).is_absolute():  # a folder of the server's machine
            return None
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(root, "tokenizer.json")
        except HFValidationError:
            return None
        return str(Path(cached).parent) if isinstance(cached, str) else None


async def ask_served(server: Server, model: str) -> Served:
    """What the server says; nothing where it does not list its models.

    Raises:
        GradirError: It is down, refuses the key, or serves other models.
    """
    try:
        answer = await server.once("GET", "models")
    except NotFound:
        return Served()
    except (Trouble, Refused) as trouble:
        raise GradirError(
            f"{server.url} does not answer: {trouble}. Start a server, for example: vllm serve {model} --port 8000"
            " (and name it: --base-url http://127.0.0.1:8000/v1)"
        ) from None
    models = _listed(answer)
    if not models:
        return Served()
    if model not in models:
        close = nearest(model, models) or "."
        raise GradirError(f"{server.url} does not serve '{model}'{close} It serves: {', '.join(sorted(models)[:20])}")
    said = models[model]
    context, root = said.get("max_model_len"), said.get("root")
    return Served(
        said.get("owned_by") == "vllm",
        context if isinstance(context, int) else None,
        root if isinstance(root, str) else None,
    )


def _listed(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    listed = answer.get("data")
    rows = listed if isinstance(listed, list) else []
    return {one["id"]: one for one in rows if isinstance(one, dict) and isinstance(one.get("id"), str)}

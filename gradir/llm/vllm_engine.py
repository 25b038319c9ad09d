"""An engine by vLLM inside this process: all requests in its queue at once, replies as they are finished."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gradir.errors import GradirError, MissingDependency, nearest
from gradir.llm.answers import all_of, drawn, likeliest
from gradir.llm.engine import Group
from gradir.llm.fault_handler import import_xgrammar
from gradir.llm.records import Choice, Reply, Request, Sampling, Usage
from gradir.llm.tokenizer import Tokenizer, name_and_revision

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams

# Without a GPU: the smallest block size that its attention takes, which shares prefixes best; no prefill in pieces, at which the
# whole engine dies where an answer is drawn with a seed; memory of a fixed size, as the share that vLLM would take is seldom free.
_ON_CPU = {
    "block_size": 32,
    "enable_chunked_prefill": False,
    "gpu_memory_utilization": 0.2,
    "kv_cache_memory_bytes": 2 * 2**30,
}
_RESUMES = "What was answered is stored: the same command goes on from there"
# It tells its makers nothing about its use, and little to the user, not among the results.
_QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}


def open_engine(model: str, base_url: str | None, options: Mapping[str, str]) -> VLLMEngine:
    """The engine of a model; its weights are loaded when something is asked.

    Args:
        model: A folder or a name on the hub.
        base_url: None: there is no server.
        options: Arguments of `vllm.LLM`, numbers, true, false and objects as JSON; `context` is another word for `max_model_len`.

    Raises:
        MissingDependency: vLLM is not installed.
        GradirError: An option that vLLM does not know.
    """
    if not find_spec("vllm"):
        raise MissingDependency("vllm", "--llm vllm:MODEL", "pip install 'gradir[vllm]'")
    return VLLMEngine(model, {key: _value(text) for key, text in options.items()})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


class VLLMEngine:
    """A model in vLLM.

    Attributes:
        deterministic: vLLM computes in this process (VLLM_ENABLE_V1_MULTIPROCESSING=0) or is batch-invariant
            (VLLM_BATCH_INVARIANT=1). Only the latter makes replies independent of what else is asked, in other types than float32.
    """

    def __init__(self, model: str, options: Mapping[str, Any]):
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)  # read when vLLM is imported
        self._name, self._options = model, dict(options)
        if "context" in self._options:
            self._options.setdefault("max_model_len", self._options.pop("context"))
        self._arguments = self._checked()
        self.deterministic = (
            os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0" or os.environ.get("VLLM_BATCH_INVARIANT") == "1"
        )
        self._opened: LLM | None = None
        self._tokenizer: Tokenizer | None = None
        self._context: int | None = None

    def _checked(self) -> dict[str, Any]:
        """The arguments of `vllm.LLM`."""
        from vllm.engine.arg_utils import EngineArgs
        from vllm.platforms import current_platform

        known = {one.name for one in fields(EngineArgs)} - {"model"}
        if unknown := [f"'{key}'{nearest(key, known)}" for key in self._options if key not in known]:
            raise GradirError(f"--llm-option for vllm:{self._name}: vLLM does not know {'; '.join(unknown)}")
        folder, revision = name_and_revision(self._name)
        named = {"model": folder, "generation_config": "vllm"} | ({"revision": revision} if revision else {})
        if not current_platform.is_cpu():
            return {**named, **self._options}
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # there is no device that a process could wait for
        return {**named, **_ON_CPU, **self._options}

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its answer together."""
        if self._context is None:
            from vllm.engine.arg_utils import EngineArgs

            with _explained(self._name):
                self._context = int(EngineArgs(**self._arguments).create_model_config().max_model_len)
        return self._context

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return self._tokens().count(text)

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text, at most of so many tokens."""
        return self._tokens().cut(text, tokens)

    def _tokens(self) -> Tokenizer:
        if self._tokenizer is None:
            trusted = self._options.get("trust_remote_code") is True
            self._tokenizer = Tokenizer(self._options.get("tokenizer", self._name), trusted)
        return self._tokenizer

    def _llm(self) -> LLM:
        if self._opened is None:
            import torch
            from vllm import LLM

            import_xgrammar()  # vLLM would, when it first needs it

            if hasattr(torch.cpu, "_init_amx"):
                torch.cpu._init_amx()  # vLLM's kernels do not ask Linux for these registers and die of using them
            with _explained(self._name):
                self._opened = LLM(**self._arguments)
        return self._opened

    def run(self, requests: Sequence[Request]) -> Iterator[Group]:
        """Answer all requests; a group is what was finished by the same step of the model.

        Raises:
            GradirError: The model cannot be loaded, or vLLM has died.
        """
        engine = self._llm().llm_engine
        places, refused = self._enqueue(requests)
        if refused:
            yield refused
        try:
            while engine.has_unfinished_requests():
                with _explained(self._name):
                    finished: Any = [output for output in engine.step() if output.finished]
                group = [
                    (place, _reply(output, requests[place]))
                    for output in finished
                    for place in [places.pop(output.request_id)]
                ]
                if group:
                    yield group
        except GeneratorExit:
            engine.abort_request(list(places))
            raise

    def _enqueue(self, requests: Sequence[Request]) -> tuple[dict[str, int], Group]:
        """The places of all requests by vLLM's names for them; and those that it refuses."""
        from vllm.exceptions import VLLMClientError

        llm = self._llm()
        places: dict[str, int] = {}
        refused: Group = []
        for place, request in enumerate(requests):
            try:
                parameters = _parameters(request.sampling)
                if isinstance(request.prompt, str):
                    [name] = llm.enqueue([request.prompt], parameters, use_tqdm=False)
                else:
                    messages: Any = [message._asdict() for message in request.prompt]
                    [name] = llm.enqueue_chat([messages], parameters, use_tqdm=False)
            except (VLLMClientError, ValueError, TypeError) as error:
                refused.append((place, Reply(error=" ".join(str(error).split())[:500])))
            else:
                places[name.partition("-")[0]] = place  # it adds something random
        return places, refused

    def close(self) -> None:
        """Give back memory and processes."""
        if self._opened is not None:
            self._opened.llm_engine.engine_core.shutdown()
            self._opened = None
            gc.collect()


@contextmanager
def _explained(model: str) -> Iterator[None]:
    """Errors of vLLM become ours."""
    from vllm.exceptions import VLLMError

    try:
        yield
    except (VLLMError, RuntimeError, ValueError, OSError) as error:
        said = " ".join(str(error).split())[:1000]
        raise GradirError(f"vLLM fails with {model}: {said}. {_RESUMES}.") from error


def _parameters(sampling: Sampling) -> SamplingParams:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    constraint = None
    if sampling.choice is not None:
        constraint = StructuredOutputsParams(choice=list(sampling.choice))
    elif sampling.json_schema is not None:
        constraint = StructuredOutputsParams(json=sampling.json_schema)
    return SamplingParams(
        n=drawn(sampling),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=sampling.seed,
        stop=list(sampling.stop),
        max_tokens=sampling.max_tokens,
        logprobs=sampling.logprobs,
        structured_outputs=constraint,
    )


def _reply(output: RequestOutput, request: Request) -> Reply:
    sampling = request.sampling
    made = sorted(output.outputs, key=lambda one: one.index)
    choices = tuple(_choice(one, sampling.logprobs) for one in made)
    written = sum(len(one.token_ids) for one in made)
    usage = Usage(len(output.prompt_token_ids or ()), output.num_cached_tokens or 0, written)
    return Reply(all_of(choices, sampling), usage)


def _choice(made: Any, wanted: int | None) -> Choice:
    finish = "length" if made.finish_reason == "length" else "stop"
    if wanted is None:
        return Choice(made.text, finish)
    places = list(zip(made.token_ids, made.logprobs, strict=True))
    logprobs = tuple(place[token].logprob for token, place in places)
    if not wanted:
        return Choice(made.text, finish, logprobs)
    top = tuple(likeliest(((one.decoded_token, one.logprob) for one in place.values()), wanted) for _, place in places)
    return Choice(made.text, finish, logprobs, top)

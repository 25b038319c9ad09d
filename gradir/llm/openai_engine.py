"""An engine behind any OpenAI-compatible server (`vllm serve` is the tested one): many requests in flight at a time."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from gradir.errors import GradirError, MissingDependency
from gradir.llm.engine import Group
from gradir.llm.options import read_options
from gradir.llm.records import Reply, Request
from gradir.llm.tokenizer import Tokenizer
from gradir.llm.tokens import Estimated

try:
    from gradir.llm.openai_http import RESUMES, NotFound, Refused, Server, Trouble
    from gradir.llm.openai_served import Served, ask_served
    from gradir.llm.openai_tokens import ServedTokens
    from gradir.llm.openai_wire import Dialect, body_of, path_of, reply_of
    from gradir.llm.rate import Rate
except ModuleNotFoundError as error:
    raise MissingDependency(error.name or "aiohttp", "--llm openai:MODEL", "pip install 'gradir[openai]'") from None

_T = TypeVar("_T")
_DEFAULT_URL = "http://127.0.0.1:8000/v1"  # where `vllm serve` listens
_HOPELESS = 8  # requests given up one after the other: it is not the requests


@dataclass(frozen=True)
class Settings:
    """Options of the engine.

    Attributes:
        context: Most tokens of a prompt and its answer; what the server says unless given.
        concurrency: Requests in flight at a time.
        timeout: Seconds for one try of one request.
        retries: How often a request is asked again when the server fails; 8 are 46 to 91 seconds of waiting.
        requests_per_minute: The server's limit.
        tokens_per_minute: The server's limit, of prompts and answers together.
        api_key_env: The environment variable that holds the key; local servers need none.
        tokenizer: Of the model, for counting: a folder or a name on the hub. Else the server is asked.
    """

    context: int | None = None
    concurrency: int = 64
    timeout: float = 600.0
    retries: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    api_key_env: str = "OPENAI_API_KEY"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        given = ("context", "concurrency", "timeout", "requests_per_minute", "tokens_per_minute")
        low = [name for name in given if (value := getattr(self, name)) is not None and not value > 0]
        if low or self.retries < 0:
            listed = ", ".join([*low, *(["retries"] if self.retries < 0 else [])])
            raise GradirError(f"--llm-option for openai: too low a number for {listed}")


def open_engine(model: str, base_url: str | None, options: Mapping[str, str]) -> OpenAIEngine:
    """The engine of a model at a server; without `base_url`, at port 8000 of this machine.

    Raises:
        GradirError: A bad option; the server is down or does not serve this model.
    """
    settings = read_options(Settings, "openai", options)
    key = os.environ.get(settings.api_key_env)
    if "api_key_env" in options and not key:
        raise GradirError(f"api_key_env={settings.api_key_env}: this environment variable is not set.")
    return OpenAIEngine(model, base_url or _DEFAULT_URL, key, settings)


class OpenAIEngine:
    """A model at a server.

    Answers depend on what else the server computes at the time, in floating point's last digits; a server in float32, or one
    that is batch-invariant, gives the same ones each time.

    With the options `context` and `tokenizer` the server is needed only for what is asked: without them it must be up to say
    how long a prompt may be, even where all answers are stored.
    """

    deterministic = False

    def __init__(self, model: str, url: str, key: str | None, settings: Settings):
        self._model, self._settings, self._dialect = model, settings, Dialect()
        self._said: Served | None = None
        self._given_up = 0  # requests in a row
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-engine", daemon=True)
        self._thread.start()
        try:
            self._server = self._await(self._open_server(url, key))
            self.context = settings.context or self._context()
            self._tokens = self._counter()
        except BaseException:
            self.close()
            raise

    async def _open_server(self, url: str, key: str | None) -> Server:
        given = self._settings
        rate = Rate(given.requests_per_minute, given.tokens_per_minute)
        return Server(url, key, given.api_key_env, given.timeout, given.retries, rate)

    def _served(self) -> Served:
        """What the server says of the model, asked when it is first needed."""
        if self._said is None:
            self._said = self._await(ask_served(self._server, self._model))
            self._dialect = Dialect(vllm=self._said.vllm, structured_outputs=self._said.vllm)
        return self._said

    def _context(self) -> int:
        context = self._served().context
        if context is None:
            raise GradirError(
                f"{self._server.url} does not say how many tokens {self._model} can read. Give --llm-option context=N;"
                " or does the URL lack /v1?"
            )
        return context

    def _counter(self) -> Tokenizer | ServedTokens | Estimated:
        """The model's own tokenizer if it is at hand, else the server's, else a guess."""
        if name := self._settings.tokenizer:
            return Tokenizer(name)
        served = self._served()
        if not served.vllm:
            self._server.warn("tokens are estimated from characters; --llm-option tokenizer=NAME counts them")
            return Estimated()
        there, here = ServedTokens(self._model, self._told), served.tokenizer()
        if here is None:
            self._server.warn("tokens are counted by the server; with --llm-option tokenizer=NAME it is faster")
            return there
        if self._trusted(here, there):
            return here
        self._server.warn(
            f"{here.name} on this machine splits texts otherwise than the server (another model, or another release of"
            " transformers), so the server counts the tokens; with the server's own releases here it is faster"
        )
        return there

    def _trusted(self, here: Tokenizer, there: ServedTokens) -> bool:
        """Whether the two are equal, or the server does not tell."""
        try:
            return there.equal(here)
        except GradirError:
            return True

    def _told(self, path: str, body: Mapping[str, Any], read: Callable[[dict[str, Any]], _T]) -> _T:
        try:
            return self._await(self._server.post(path, body, read))
        except (Trouble, Refused, NotFound, KeyError, TypeError, ValueError) as error:
            raise GradirError(
                f"{self._server.url} does not count tokens ({error}). Give --llm-option tokenizer=NAME."
            ) from None

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones; an estimate where neither tokenizer nor server knows."""
        return self._tokens.count(text)

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text, at most of so many tokens."""
        return self._tokens.cut(text, tokens)

    def run(self, requests: Sequence[Request]) -> Iterator[Group]:
        """Answer all requests, those that are finished by now together.

        Raises:
            GradirError: The server is down, serves other models, has died, or refuses everything; what was answered before has
                been given out.
        """
        self._served()
        finished: queue.SimpleQueue[tuple[int, Reply] | None] = queue.SimpleQueue()
        asking = asyncio.run_coroutine_threadsafe(self._ask_all(requests, finished), self._loop)
        asking.add_done_callback(lambda _: finished.put(None))
        try:
            more = True
            while more:
                taken = [finished.get(), *(finished.get() for _ in range(finished.qsize()))]
                more = None not in taken
                if group := [one for one in taken if one is not None]:
                    yield group
            asking.result()
        finally:
            asking.cancel()

    async def _ask_all(
        self, requests: Sequence[Request], finished: queue.SimpleQueue[tuple[int, Reply] | None]
    ) -> None:
        """Ask in the given order, so that what shares a beginning meets in the server's cache."""
        waiting = iter(enumerate(requests))

        async def work() -> None:
            for place, request in waiting:
                finished.put((place, await self._ask(request)))

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(self._settings.concurrency, len(requests))):
                    tasks.create_task(work())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _ask(self, request: Request) -> Reply:
        try:
            reply = await self._answer(request)
        except Refused as refusal:
            return Reply(error=str(refusal))
        except Trouble as trouble:
            self._given_up += 1
            if self._given_up >= _HOPELESS or trouble.of_server:
                raise GradirError(f"{self._server.url} gives no answers any more: {trouble}. {RESUMES}.") from None
            return Reply(error=str(trouble))
        self._given_up = 0
        return reply

    async def _answer(self, request: Request) -> Reply:
        """Ask in words that the server knows."""
        planned = self._planned(request)
        while True:
            dialect = self._dialect
            body = body_of(request, self._model, dialect)
            read = partial(reply_of, request, dialect=dialect)
            try:
                reply = await self._server.post(path_of(request), body, read, planned)
            except Refused as refusal:
                other = self._dialect.corrected(body, str(refusal))
                if other is None:
                    raise
                self._dialect = other
            else:
                self._server.rate.settle(planned, reply.usage.prompt + reply.usage.completion)
                return reply

    def _planned(self, request: Request) -> int:
        """Tokens that a request may need, roughly: for limits alone."""
        if not self._settings.tokens_per_minute:
            return 0
        prompt = request.prompt
        texts = [prompt] if isinstance(prompt, str) else [message.content for message in prompt]
        return sum(map(Estimated().count, texts)) + request.sampling.max_tokens * request.sampling.n

    def _await(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Give up what is asked, close all connections and end the thread."""
        if self._loop.is_closed():
            return
        self._await(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if hasattr(self, "_server"):  # it could be made
            await self._server.close()

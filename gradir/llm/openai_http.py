"""One server: a question and its answer over HTTP, asked again where that may help."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp
from tqdm import tqdm
from yarl import URL

from gradir.errors import GradirError
from gradir.llm.openai_wire import Unreadable, complaint
from gradir.llm.rate import Rate

_T = TypeVar("_T")
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds before the second try, and before any
_LONGEST_PAUSE = 900.0  # seconds that a server may ask us to wait
_SHORTEST_KEY = 8  # what is shorter is no secret but a word that stands in for one, and stands in other words too
_SLOW_TRIES = 2  # what has taken its whole time twice takes it a third time too
_HERE = ("127.0.0.1", "localhost", "::1")
_QUIET = 30.0  # seconds between two warnings
RESUMES = "What was answered is stored: the same command goes on from there"


class Refused(Exception):
    """The server does not answer this request, however often it is asked; other requests it may answer."""


class NotFound(GradirError):
    """The server knows no such path or model."""


class Trouble(Exception):
    """No answer, for a reason that may pass.

    Attributes:
        wait: Seconds that the server asks us to wait.
        of_server: It says nothing about the request: the server is down or overloaded.
        slow: The time was up.
    """

    def __init__(self, reason: str, wait: float | None = None, of_server: bool = False, slow: bool = False):
        self.wait, self.of_server, self.slow = wait, of_server, slow
        super().__init__(reason)


class Server:
    """Asks a server. To be made and used inside an event loop.

    Args:
        url: What the API's paths stand below, such as http://127.0.0.1:8000/v1.
        key: Sent as the bearer token; it appears in no message.
        key_name: The environment variable that the key is from, for messages.
        timeout: Seconds for one try.
        retries: How often a request is asked again; waits double from half a second to half a minute.
        rate: Limits.
    """

    def __init__(self, url: str, key: str | None, key_name: str, timeout: float, retries: int, rate: Rate):
        self.url, self.rate = url.rstrip("/"), rate
        self._key, self._key_name, self._timeout, self._retries = key, key_name, timeout, retries
        self._warned = -_QUIET
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 30.0)),
            connector=aiohttp.TCPConnector(limit=0),  # whoever asks decides how much
            trust_env=URL(url).host not in _HERE,  # a proxy for the way out
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def post(
        self, path: str, body: Mapping[str, Any], read: Callable[[dict[str, Any]], _T], tokens: int = 0
    ) -> _T:
        """What `read` makes of the JSON object that the server answers, asked until it can be read.

        Args:
            path: Below the base URL, or, with / at its beginning, below the host.
            body: The JSON object to send.
            read: Raises Unreadable for an answer that is broken.
            tokens: What the request may need, for the limits.

        Raises:
            Refused: Never for this request.
            Trouble: Not after all retries.
            GradirError: Never, for any request: a wrong key, an unknown model.
        """
        tries = 0
        while True:
            await self.rate.enter(tokens)
            try:
                return await self._read(path, body, read)
            except Trouble as trouble:
                tries += 1
                if tries > (min(_SLOW_TRIES, self._retries) if trouble.slow else self._retries):
                    raise
                self.warn(f"{trouble}; asking again")
                if trouble.wait is not None:
                    self.rate.pause(trouble.wait)  # the limit is everybody's
                else:
                    longest = min(_FIRST_WAIT * 2 ** (tries - 1), _LONGEST_WAIT)
                    await asyncio.sleep(longest * random.uniform(0.5, 1))  # so that they do not come back all at once

    async def _read(self, path: str, body: Mapping[str, Any], read: Callable[[dict[str, Any]], _T]) -> _T:
        try:
            return read(await self.once("POST", path, body))
        except Unreadable as error:
            raise Trouble(str(error)) from None

    async def once(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that the server answers, asked once; raises what `post` raises."""
        url = self.url.removesuffix("/v1") + path if path.startswith("/") else f"{self.url}/{path}"
        try:
            async with self._session.request(method, url, json=body, allow_redirects=False) as response:
                content = await response.read()
        except TimeoutError:
            raise Trouble(f"no answer within {self._timeout:g} s", slow=True) from None
        except aiohttp.ClientPayloadError as error:
            raise Trouble(f"the answer broke off ({error})") from None
        except aiohttp.ClientError as error:
            raise Trouble(f"no connection ({str(error) or type(error).__name__})", of_server=True) from None
        if response.status != 200:
            raise self._failure(response, content)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise Trouble(f"the answer is not JSON ({len(content)} bytes)") from None
        if not isinstance(answer, dict):
            raise Trouble("the answer is not a JSON object")
        return answer

    def _failure(self, response: aiohttp.ClientResponse, content: bytes) -> Exception:
        """What an HTTP status other than 200 means."""
        status, said = response.status, complaint(content)
        if self._key and len(self._key) >= _SHORTEST_KEY:
            said = said.replace(self._key, f"${self._key_name}")
        shown = f"HTTP {status}" + (f": {said}" if said else "")
        if status in (401, 403):
            return GradirError(f"{self.url} refuses the key ({shown}). It is read from ${self._key_name}.")
        if status == 404:
            return NotFound(f"{self.url} does not know what is asked ({shown}). Check the model's name and --base-url.")
        if status in (429, 503, 529):
            if "insufficient_quota" in content.decode("utf-8", "replace"):
                return GradirError(f"{self.url}: nothing is left of the account's quota ({shown}). {RESUMES}.")
            wait = _seconds(response.headers.get("Retry-After"))
            if wait is not None and wait > _LONGEST_PAUSE:
                return GradirError(f"{self.url} wants to be left alone for {wait:.0f} s ({shown}). {RESUMES} then.")
            return Trouble(shown, wait, of_server=True)
        if status >= 500 or status in (408, 409, 425):
            return Trouble(shown, of_server=status in (502, 504))
        if status in (400, 413, 422):
            return Refused(shown)
        return GradirError(f"{self.url} does not answer as an OpenAI-compatible server ({shown}). Check --base-url.")

    def warn(self, message: str) -> None:
        """A warning on stderr, if the last one is a while ago."""
        if time.monotonic() - self._warned >= _QUIET:
            self._warned = time.monotonic()
            tqdm.write(f"warning: {self.url}: {message}", file=sys.stderr)


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header: seconds, or a date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None

"""What servers do when they fail, in front of a real one: nothing is lost, nothing is asked again that was stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from gradir.errors import GradirError
from gradir.llm import open_llm
from gradir.llm.records import Request, Sampling
from tests.llm_live.fault_proxy import FAULTS

REQUESTS = [Request(f"The wing spar {i} was measured", Sampling(max_tokens=6)) for i in range(60)]
PASSING = tuple(fault for fault in FAULTS if fault not in ("empty", "unknown"))


def times(proxy, fault=None):
    """How often each prompt reached the proxy."""
    return Counter(one.body["prompt"] for one in proxy.seen if fault is None or one.fault == fault)


def stored(folder: Path) -> int:
    file = folder / "replies.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def texts(llm, requests):
    return [reply.choices[0].text if reply.error is None else None for reply in llm.ask(requests)]


@pytest.fixture
def expected(server, open_openai, replies):
    """The texts of REQUESTS without any fault."""
    return [reply.choices[0].text for reply in replies(open_openai(server.url), REQUESTS)]


@pytest.fixture
def open_store(proxy, tmp_path):
    """`open_store(*options)`: the model behind the proxy and behind a store."""
    return lambda *options: open_llm("openai:tiny", tmp_path / "store", proxy.url, ["timeout=8", *options])


def test_every_fault_that_passes_is_outlived(proxy, open_store, expected):
    first_time = set()

    def fault(number, body):
        if body["prompt"] in first_time:
            return ""
        first_time.add(body["prompt"])
        return PASSING[number % len(PASSING)]

    proxy.fault = fault
    with open_store("concurrency=60") as llm:
        assert texts(llm, REQUESTS) == expected
        assert llm.failed == 0
        assert llm.paid.requests == len(REQUESTS)
    assert set(times(proxy).values()) == {2}
    assert {one.fault for one in proxy.seen} == {"", *PASSING}
    with open_store() as llm:
        assert texts(llm, REQUESTS) == expected
        assert (llm.paid.requests, llm.reused.requests) == (0, len(REQUESTS))
    assert set(times(proxy).values()) == {2}  # none came again


def test_an_empty_text_is_an_answer(proxy, open_store):
    proxy.fault = lambda number, body: "empty"
    with open_store() as llm:
        assert texts(llm, REQUESTS[:2]) == ["", ""]
    assert set(times(proxy).values()) == {1}


def test_one_request_that_always_fails_does_not_hold_up_the_others(proxy, open_store, expected):
    poison = REQUESTS[7].prompt
    proxy.fault = lambda number, body: "error" if body["prompt"] == poison else ""
    with open_store("retries=2") as llm:
        replies = list(llm.ask(REQUESTS))
    assert "HTTP 500: Internal Server Error" in replies[7].error
    assert [reply.error is None for reply in replies].count(False) == 1
    assert times(proxy)[poison] == 3
    proxy.fault = lambda number, body: ""
    with open_store() as llm:  # an error is not stored: it is the one that is asked again
        assert texts(llm, REQUESTS) == expected
        assert llm.paid.requests == 1


@pytest.mark.parametrize("fault", ["error", "malformed", "busy"])
def test_a_server_that_fails_always_ends_the_run(fault, proxy, open_store):
    proxy.fault = lambda number, body: fault if number >= 20 else ""
    with open_store("retries=1", "concurrency=4") as llm, pytest.raises(GradirError, match="gives no answers any more"):
        list(llm.ask(REQUESTS))
    assert len(proxy.seen) < 60


def test_a_server_that_dies_is_waited_for(proxy, open_store, expected):
    def fault(number, body):
        if number == 30:
            proxy._loop.create_task(proxy._die())
            proxy._loop.call_later(1.5, lambda: proxy._loop.create_task(proxy._start()))
        return ""

    proxy.fault = fault
    with open_store("concurrency=8") as llm:
        assert texts(llm, REQUESTS) == expected
        assert llm.failed == 0


def test_the_server_is_killed_and_the_same_command_goes_on(server, open_openai, tmp_path, expected):
    requests = [Request(f"{one.prompt} again", Sampling(max_tokens=300)) for one in REQUESTS]
    store = tmp_path / "store"
    with open_llm("openai:tiny", store, server.url, ["retries=1", "concurrency=4"]) as llm:
        threading.Thread(target=_kill_when, args=(store, 10, server.kill), daemon=True).start()
        with pytest.raises(GradirError, match=r"no connection.*the same command goes on from there"):
            list(llm.ask(requests))
    before = stored(store)
    assert 0 < before < len(requests)
    server.ensure()
    with open_llm("openai:tiny", store, server.url) as llm:
        found = texts(llm, requests)
        assert llm.reused.requests + llm.paid.requests == len(requests)
        assert llm.reused.requests >= 10
    with open_llm("openai:tiny", tmp_path / "other", server.url) as llm:
        assert texts(llm, requests) == found


def _kill_when(store: Path, lines: int, kill) -> None:
    while stored(store) < lines:
        time.sleep(0.01)
    kill()


CLIENT = """
import sys
from pathlib import Path
from gradir.llm import open_llm
from gradir.llm.records import Request, Sampling
from tests.llm_live.fault_proxy import FAULTS
prompts = Path(sys.argv[3]).read_text().splitlines()
with open_llm("openai:tiny", Path(sys.argv[1]), sys.argv[2], ["concurrency=4"]) as llm:
    replies = llm.ask(Request(prompt, Sampling(max_tokens=6)) for prompt in prompts)
    Path(sys.argv[4]).write_text("\\n".join(str(reply.choices) for reply in replies))
"""


def test_the_client_is_killed_and_the_same_command_goes_on(proxy, tmp_path):
    prompts = [f"The boundary layer {i}" for i in range(200)]
    (tmp_path / "prompts").write_text("\n".join(prompts))

    def command(store, output):
        return [
            sys.executable,
            "-c",
            CLIENT,
            str(tmp_path / store),
            proxy.url,
            str(tmp_path / "prompts"),
            str(tmp_path / output),
        ]

    client = subprocess.Popen(command("store", "text"), stderr=subprocess.DEVNULL)
    while stored(tmp_path / "store") < 20:
        time.sleep(0.01)
        assert client.poll() is None
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    lines = (tmp_path / "store" / "replies.jsonl").read_bytes().splitlines(keepends=True)
    before = sum(len(json.loads(line)["replies"]) for line in lines if line.endswith(b"\n"))
    assert 20 <= before < 200
    asked = len(proxy.seen)
    subprocess.run(command("store", "text"), check=True, stderr=subprocess.DEVNULL)
    assert len(proxy.seen) - asked == 200 - before  # what was stored is not asked again, the rest is
    subprocess.run(command("other", "whole"), check=True, stderr=subprocess.DEVNULL)
    assert (tmp_path / "text").read_text() == (tmp_path / "whole").read_text()


def test_too_many_requests_are_slowed_down_for_all(proxy, open_store):
    times_of = []

    def fault(number, body):
        times_of.append(time.monotonic())
        return "limit" if number == 5 else ""

    proxy.fault = fault
    with open_store("concurrency=2") as llm:
        assert None not in texts(llm, REQUESTS[:20])
    gaps = [later - earlier for earlier, later in pairwise(times_of)]
    assert max(gaps) > 0.9  # nobody asks before the second is over


def test_the_limit_of_a_provider_is_kept(proxy, open_store):
    """60 requests a minute: the first may start at once, as may as many as five seconds hold; then one a second."""
    times_of = []
    proxy.fault = lambda number, body: times_of.append(time.monotonic()) or ""
    with open_store("requests_per_minute=60") as llm:
        assert None not in texts(llm, REQUESTS[:9])
    assert len(times_of) == 9
    assert times_of[5] - times_of[0] < 1.5
    assert times_of[8] - times_of[5] == pytest.approx(3, abs=0.7)


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {}, "refuses the key"),
        (404, {}, "does not know what is asked"),
        (307, {"Location": "http://127.0.0.1:9/"}, "does not answer as an OpenAI-compatible server"),
        (429, {"Retry-After": "86400"}, "wants to be left alone for 86400 s"),
    ],
)
def test_what_no_retry_heals_ends_the_run_at_once(status, headers, words, proxy, open_store, monkeypatch):
    from tests.llm_live import fault_proxy

    monkeypatch.setattr(fault_proxy, "_refusal", lambda *_: refusal(status, headers))
    proxy.fault = lambda number, body: "error"
    with open_store("concurrency=1") as llm, pytest.raises(GradirError, match=words):
        list(llm.ask(REQUESTS))
    assert len(proxy.seen) == 1


def refusal(status, headers):
    from aiohttp import web

    return web.json_response({"error": {"message": "no"}}, status=status, headers=headers)

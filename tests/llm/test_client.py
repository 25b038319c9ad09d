"""The language model as the stages see it, over the real engine and the real store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gradir.errors import GradirError
from gradir.llm import client, open_llm
from gradir.llm.client import LLM
from gradir.llm.engine import Group
from gradir.llm.given import FREE, Prices
from gradir.llm.records import Choice, Reply, Request, Sampling, Usage
from gradir.llm.store import Store

DRAWN = Sampling(max_tokens=5, temperature=1.0, seed=3, logprobs=1)


class Recorded:
    """An engine that notes what is asked of it, and dies after so many groups."""

    def __init__(self, engine: Any, dies_after: int | None = None):
        self.engine, self.dies_after = engine, dies_after
        self.context, self.deterministic = engine.context, engine.deterministic
        self.asked: list[list[Request]] = []
        self.closed = 0

    def run(self, requests: Sequence[Request]) -> Iterator[Group]:
        self.asked.append(list(requests))
        for done, group in enumerate(self.engine.run(requests)):
            if done == self.dies_after:
                raise GradirError("the engine died")
            yield group

    def count(self, text: str) -> int:
        return int(self.engine.count(text))

    def cut(self, text: str, tokens: int) -> str:
        return str(self.engine.cut(text, tokens))

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def hf(open_hf: Callable[..., Any]) -> Any:
    return open_hf(batch_size=4)


Opened = Callable[..., tuple[LLM, Recorded]]


@pytest.fixture
def opened(hf: Any, tmp_path: Path) -> Iterator[Opened]:
    made: list[LLM] = []

    def open_one(dies_after: int | None = None, prices: Prices = FREE) -> tuple[LLM, Recorded]:
        for llm in made:
            llm.close()
        engine = Recorded(hf, dies_after)
        made.append(LLM("model", lambda: engine, Store(tmp_path / "requests"), prices))
        return made[-1], engine

    yield open_one
    for llm in made:
        llm.close()


def _requests(count: int) -> list[Request]:
    return [Request(f"The wing {'spar ' * (i * 5 % 7)}{i}", DRAWN) for i in range(count)]


def test_replies_come_in_the_order_of_the_requests(opened: Opened, hf: Any) -> None:
    llm, _ = opened()
    requests = _requests(13)
    placed = dict(pair for group in hf.run(requests) for pair in group)
    assert list(llm.ask(requests)) == [placed[i] for i in range(13)]


def test_what_is_stored_is_not_asked_again(opened: Opened) -> None:
    llm, engine = opened()
    first = list(llm.ask(_requests(6)))
    assert list(llm.ask(_requests(6))) == first
    again, later = opened()
    assert list(again.ask(_requests(8)))[:6] == first
    assert engine.asked == [_requests(6)]
    assert later.asked == [_requests(8)[6:]]


def test_what_occurs_twice_is_asked_once(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WINDOW", 4)
    llm, engine = opened()
    a, b, c = _requests(3)
    replies = list(llm.ask([a, b, a, a, c, b]))
    assert engine.asked == [[a, b], [c]]
    assert replies[0] == replies[2] == replies[3]
    assert replies[1] == replies[5]
    assert (llm.paid.requests, llm.reused.requests) == (3, 3)


def test_requests_are_taken_in_windows(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless stream: no more is taken than what is being answered."""
    monkeypatch.setattr(client, "WINDOW", 5)
    llm, _ = opened()
    taken = 0

    def endless() -> Iterator[Request]:
        nonlocal taken
        while True:
            taken += 1
            yield Request(f"The {taken}", DRAWN)

    replies = llm.ask(endless())
    for _ in range(6):
        next(replies)
    assert taken == 10
    replies.close()  # type: ignore[attr-defined]


def test_errors_are_replies_that_are_not_stored(opened: Opened) -> None:
    llm, engine = opened()
    requests = [Request("x " * 600), *_requests(2), Request("")]
    replies = list(llm.ask(requests))
    told = "the prompt has 1,200 tokens, the context 512"
    assert [reply.error for reply in replies] == [told, None, None, "the prompt is empty"]
    assert llm.counts() == {"asked": 2, "reused": 0, "failed": 2}
    again = list(llm.ask(requests))
    assert again == replies
    assert engine.asked[1] == [requests[0], requests[3]]


def test_tokens_and_cost_are_parted_into_paid_and_reused(opened: Opened) -> None:
    prices = Prices(1_000_000, 10_000_000)  # one a token, ten a token
    llm, _ = opened(prices=prices)
    replies = list(llm.ask(_requests(5)))
    total = sum((reply.usage for reply in replies), Usage())
    assert llm.paid.usage == total
    assert llm.paid.cost == total.prompt + 10 * total.completion
    assert llm.reused == client.Spent()
    again, _ = opened(prices=prices)
    more = list(again.ask([*_requests(6), _requests(6)[5]]))
    assert again.reused.requests == 6
    assert again.reused.usage == total + more[-1].usage
    assert again.paid.usage == more[-1].usage
    assert again.measured()["paid_cost"] == more[-1].usage.prompt + 10 * more[-1].usage.completion
    assert again.measured()["reused_completion_tokens"] == (total + more[-1].usage).completion


def test_the_engine_is_opened_when_it_is_needed(opened: Opened, tmp_path: Path) -> None:
    llm, engine = opened()
    list(llm.ask(_requests(3)))
    assert llm.context == 512
    llm.close()
    assert engine.closed == 1

    def never() -> Any:
        raise AssertionError("opened")

    with LLM("model", never, Store(tmp_path / "requests")) as finished:
        assert len(list(finished.ask(_requests(3)))) == 3
        with pytest.raises(AssertionError, match="opened"):
            finished.count("x")


def test_another_model_is_another_request(opened: Opened, hf: Any, tmp_path: Path) -> None:
    llm, _ = opened()
    list(llm.ask(_requests(2)))
    llm.close()
    other = Recorded(hf)
    with LLM("other", lambda: other, Store(tmp_path / "requests")) as asked:
        list(asked.ask(_requests(2)))
    assert other.asked == [_requests(2)]


@pytest.mark.parametrize("groups", [0, 1, 3])
def test_an_engine_that_dies_loses_nothing(opened: Opened, groups: int) -> None:
    whole = list(opened()[0].ask(_requests(20)))
    path = opened()[0].store.path
    path.write_bytes(b"")
    llm, _ = opened(dies_after=groups)
    with pytest.raises(GradirError, match="died"):
        list(llm.ask(_requests(20)))
    assert len(llm.store) == groups * 4
    again, engine = opened()
    assert list(again.ask(_requests(20))) == whole
    assert len(engine.asked[0]) == 20 - groups * 4


def test_an_engine_that_forgets_a_request(opened: Opened) -> None:
    llm, engine = opened()
    run = engine.run
    engine.run = lambda requests: iter([group[1:] for group in run(requests)])  # type: ignore[method-assign,assignment]
    assert [reply.error for reply in llm.ask(_requests(1))] == ["the engine gave no reply"]


ASK = """
import json, sys
from pathlib import Path
from gradir.llm import open_llm
from tests.llm.test_client import _requests
with open_llm(f"hf:{sys.argv[1]}", Path(sys.argv[2]), options=["dtype=float32", "device=cpu", "batch_size=4"]) as llm:
    replies = [reply.as_dict() for reply in llm.ask(_requests(400))]
    print(json.dumps([replies, llm.counts()]))
"""


def _asking(model: Path, folder: Path) -> subprocess.Popen[str]:
    """400 requests to a model, from a process of its own: with other threads than here, sums would differ in their last digit."""
    command = [sys.executable, "-c", ASK, str(model), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _asked(model: Path, folder: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    replies, counts = json.loads(_asking(model, folder).communicate()[0])
    return replies, counts


def test_kill_nine_while_asking(tiny_llm: Path, tmp_path: Path) -> None:
    """Killed twice, then let finish: the replies and the file are those of an uninterrupted run, and nothing is asked twice."""
    whole, _ = _asked(tiny_llm, tmp_path / "whole")
    file = tmp_path / "requests" / "replies.jsonl"
    for _ in range(2):
        enough = _size(file) + 5000
        with _asking(tiny_llm, file.parent) as process:
            while process.poll() is None and _size(file) < enough:
                time.sleep(0.005)
            assert process.poll() is None, "the process was to be killed at work"
            process.kill()
    replies, counts = _asked(tiny_llm, file.parent)
    assert replies == whole
    assert counts["reused"] > 20
    assert counts["asked"] == 400 - counts["reused"] > 20
    keys = [key for line in file.read_text().splitlines() for key in json.loads(line)["keys"]]
    assert len(keys) == len(set(keys)) == 400
    assert file.read_bytes() == (tmp_path / "whole" / "replies.jsonl").read_bytes()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


FINISHED = """
import sys
from pathlib import Path
from gradir.llm import open_llm
from tests.llm.test_client import many
with open_llm(f"hf:{sys.argv[1]}", Path(sys.argv[2])) as llm:
    assert sum(1 for reply in llm.ask(many()) if reply.error is None) == 10_000
    assert llm.counts() == {"asked": 0, "reused": 10_000, "failed": 0}
print(sorted({"torch", "transformers", "tokenizers", "numpy"} & set(sys.modules)))
"""


def many() -> list[Request]:
    return [Request(f"few-shot prompt {i} " * 50, DRAWN) for i in range(10_000)]


def test_a_finished_job_loads_no_model(tiny_llm: Path, tmp_path: Path) -> None:
    reply = Reply((Choice("a query of a few words", "stop", (-0.5,) * 12, ({"a": -0.5},) * 12),), Usage(300, 0, 12))
    with open_llm(f"hf:{tiny_llm}", tmp_path) as llm:
        keys = [request.key(llm.model) for request in many()]
        for start in range(0, len(keys), 16):
            llm.store.put([(key, reply) for key in keys[start : start + 16]])
    done = subprocess.run(
        [sys.executable, "-c", FINISHED, str(tiny_llm), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"

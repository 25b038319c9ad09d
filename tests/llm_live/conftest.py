"""One real vLLM server for the whole suite, a proxy in front of it that can fail, and vLLM in this process.

All this needs an environment of its own (`make test-llm`); where there is no vLLM, nothing here is collected.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

if not find_spec("vllm"):
    collect_ignore_glob = ["test_*.py"]

NAME = "tiny"  # the server's word for the model
CONTEXT = 2048  # gradir's own prompts take up to 1,000 tokens of this tokenizer
_ALONE = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyserini wants a key in the environment, of whatever kind; the server here wants none."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Qwen2 with a chat template, which seldom writes pieces of characters.

    A third of its tokens are such pieces, and answers that hold one are no queries: the commands would keep next to nothing.
    """
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    from tests.llm.tiny import make_tiny

    folder = make_tiny(tmp_path_factory.mktemp("llm") / "tiny", context=CONTEXT)
    tokenizer, weights = AutoTokenizer.from_pretrained(folder), load_file(folder / "model.safetensors")
    pieces = [token for token in range(len(tokenizer)) if "\ufffd" in tokenizer.decode([token])]
    weights["lm_head.weight"][pieces] *= 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class VLLMServer:
    """`vllm serve` of a model on a free port of this machine; brought back if a test has killed it."""

    def __init__(self, model: Path, log: Path):
        self.model, self.log, self.port = model, log, free_port()
        self.host = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.host}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> VLLMServer:
        """Start it if it does not run."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        return self

    def _start(self) -> None:
        # 16 prompts as long as the context are never computed in pieces: the CPU build dies of that where a draw has a seed.
        words = f"""-m vllm.entrypoints.openai.api_server --model {self.model} --served-model-name {NAME}
            --host 127.0.0.1 --port {self.port} --dtype float32 --max-model-len {CONTEXT} --enforce-eager --block-size 32
            --enable-prompt-tokens-details --max-num-seqs 16 --max-num-batched-tokens {16 * CONTEXT}
            --gpu-memory-utilization 0.2"""
        with self.log.open("ab") as log:
            command = [sys.executable, *words.split()]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **_ALONE}, start_new_session=True
            )
        for _ in range(900):
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.host}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"no vLLM server:\n{self.log.read_text(errors='replace')[-5000:]}")

    def kill(self) -> None:
        """kill -9, with all its children."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def the_server(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLMServer]:
    server = VLLMServer(tiny_llm, tmp_path_factory.mktemp("server") / "log")
    yield server
    server.kill()
    shutil.rmtree(server.log.parent)


@pytest.fixture
def server(the_server: VLLMServer) -> VLLMServer:
    """The real server, running."""
    return the_server.ensure()


@pytest.fixture
def proxy(server: VLLMServer) -> Iterator[Any]:
    """A FaultProxy in front of the real server."""
    from tests.llm_live.fault_proxy import FaultProxy

    made = FaultProxy(server.host, free_port())
    yield made
    made.die()


@pytest.fixture
def open_openai() -> Iterator[Callable[..., Any]]:
    """`open_openai(url, **options)`: an engine of the server; closed after the test."""
    from gradir.llm.openai_engine import open_engine

    opened = []

    def make(url: str, model: str = NAME, **options: object) -> Any:
        opened.append(open_engine(model, url, {key: str(value) for key, value in options.items()}))
        return opened[-1]

    yield make
    for engine in opened:
        engine.close()


@pytest.fixture(scope="session")
def offline(tiny_llm: Path) -> Iterator[Any]:
    """vLLM in this process."""
    from gradir.llm.vllm_engine import open_engine

    options = {"dtype": "float32", "max_model_len": str(CONTEXT), "enforce_eager": "true"}
    engine = open_engine(str(tiny_llm), None, {**options, "kv_cache_memory_bytes": str(2**28)})
    yield engine
    engine.close()


class Said(NamedTuple):
    """What a command said: its exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def generate(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`generate("queries", "--corpus", …)`: `gradir generate queries --corpus …`, in this process."""
    from gradir.generate.__main__ import main

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def replies() -> Callable[..., list[Any]]:
    """`replies(engine, requests)`: in the order of the requests, each exactly once."""

    def run(engine: Any, requests: list[Any]) -> list[Any]:
        found = [one for group in engine.run(requests) for one in group]
        assert sorted(place for place, _ in found) == list(range(len(requests)))
        return [reply for _, reply in sorted(found, key=lambda one: one[0])]

    return run

"""Generating: few-shot prompts through vLLM in the process and through a server, in two orders, and a job that is finished.

    make test-llm    # makes .venv-llm, once
    .venv-llm/bin/python -m benchmarks.generate [--quick] [--json FILE]

The model is a random Qwen2 of 31M parameters, in float32: it writes nonsense at the speed of a real one of its size. Documents are
the built-in collection's (`make bench-models` makes it). Whole commands are timed, but for the loading of the model.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks.table import Row, alternate, arguments, ratio_of, show
from gradir.generate.queries_stage import queries
from gradir.llm import vllm_engine
from gradir.llm.records import Request

CACHE = Path(__file__).with_name("cache")
CONTEXT, AT_A_TIME, FINISHED = 2048, 64, 10_000
CORES = os.sched_getaffinity(0)


def collection() -> Path:
    """The built-in collection, which this environment lacks the libraries to make."""
    folder = CACHE / "pydocs"
    if not folder.exists():
        raise SystemExit("the built-in collection is missing: make bench-models")
    return folder


def model_folder() -> Path:
    """A random Qwen2 with a tokenizer learned on the collection; made on first use."""
    folder = CACHE / "qwen2-random-31m"
    if not (folder / "tokenizer.json").exists():
        _make_model(folder)
    return folder


def _make_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    from gradir.data.corpus import read_corpus

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=8192, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    backend.train_from_iterator((document.contents for document in read_corpus(collection())), trainer)
    size = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12}
    config = Qwen2Config(
        vocab_size=8192,
        **size,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        eos_token_id=0,
    )
    torch.manual_seed(13)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>").save_pretrained(folder)


@contextmanager
def all_cores() -> Iterator[None]:
    """What vLLM does in this process binds its threads to a core each, and whatever they start."""
    bound = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, bound)


class Offline:
    """vLLM in this process, loaded once; `gradir generate queries` finds it open."""

    def __init__(self, model: Path):
        options = {"dtype": "float32", "max_model_len": str(CONTEXT), "max_num_seqs": str(AT_A_TIME)}
        self.engine = vllm_engine.open_engine(str(model), None, {**options, "enforce_eager": "true"})
        self.llm = self.engine._llm()
        self.asked: list[Request] = []
        self._run = self.engine.run

    def run(self, requests: Any) -> Iterator[Any]:
        """The engine's run, which notes what it is asked."""
        self.asked = list(requests)
        yield from self._run(requests)

    @contextmanager
    def open(self) -> Iterator[None]:
        """`--llm vllm:` is this engine, and leaves it open."""
        with (
            patch.object(vllm_engine, "open_engine", lambda *_: self.engine),
            patch.object(self.engine, "run", self.run),
            patch.object(self.engine, "close", lambda: None),
        ):
            yield

    def generate(self, requests: list[Request]) -> list[Any]:
        """What a script would do: all prompts in one list."""
        self.llm.reset_prefix_cache()
        parameters = [vllm_engine._parameters(request.sampling) for request in requests]
        prompts: Any = [request.prompt for request in requests]
        found: list[Any] = self.llm.generate(prompts, parameters, use_tqdm=False)
        return found


@contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    """The URL of `vllm serve` with the same model and settings."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    host = f"http://127.0.0.1:{port}"
    # a prefill in pieces ends the CPU build where a draw has a seed
    words = f"""-m vllm.entrypoints.openai.api_server --model {model} --served-model-name bench --host 127.0.0.1 --port {port}
        --dtype float32 --max-model-len {CONTEXT} --max-num-seqs {AT_A_TIME} --enforce-eager --block-size 32
        --enable-prompt-tokens-details --gpu-memory-utilization 0.2 --max-num-batched-tokens {AT_A_TIME * CONTEXT}"""
    # The CPU build's server would leave one core to its other processes, of two; vLLM in this process takes both.
    cores = {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
    environment = {**os.environ, **cores, "VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)  # ours, in this process
    with log.open("wb") as stream, all_cores():
        command = [sys.executable, *words.split()]
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)
    try:
        while not _healthy(host):
            if process.poll() is not None:
                raise SystemExit(f"no server:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)
        yield host
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _healthy(host: str) -> bool:
    try:
        with urllib.request.urlopen(f"{host}/health", timeout=5):
            return True
    except OSError:
        return False


def command(llm: str, output: Path, documents: int, **more: Any) -> Path:
    """`gradir generate queries` with its few-shot prompt. All of the output is made afresh.

    Answers are drawn: the likeliest words of a random model repeat themselves, and such queries are dropped.
    """
    queries(str(collection()), llm, output, documents=documents, max_tokens=32, temperature=1.0, **more)
    return output


def fresh(work: Path) -> Callable[[str], Path]:
    """Names of folders that were not there before."""
    numbers = iter(range(1000))
    return lambda name: work / f"{name}-{next(numbers)}"


def speed_rows(offline: Offline, model: Path, documents: int, rounds: int, work: Path) -> list[Row]:
    """The same prompts through the command, through `LLM.generate`, and through a server."""
    new, told = fresh(work), []

    def ours() -> None:
        offline.llm.reset_prefix_cache()
        with offline.open():
            told.append(command(f"vllm:{model}", new("vllm"), documents))

    def serve(host: str, documents: int = documents) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{host}/reset_prefix_cache", method="POST"), timeout=30).close()
        more = {"base_url": f"{host}/v1", "llm_option": [f"concurrency={2 * AT_A_TIME}"]}
        with all_cores():
            told.append(command("openai:bench", new("server"), documents, **more))

    with served(model, work / "server.log") as host:
        ours(), serve(host)
        asked = offline.asked
        outputs = offline.generate(asked)
        alike = [_alike(folder, outputs) for folder in told]
        # A few prompts before each turn of the other engine, which do not count: neither starts after a minute's rest.
        contenders = {
            "wake": lambda: offline.generate(asked[:32]),
            "ours": ours,
            "theirs": lambda: offline.generate(asked),
            "wake the server": lambda: serve(host, 32),
            "served": lambda: serve(host),
        }
        seconds = alternate(contenders, rounds)
    tokens = sum(len(one.prompt_token_ids) + len(one.outputs[0].token_ids) for one in outputs)
    rates = {name: tokens / median(times) for name, times in seconds.items()}
    note = f"{documents} documents, {tokens / documents:.0f} tokens each; {alike[0]:.1%} of the texts equal"
    work_name = f"gradir generate queries --llm {{}}, {documents} prompts"
    return [
        Row(
            work_name.format("vllm:"),
            "vllm.LLM.generate",
            ratio_of(seconds, "ours", "theirs"),
            0.95,
            True,
            rates["ours"],
            rates["theirs"],
            "tokens/s",
            rounds,
            note,
        ),
        Row(
            work_name.format("openai: (vllm serve)"),
            "gradir generate queries --llm vllm:",
            ratio_of(seconds, "served", "ours"),
            0.85,
            True,
            rates["served"],
            rates["ours"],
            "tokens/s",
            rounds,
            f"the server has processes of its own; {alike[1]:.1%} of the texts equal",
        ),
    ]


def _alike(folder: Path, outputs: list[Any]) -> float:
    """The share of stored answers that are texts of `LLM.generate`: the same work, but for last digits of sums."""
    lines = folder.with_name(f"{folder.name}.requests").joinpath("replies.jsonl").read_text("utf-8").splitlines()
    replies = [reply for line in lines for reply in json.loads(line)["replies"]]
    read, wanted = sum(reply["usage"][0] for reply in replies), sum(len(one.prompt_token_ids) for one in outputs)
    if read != wanted:
        raise SystemExit(f"{folder.name}: prompts of {read:,} tokens, LLM.generate's have {wanted:,}")
    found = Counter(reply["choices"][0]["text"] for reply in replies)
    expected = Counter(one.outputs[0].text for one in outputs)
    share = (found & expected).total() / expected.total()
    if share < 0.99 or found.total() != expected.total():
        raise SystemExit(f"{folder.name}: {1 - share:.1%} of {found.total():,} texts are not LLM.generate's")
    return share


def order_row(offline: Offline, rounds: int) -> Row:
    """Examples before the document, as gradir has them, against the document before the examples."""
    orders = {"ours": offline.asked, "theirs": [_document_first(request) for request in offline.asked]}
    shares = {}
    for name, asked in orders.items():
        outputs = offline.generate(asked)
        prompt = sum(len(one.prompt_token_ids) for one in outputs)
        shares[name] = sum(one.num_cached_tokens or 0 for one in outputs) / prompt
    seconds = alternate({name: lambda asked=asked: offline.generate(asked) for name, asked in orders.items()}, rounds)  # type: ignore[misc]
    rates = {name: len(offline.asked) / median(times) for name, times in seconds.items()}
    note = f"prefix-cache hits {shares['ours']:.1%} and {shares['theirs']:.1%} of the prompts' tokens"
    ratio = ratio_of(seconds, "ours", "theirs")
    return Row(
        "few-shot prompts, examples first",
        "document first",
        ratio,
        1.0,
        True,
        rates["ours"],
        rates["theirs"],
        "prompts/s",
        rounds,
        note,
    )


def _document_first(request: Request) -> Request:
    prompt = str(request.prompt)
    examples, mark, last = prompt.rpartition("Example ")
    document, _, question = (mark + last).rpartition("\n")
    return Request(f"{document}\n\n{examples.strip()}\n\n{question}", request.sampling)


_AGAIN = """
import sys
from gradir.generate.__main__ import main
code = main(sys.argv[1:])
loaded = {"torch", "vllm", "transformers", "aiohttp"} & set(sys.modules)
sys.exit(f"it imports {loaded}" if loaded else code)
"""


def finished_rows(work: Path, rounds: int, requests: int) -> list[Row]:
    """A job of 10,000 requests, typed again when it is finished."""
    corpus = work / "corpus.jsonl"
    lines = (json.dumps({"_id": f"d{i}", "title": "", "text": f"The wing {i} was measured."}) for i in range(requests))
    corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")
    model = _tiny(work / "tiny")
    options = ["dtype=float32", "max_model_len=512", "enforce_eager=true"]
    output = work / "finished"
    words = ["queries", "--corpus", str(corpus), "--llm", f"vllm:{model}", "--output", str(output), "--max-tokens", "2"]
    words += ["--documents", "0", "--llm-option", *options]
    run = lambda: subprocess.run([sys.executable, "-c", _AGAIN, *words], check=True, capture_output=True)  # noqa: E731
    queries(str(corpus), f"vllm:{model}", output, documents=0, max_tokens=2, llm_option=options)
    times = alternate({"again": run}, rounds)["again"]
    seconds = median(times)
    name = f"a finished job of {requests:,} requests, again"
    return [Row(name, "", seconds, 3.0, False, seconds, seconds, "s", rounds, "a process of its own; no model loaded")]


def _tiny(folder: Path) -> Path:
    """The same model with two layers of 32 dimensions."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": 2}
    size = {"hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 512, **heads}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=8192, eos_token_id=0, **size)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder()).save_pretrained(folder)
    return folder


def main() -> None:
    """Run the benchmark."""
    given = arguments(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server ends too
    documents, rounds, requests = (20, 1, 500) if given.quick else (500, 3, FINISHED)
    model = model_folder()
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        work = Path(folder)
        offline = Offline(model)
        rows = speed_rows(offline, model, documents, rounds, work)
        rows.append(order_row(offline, rounds))
        offline.engine.close()
        rows += finished_rows(work, rounds, requests)
    show(rows, given.json)


if __name__ == "__main__":
    main()

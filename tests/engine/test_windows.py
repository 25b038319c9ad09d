"""Windows, workers, token ids and memory: what lies around the model."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradir.data.vectors import SparseVectors
from gradir.engine import batching
from gradir.engine.encoder import Encoder, UnsoundVector
from gradir.engine.memory import out_of_memory
from gradir.engine.tokens import Tokens
from gradir.engine.workers import Workers
from gradir.models.config import EncoderConfig
from gradir.models.folder import open_folder, open_tokenizer

CPU = torch.device("cpu")
FAMILIES = ["bert", "distilbert", "roberta", "modernbert", "xlm-roberta", "qwen2"]
ODD = [
    "",
    " ",
    "wing",
    "a wing spar [SEP] [MASK] of aluminium",
    "\x00\x01",
    "ünïcode Flügel 机翼 👩‍👩‍👧‍👦",
    "wing " * 300,
    "x" * 5000,
]


@pytest.mark.parametrize("family", FAMILIES)
def test_token_ids_are_those_of_the_tokenizer(tiny: Any, family: str, sentences: list[str]) -> None:
    tokenizer = open_tokenizer(tiny(family))
    config = EncoderConfig("dense", "mean", query_prefix="query: ", max_query_length=17, max_passage_length=40)
    for side, prefix, length in (("query", "query: ", 17), ("passage", "", 40)):
        tokens = Tokens(tokenizer, config, side)  # type: ignore[arg-type]
        texts = [*ODD, *sentences]
        wanted = tokenizer([prefix + text for text in texts], truncation=True, max_length=length)["input_ids"]
        assert tokens.ids(texts) == [row or [tokens.padding] for row in wanted]
        assert max(map(len, tokens.ids(texts))) == length


def test_other_calls_of_the_tokenizer_change_nothing(minilm: Path) -> None:
    tokenizer = open_tokenizer(minilm)
    tokens = Tokens(tokenizer, EncoderConfig("dense", "mean", max_passage_length=12), "passage")
    before = tokens.ids(ODD)
    tokenizer(["wing"] * 3, padding="max_length", truncation=True, max_length=5)
    assert tokens.ids(ODD) == before


def test_windows_give_what_single_calls_give(splade_dir: Path, sentences: list[str]) -> None:
    encoder = Encoder.open(splade_dir, "cpu", "float32", batch_tokens=200)
    windows = [sentences[:10], sentences[10:11], [], sentences[11:40]]
    counted: list[int] = []
    made = list(encoder.encode_windows(windows, progress=counted.append))
    assert sum(counted) == 40
    assert len(made) == 4
    for window, vectors in zip(windows, made, strict=True):
        alone = encoder.encode(window)
        assert isinstance(vectors, SparseVectors)
        assert isinstance(alone, SparseVectors)
        np.testing.assert_array_equal(vectors.indptr, alone.indptr)
        np.testing.assert_array_equal(vectors.terms, alone.terms)
        np.testing.assert_array_equal(vectors.impacts, alone.impacts)


def test_the_next_window_is_read_only_when_it_is_needed(minilm: Path) -> None:
    """One window ahead, no more: memory does not grow with the corpus."""
    encoder, read = Encoder.open(minilm, "cpu", "float32"), []

    def windows() -> Any:
        for number in range(5):
            read.append(number)
            yield [f"text {number}"]

    vectors = encoder.encode_windows(windows())
    next(vectors)
    assert read == [0, 1]


def test_an_error_while_reading_windows_comes_through(minilm: Path) -> None:
    def windows() -> Any:
        yield ["wing"]
        raise OSError("the disk is gone")

    encoder = Encoder.open(minilm, "cpu", "float32")
    with pytest.raises(OSError, match="the disk is gone"):
        list(encoder.encode_windows(windows()))


def test_the_last_to_set_the_threads_is_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """MKL's number is the process's, whoever sets it: a worker that comes late must not."""
    caller = threading.get_ident()
    told: list[bool] = []

    def slowly(number: int) -> None:
        if threading.get_ident() != caller:
            time.sleep(0.05 * len(told) + 0.05)
        told.append(threading.get_ident() == caller)

    monkeypatch.setattr(torch, "set_num_threads", slowly)
    workers = Workers(CPU)
    workers.threads = workers.number = 4
    assert list(workers.map(abs, list(range(8)))) == list(range(8))
    time.sleep(0.5)
    assert told == [False] * 4 + [True]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_workers_keep_the_order_and_share_the_cores(number: int) -> None:
    workers = Workers(CPU)
    workers.threads, workers.number = 6, number
    threads: set[tuple[int, int]] = set()

    def work(i: int) -> int:
        threads.add((threading.get_ident(), torch.get_num_threads()))
        return i * i

    before = torch.get_num_threads()
    try:
        assert list(workers.map(work, list(range(40)))) == [i * i for i in range(40)]
    finally:
        torch.set_num_threads(before)
    assert (threading.get_ident() in {ident for ident, _ in threads}) == (number == 1)
    if number > 1:
        assert {share for _, share in threads} == {6 // number}


def test_few_batches_are_the_callers_own_work() -> None:
    workers = Workers(CPU)
    workers.number = 4
    assert set(workers.map(lambda _: threading.get_ident(), list(range(7)))) == {threading.get_ident()}


def test_an_unsound_vector_ends_the_work_of_all(minilm: Path) -> None:
    folder = open_folder(minilm)
    rows = folder.model.get_submodule("backbone.embeddings.word_embeddings")
    with torch.no_grad():
        rows.weight[folder.tokenizer.convert_tokens_to_ids("engine")] = torch.nan  # type: ignore[index,operator]
    encoder = Encoder(folder, "cpu", "float32", batch_tokens=64)
    encoder._workers.number = 2
    texts = [f"a wing of {i} metres" for i in range(50)]
    texts[31] = "engine"
    with pytest.raises(UnsoundVector, match="text 31: "):
        encoder.encode(texts)
    del texts[31]
    assert len(encoder.encode(texts)) == 49


def test_a_batch_too_large_for_the_memory_is_halved(
    splade_dir: Path, sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Encoder.open(splade_dir, "cpu", "float32").encode(sentences)
    encoder = Encoder.open(splade_dir, "cpu", "float32")
    inner, sizes = encoder._vectors, []

    def small(ids: list[list[int]], side: Any) -> Any:
        sizes.append(len(ids))
        if len(ids) > 9:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"
            )
        return inner(ids, side)

    monkeypatch.setattr(encoder, "_vectors", small)
    vectors = encoder.encode(sentences)
    assert isinstance(vectors, SparseVectors)
    assert isinstance(plain, SparseVectors)
    np.testing.assert_array_equal(vectors.terms, plain.terms)
    assert np.abs(vectors.impacts - plain.impacts).max() <= 1
    failed = sum(size > 9 for size in sizes)
    sizes.clear()
    encoder.encode(sentences)
    assert sum(size > 9 for size in sizes) < failed  # what has been too large once is not tried again


def test_a_single_text_too_large_for_the_memory(
    minilm: Path, monkeypatch: pytest.MonkeyPatch, raises_error: Any
) -> None:
    encoder = Encoder.open(minilm, "cpu", "float32")

    def none(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(encoder, "_vectors", none)
    with raises_error("a text of 3 tokens does not fit in the memory of cpu", "--max-length"):
        encoder.encode(["wing", "engine"])


def test_what_is_a_lack_of_memory() -> None:
    assert out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(OSError("not enough memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert out_of_memory(caught.value)


def test_batches_are_filled_up_to_steps_within_the_models_positions() -> None:
    ids = [[7] * 19, [8] * 3]
    for positions, wanted in ((512, 32), (20, 20), (10, 19), (0, 19)):
        block, mask = batching.padded(ids, 9, positions, CPU)
        assert block.shape == mask.shape == (2, wanted)
        assert mask.sum(1).tolist() == [19, 3]
        assert block[0].tolist() == [7] * 19 + [9] * (wanted - 19)
        assert block[1].tolist() == [8] * 3 + [9] * (wanted - 3)


@pytest.mark.parametrize("side", ["query", "passage"])
def test_texts_as_long_as_the_model_takes(tiny: Any, side: Any) -> None:
    """A length that is no multiple of the step, in a model without a position to spare."""
    for positions in (61, 64):
        encoder = Encoder.open(tiny("bert", max_position_embeddings=positions), "cpu", "float32")
        assert np.isfinite(encoder.encode(["wing " * 100, "wing"], side)).all()  # type: ignore[arg-type]


def test_bfloat16_impacts_lie_within_the_tolerances(splade_dir: Path, sentences: list[str]) -> None:
    """Within 4 units, under a tenth of the terms off by more than one."""
    low, full = (Encoder.open(splade_dir, "cpu", dtype).encode(sentences) for dtype in ("bfloat16", "float32"))
    off = []
    for i in range(len(sentences)):
        one, other = (dict(zip(*(part.tolist() for part in vectors.row(i)), strict=True)) for vectors in (low, full))  # type: ignore[union-attr]
        off += [abs(one.get(term, 0) - other.get(term, 0)) for term in one.keys() | other.keys()]
    assert len(off) > 1000
    assert max(off) <= 4
    assert np.mean(np.array(off) > 1) < 0.1


def test_blank_texts_can_be_what_their_special_tokens_expand_to(splade_dir: Path, sentences: list[str]) -> None:
    encoder = Encoder.open(splade_dir, "cpu", "float32", special_tokens="keep")
    assert np.diff(encoder.encode(["", "wing"]).indptr)[0] == 0  # type: ignore[union-attr]
    encoder.empties = False
    assert np.diff(encoder.encode(["", "wing"]).indptr)[0] > 0  # type: ignore[union-attr]

"""Queries without torch give what the whole encoder gives, and neither torch nor transformers is imported for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir import export
from gradir.engine.encoder import Encoder
from gradir.engine.light import LightQueryEncoder
from gradir.engine.quantise import UnsoundVector, quantise, quantise_array
from gradir.errors import GradirError

TEXTS = [
    "",
    "  ",
    "inverse of a matrix",
    "a",
    "Ünïcode naïve café 日本 😀",
    "[CLS] special [MASK]",
    "word " * 400,
    "\u0000",
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> dict[str, Path]:
    """The folders of a real dense encoder and of a SPLADE encoder made of it, with graphs."""
    from gradir.train import init_splade

    root = tmp_path_factory.mktemp("light")
    (root / "corpus.jsonl").write_text('{"_id": "1", "text": "a matrix and its inverse"}\n' * 1)
    init_splade(str(minilm), str(root / "corpus.jsonl"), root / "start", max_length=32)
    export.run(str(minilm), root / "dense", onnx=True)
    export.run(str(root / "start"), root / "splade", onnx=True)
    return {"dense": root / "dense", "splade": root / "splade"}


@pytest.mark.parametrize("changes", [{}, {"max_query_length": 9}, {"query_prefix": "query: "}, {"top_k_query": 5}])
@pytest.mark.parametrize("kind", ["dense", "splade"])
def test_the_vectors_and_the_description_of_the_whole_encoder(
    exported: dict[str, Path], kind: str, changes: dict[str, Any]
) -> None:
    if kind == "dense" and "top_k_query" in changes:
        return
    light = LightQueryEncoder(exported[kind], **changes)
    whole = Encoder.open(exported[kind], "cpu", backend="onnx", **changes)
    ours, theirs = light.encode(TEXTS), whole.encode(TEXTS, "query")
    assert light.description() == whole.description()
    if kind == "dense":
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
        return
    assert light.vocab() == whole.vocab()
    assert light.active_terms == len(ours.terms) > 0
    one, other = (dense_of(vectors, len(light.vocab())) for vectors in (ours, theirs))
    assert np.abs(one - other).max() <= 1  # where a weight lies on the border between two impacts
    assert (one != other).sum() <= 1e-4 * (other > 0).sum()


def dense_of(vectors: Any, terms: int) -> Any:
    found = np.zeros((len(vectors), terms), dtype=np.int64)
    for row in range(len(vectors)):
        names, impacts = vectors.row(row)
        found[row, names] = impacts
    return found


def test_no_queries(exported: dict[str, Path]) -> None:
    assert LightQueryEncoder(exported["dense"]).encode([]).shape == (0, 384)
    assert len(LightQueryEncoder(exported["splade"]).encode([])) == 0


def test_neither_torch_nor_transformers(exported: dict[str, Path]) -> None:
    code = (
        "import sys; from gradir.engine import LightQueryEncoder\n"
        f"e = LightQueryEncoder({str(exported['splade'])!r}); e.encode(['inverse of a matrix']); e.description(); e.vocab()\n"
        "print([name for name in ('torch', 'transformers', 'pyserini') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_which_folders_fit(exported: dict[str, Path], minilm: Path, tmp_path: Path) -> None:
    assert LightQueryEncoder.fits(exported["splade"], "splade")
    assert not LightQueryEncoder.fits(exported["splade"], "dense")
    assert not LightQueryEncoder.fits(minilm, "dense")
    assert not LightQueryEncoder.fits("naver/splade-v3", "splade")


def test_a_graph_of_another_configuration_and_no_room(exported: dict[str, Path]) -> None:
    with pytest.raises(GradirError, match="special_tokens"):
        LightQueryEncoder(exported["splade"], special_tokens="keep")
    with pytest.raises(GradirError, match="no room"):
        LightQueryEncoder(exported["splade"], max_query_length=2)
    with pytest.raises(GradirError, match=r"model_int8.onnx.*--int8"):
        LightQueryEncoder(exported["splade"], int8=True)


@given(
    st.lists(st.lists(st.floats(0, 50, width=32), min_size=7, max_size=7), min_size=1, max_size=4),
    st.sampled_from([None, 1, 3, 7]),
)
def test_impacts_of_arrays_and_of_tensors(rows: list[list[float]], top_k: int | None) -> None:
    import torch

    weights = np.array(rows, np.float32)
    ours, theirs = quantise_array(weights, 51.2, top_k), quantise(torch.tensor(weights), 51.2, top_k)
    for name in ("indptr", "terms", "impacts"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_an_impact_that_is_too_large() -> None:
    weights = np.zeros((3, 4), np.float32)
    weights[1, 2] = 1e9
    with pytest.raises(UnsoundVector, match="text 1"):
        quantise_array(weights, 51.2)

"""`gradir encode`: corpora and topics to vector shards, with kills, changes and full disks in between."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gradir import encode
from gradir.data import vectors as shards
from gradir.data.manifest import read_manifest
from gradir.data.schemas import load
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.encode import parts
from gradir.encode.__main__ import main
from gradir.encode.rows import Row, Texts
from gradir.engine.encoder import Encoder, UnsoundVector

FAST: dict[str, Any] = {"device": "cpu", "dtype": "float32", "part_size": 10}


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but the manifest."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "manifest.json"}


def lasting(folder: Path) -> dict[str, Any]:
    """The manifest without what differs between two equal runs."""
    return {key: value for key, value in read_manifest(folder).items() if key != "measured"}


def test_a_corpus(encoder: str, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "vectors"
    outcome = encode.run(encoder, output, corpus=str(corpus), **FAST)
    found = VectorShards(output)
    assert found.counts == [10] * 6 + [6]
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    docids = [docid for part, _ in found.parts() for docid in part]
    assert docids == [row["_id"] for row in rows]
    manifest = read_manifest(output)
    jsonschema.validate(manifest, load("manifest"))
    expected = Encoder.open(encoder, "cpu", "float32").encode([row["text"] for row in rows])
    if isinstance(expected, SparseVectors):
        parts = [part for _, part in found.sparse_parts()]
        terms, impacts = (np.concatenate([getattr(part, name) for part in parts]) for name in ("terms", "impacts"))
        assert manifest["counts"] == {"texts": 66, "postings": len(terms), "empty": 2}
        assert abs(len(terms) - len(expected.terms)) <= 2  # windows make other batches, whose sums end otherwise
        assert abs(int(impacts.sum()) - int(expected.impacts.sum())) <= 60
        assert found.vocab() == Encoder.open(encoder, "cpu", "float32").vocab()
        assert "--type impact" in outcome.next_command
    else:
        assert manifest["counts"] == {"texts": 66}
        dense = np.concatenate([part for _, part in found.dense_parts()])
        np.testing.assert_allclose(dense, expected, atol=1e-5)
        assert "--type flat" in outcome.next_command


def test_title_and_text_are_encoded(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"_id": "a", "title": "wing", "text": "of aluminium"}\n')
    encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(tmp_path / "c.jsonl"), **FAST)
    (_, vectors), *_ = VectorShards(tmp_path / "v").dense_parts()
    expected = Encoder.open(tiny("bert"), "cpu", "float32").encode(["wing of aluminium"])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_topics(encoder: str, tmp_path: Path) -> None:
    topics = tmp_path / "my topics.tsv"
    topics.write_text("q1\twing spar\nq2\tyeast\n", encoding="utf-8")
    outcome = encode.run(encoder, tmp_path / "v", topics=str(topics), max_length=16, **FAST)
    (qids, _), *rest = VectorShards(tmp_path / "v").parts()
    assert (qids, rest) == (["q1", "q2"], [])
    config = read_manifest(tmp_path / "v")["config"]
    assert (config["side"], config["max_query_length"], config["max_passage_length"]) == ("query", 16, 64)
    assert outcome.next_command.startswith("gradir search --index INDEX --topics '")


def test_an_all_blank_corpus_is_counted_as_such(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": ""}\n{"_id": "b", "text": " "}\n')
    outcome = encode.run(str(tiny("bert", head=True)), tmp_path / "v", corpus=str(tmp_path / "c.jsonl"), **FAST)
    assert read_manifest(tmp_path / "v")["counts"] == {"texts": 2, "postings": 0, "empty": 2}
    assert "0 active terms" in outcome.message


KILLED = """
import os, signal, sys
from pathlib import Path
from gradir import encode
from gradir.data import vectors

whole, calls = vectors.pq.write_table, []

def dying(table, where, **options):
    calls.append(where)
    if len(calls) == 4:
        Path(where).write_bytes(b"PAR1 half a part")
        os.kill(os.getpid(), signal.SIGKILL)
    whole(table, where, **options)

vectors.pq.write_table = dying
encode.run(sys.argv[1], Path(sys.argv[2]), corpus=sys.argv[3], device="cpu", dtype="float32", part_size=10)
"""


def test_a_killed_run_goes_on_and_ends_byte_equal(encoder: str, corpus: Path, tmp_path: Path, monkeypatch: Any) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    encode.run(encoder, whole, corpus=str(corpus), **FAST)
    child = subprocess.run([sys.executable, "-c", KILLED, encoder, str(broken), str(corpus)], capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert len(list(broken.glob("part-*.parquet"))) == 3
    assert len(list(broken.glob(".part-*"))) == 1
    assert not (broken / "manifest.json").exists()
    written = []
    monkeypatch.setattr(parts, "write_part", _noting(shards.write_part, written))
    outcome = encode.run(encoder, broken, corpus=str(corpus), **FAST)
    assert written == [3, 4, 5, 6]
    assert files(broken) == files(whole)
    assert lasting(broken) == lasting(whole)
    assert "66 vectors" in outcome.message
    assert not (broken / "manifest.partial.json").exists()


def _noting(write: Any, written: list[int]) -> Any:
    def noted(folder: Path, number: int, *rest: Any) -> None:
        written.append(number)
        write(folder, number, *rest)

    return noted


def interrupt(monkeypatch: pytest.MonkeyPatch, error: BaseException, part: int = 3) -> None:
    """The next run ends with this error when it writes that part."""
    whole = shards.pq.write_table
    calls: list[Any] = []

    def failing(table: Any, where: Any, **options: Any) -> None:
        calls.append(where)
        if len(calls) == part + 1:
            raise error
        whole(table, where, **options)

    monkeypatch.setattr(shards.pq, "write_table", failing)


def test_the_bar_begins_at_what_was_there(tiny: Any, corpus: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import tqdm

    bars: list[Any] = []

    class Watched(tqdm.tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.at_start = self.n
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Watched)
    with monkeypatch.context() as patch:
        interrupt(patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), **FAST)
    encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), **FAST)
    first, second = bars
    assert (first.initial, first.at_start, first.total) == (0, 0, 66)
    assert (second.initial, second.at_start, second.n) == (30, 30, 66)  # tqdm's rate leaves `initial` out


def test_a_full_disk_leaves_nothing_that_looks_finished(
    encoder: str, corpus: Path, tmp_path: Path, monkeypatch: Any, raises_error: Any
) -> None:
    output = tmp_path / "v"
    with monkeypatch.context() as patch:
        interrupt(patch, OSError(errno.ENOSPC, "No space left on device"))
        with raises_error(f"{output}: cannot be written (No space left on device)", "the same command goes on"):
            encode.run(encoder, output, corpus=str(corpus), **FAST)
    assert not (output / "manifest.json").exists()
    assert list(output.glob(".part-*")) == []
    with raises_error("is not finished"):
        VectorShards(output)
    encode.run(encoder, output, corpus=str(corpus), **FAST)
    assert len(VectorShards(output)) == 66


def test_a_manifest_that_cannot_be_written(
    tiny: Any, corpus: Path, tmp_path: Path, monkeypatch: Any, raises_error: Any
) -> None:
    from gradir.data import manifest

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(manifest.Job, "finish", full)
    with raises_error("No space left on device"):
        encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), **FAST)
    assert not (tmp_path / "v" / "manifest.json").exists()


def test_a_finished_run_does_nothing_again(encoder: str, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "v"
    first = encode.run(encoder, output, corpus=str(corpus), **FAST)
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    again = encode.run(encoder, output, corpus=str(corpus), **FAST)
    assert again.message == f"{output} is finished already; nothing to do"
    assert again.next_command == first.next_command
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before


def test_changes_are_refused_with_the_difference(tiny: Any, corpus: Path, tmp_path: Path, raises_error: Any) -> None:
    output, encoder = tmp_path / "v", str(tiny("bert"))
    encode.run(encoder, output, corpus=str(corpus), **FAST)
    before = files(output)
    for change, said in (
        ({"max_length": 32}, "max_passage_length: 64 -> 32"),
        ({"limit": 5}, "limit: None -> 5"),
        ({"pooling": "cls"}, "pooling: 'mean' -> 'cls'"),
        ({"batch_tokens": 99}, "batch_tokens: "),
        ({"dtype": "bfloat16"}, "dtype: 'float32' -> 'bfloat16'"),
    ):
        with raises_error(f"{output} was made with another configuration", said, "--overwrite"):
            encode.run(encoder, output, corpus=str(corpus), **(FAST | change))
    with raises_error("weights_sha256: "):
        encode.run(str(tiny("bert", hidden_act="relu", initializer_range=0.1)), output, corpus=str(corpus), **FAST)
    assert files(output) == before
    encode.run(encoder, output, corpus=str(corpus), limit=5, overwrite=True, **FAST)
    assert len(VectorShards(output)) == 5


@pytest.mark.parametrize("finished", [True, False])
def test_a_changed_corpus_is_refused(
    tiny: Any, corpus: Path, tmp_path: Path, monkeypatch: Any, raises_error: Any, finished: bool
) -> None:
    output = tmp_path / "v"
    with monkeypatch.context() as patch:
        if not finished:
            interrupt(patch, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                encode.run(str(tiny("bert")), output, corpus=str(corpus), **FAST)
        else:
            encode.run(str(tiny("bert")), output, corpus=str(corpus), **FAST)
    corpus.write_text(corpus.read_text().replace("asthma", "fever"))
    with raises_error(f"input {corpus} -> {corpus}: other content", "--overwrite"):
        encode.run(str(tiny("bert")), output, corpus=str(corpus), **FAST)


def test_parts_of_other_documents_are_refused(tiny: Any, corpus: Path, tmp_path: Path, raises_error: Any) -> None:
    """The last guard, where the corpus has no file that could be compared."""
    output = tmp_path / "v"
    encode.run(str(tiny("bert")), output, corpus=str(corpus), **FAST)
    (output / "manifest.json").rename(output / "manifest.partial.json")
    (output / "part-00001.parquet").write_bytes((output / "part-00000.parquet").read_bytes())
    with raises_error("part-00001.parquet: other ids than in the input"):
        encode.run(str(tiny("bert")), output, corpus=str(corpus), **FAST)


def test_a_part_that_was_removed_is_made_again(tiny: Any, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "v"
    encode.run(str(tiny("bert")), output, corpus=str(corpus), **FAST)
    before = files(output)
    (output / "manifest.json").rename(output / "manifest.partial.json")
    (output / "part-00002.parquet").unlink()
    encode.run(str(tiny("bert")), output, corpus=str(corpus), **FAST)
    assert files(output) == before


def test_only_the_corpus_of_a_beir_folder_counts(tiny: Any, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    folder.mkdir()
    corpus.rename(folder / "corpus.jsonl")
    encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(folder), **FAST)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "later"}\n')
    assert "nothing to do" in encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(folder), **FAST).message


def test_the_first_texts(encoder: str, corpus: Path, tmp_path: Path, raises_error: Any) -> None:
    encode.run(encoder, tmp_path / "v", corpus=str(corpus), limit=13, **FAST)
    assert VectorShards(tmp_path / "v").counts == [10, 3]
    for wrong in (0, -1):
        with raises_error(f"--limit {wrong}"):
            encode.run(encoder, tmp_path / "w", corpus=str(corpus), limit=wrong, **FAST)


def test_a_corpus_or_topics(tmp_path: Path, raises_error: Any) -> None:
    for sources in ({}, {"corpus": "a", "topics": "b"}):
        with raises_error("give either --corpus or --topics"):
            encode.run("encoder", tmp_path / "v", **sources)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["corpus", "topics"])
def test_a_wrong_path_is_told_before_the_model_is_loaded(
    tmp_path: Path, raises_error: Any, monkeypatch: Any, source: str
) -> None:
    monkeypatch.setattr(Encoder, "open", lambda *_, **__: pytest.fail("the model was loaded"))
    with raises_error(str(tmp_path / "nothing.jsonl")):
        encode.run("encoder", tmp_path / "v", **{source: str(tmp_path / "nothing.jsonl")})  # type: ignore[arg-type]
    assert not (tmp_path / "v").exists()


def test_a_damaged_line_ends_the_run_unfinished(tiny: Any, corpus: Path, tmp_path: Path, raises_error: Any) -> None:
    with corpus.open("a") as stream:
        stream.write("{broken\n")
    with raises_error(f"{corpus}:67: not a JSON object"):
        encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), **FAST)
    assert not (tmp_path / "v" / "manifest.json").exists()


@pytest.mark.parametrize("head", [False, True])
def test_unsound_weights_name_the_document(tiny: Any, corpus: Path, tmp_path: Path, head: bool) -> None:
    folder = Path(shutil.copytree(tiny("bert", head=head), tmp_path / "encoder"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    opened = Encoder.open(folder, "cpu", "float32")
    token = opened.tokenizer.convert_tokens_to_ids("asthma")
    weights[name][token] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    sick = [f"d{i}" for i, line in enumerate(corpus.read_text().splitlines()) if "asthma" in line]
    first = 0 if head else 20  # the decoder of SPLADE is tied: that term is unsound in every text
    with pytest.raises(UnsoundVector, match=r"its vector holds NaN.*--dtype float32") as caught:
        encode.run(str(folder), tmp_path / "v", corpus=str(corpus), **FAST)
    named = str(caught.value).split(":")[0].removeprefix("document ")
    assert named in ({f"d{i}" for i in range(10)} if head else sick[:6])
    assert len(list((tmp_path / "v").glob("part-*"))) == first // 10
    assert not (tmp_path / "v" / "manifest.json").exists()


def test_few_windows_of_texts_are_in_memory(tiny: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A window is read while the one before is encoded and the one before that is written."""
    ahead = []

    def rows(self: Texts) -> Any:
        for i in range(95):
            ahead.append(i // 10 - len(list((tmp_path / "v").glob("part-*.parquet"))))
            yield Row(f"d{i}", "wing", "wing")

    (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": "a"}\n')
    monkeypatch.setattr(Texts, "rows", rows)
    encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(tmp_path / "c.jsonl"), **FAST)
    assert max(ahead) <= 4
    assert len(VectorShards(tmp_path / "v")) == 95


def test_the_command(tiny: Any, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", str(tiny("bert")), "--corpus", str(corpus), "--embeddings", str(tmp_path / "v"), "--limit", "3"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err.splitlines()[-1] == f"next: gradir index --input {tmp_path / 'v'} --type flat --output index/NAME"
    )
    assert "3 vectors" in captured.err.splitlines()[-2]
    assert main([*words[:-2], "--limit", "4"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


LIGHT = """
import sys
from importlib import import_module
sys.argv = [*sys.argv[1:]]
try:
    import_module(sys.argv[0]).main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "transformers", "tokenizers", "pyserini", "pyarrow", "numpy", "jnius"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "words",
    [
        ("gradir.encode.__main__", "--help"),
        ("gradir.cli", "encode", "--help"),
        ("gradir.train.__main__", "init-splade", "--help"),
    ],
)
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    child = subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "--corpus" in child.stdout


def test_python_m_gradir_encode() -> None:
    child = subprocess.run([sys.executable, "-m", "gradir.encode", "--help"], capture_output=True, text=True)
    assert child.returncode == 0
    assert "usage: gradir encode" in child.stdout

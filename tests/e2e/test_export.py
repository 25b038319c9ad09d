"""Exported encoders in an existing Pyserini: the commands of their model cards, as written, and the runs they give."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradir import jvm
from gradir.data.runs import read_run
from gradir.encode.__main__ import main as encode
from gradir.export import run as export
from gradir.index.__main__ import main as index
from gradir.search.__main__ import main as search

QUERIES = {"q1": "a wing spar", "q2": "boundary layer of a flat plate", "q3": "what was measured"}
FOLDERS = {"splade": "graded-relevance/splade-x", "dense": "graded-relevance/minilm"}  # Pyserini would see `ance`


def shell() -> dict[str, str]:
    """A shell in which Pyserini works, prepared as its users do it: nothing of gradir's is in it."""
    java = jvm.find_java()
    place = Path(str(importlib.util.find_spec("pyserini").origin)).parent  # type: ignore[union-attr]
    path = [str(java.home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        **os.environ,
        "JAVA_HOME": str(java.home),
        "JVM_PATH": str(java.home / "lib" / "server" / "libjvm.so"),
        "PATH": os.pathsep.join(path),
        "OPENAI_API_KEY": "unused",
        "ANSERINI_CLASSPATH": "/nonexistent",  # Pyserini then asks for no module that this runtime has not
        "CLASSPATH": str(next((place / "resources" / "jars").glob("anserini-*-fatjar.jar"))),
        "OMP_NUM_THREADS": "1",
    }


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    words = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(["bash", "-euxc", script], cwd=folder, env=shell(), **words)  # type: ignore[call-overload]


def blocks(path: Path, heading: str = "") -> str:
    """The shell commands below a heading of a README."""
    text = path.read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0] if heading else text
    return "\n".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))


@pytest.fixture(scope="module")
def work(
    splade_dir: Path, minilm: Path, corpus_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, subprocess.Popen[str]]]]:
    """A folder with a corpus, topics, qrels and both encoders; the commands of their cards, at work side by side."""
    folder = tmp_path_factory.mktemp("work")
    before = Path.cwd()
    os.chdir(folder)  # the cards name the encoders as they were named here
    try:
        export(str(splade_dir), Path(FOLDERS["splade"]), anserini=True)
        export(str(minilm), Path(FOLDERS["dense"]))
    finally:
        os.chdir(before)
    started = {}
    for kind, encoder in FOLDERS.items():
        place = folder / kind
        place.mkdir()
        (place / "graded-relevance").symlink_to(folder / "graded-relevance")
        (place / "corpus.jsonl").write_bytes(corpus_file.read_bytes())
        (place / "topics.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in QUERIES.items()))
        (place / "qrels.txt").write_text("".join(f"{qid} 0 d{i} 1\n" for i, qid in enumerate(QUERIES)))
        started[kind] = start(blocks(folder / encoder / "README.md", "Pyserini"), place)
    yield folder, started
    for process in started.values():
        process.kill()


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_command_of_pyserini_runs_and_the_run_is_ours(work: Any, kind: str) -> None:
    folder, started = work
    place, encoder = folder / kind, str(folder / FOLDERS[kind])
    output, _ = started[kind].communicate()
    assert started[kind].returncode == 0, output[-4000:]
    assert "ndcg_cut_10" in output
    wanted = ours(place, encoder, "impact" if kind == "splade" else "flat")
    same_run(place / "run.pyserini.trec", wanted, 0.02 if kind == "splade" else 1e-4)


def ours(place: Path, encoder: str, kind: str) -> Path:
    """gradir's run of the same topics, in float32."""
    paths = {name: str(place / name) for name in ("corpus.jsonl", "vectors", "index", "topics.tsv", "run.trec")}
    exact = ["--encoder", encoder, "--dtype", "float32"]
    assert encode([*exact, "--corpus", paths["corpus.jsonl"], "--output", paths["vectors"]]) == 0
    assert index(["--input", paths["vectors"], "--type", kind, "--output", paths["index"]]) == 0
    asked = ["--index", paths["index"], "--topics", paths["topics.tsv"], "--output", paths["run.trec"]]
    assert search([*exact, *asked]) == 0
    return place / "run.trec"


def same_run(theirs: Path, wanted: Path, within: float) -> None:
    """Equal documents and scores; the share of a score by which they may differ is `within`."""
    found, expected = (
        {qid: {hit.docid: hit.score for hit in hits} for qid, hits in read_run(path).items()}
        for path in (theirs, wanted)
    )
    assert found.keys() == expected.keys() == QUERIES.keys()
    for qid, scores in expected.items():
        assert found[qid].keys() == scores.keys()
        for docid, score in scores.items():
            assert found[qid][docid] == pytest.approx(score, rel=within, abs=within), (qid, docid)


def test_the_java_encoder_of_anserini_gives_the_run_too(work: Any) -> None:
    """As anserini/README.md has it, with the index that Pyserini made."""
    folder, started = work
    started["splade"].wait()
    place, variant = folder / "splade", folder / FOLDERS["splade"] / "anserini"
    script = blocks(variant / "README.md").replace("INDEX", "pyserini-impact").replace("TOPICS", "topics.tsv")
    for name in ("model.onnx", "vocab.txt"):
        (place / name).symlink_to(variant / name)
    script = script.replace("--output run.trec", "--output run.java.trec")
    process = start(script, place)
    output, _ = process.communicate()
    assert process.returncode == 0, output[-4000:]
    same_run(place / "run.java.trec", place / "run.pyserini.trec", 0.02)

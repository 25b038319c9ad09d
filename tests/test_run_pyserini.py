"""`gradir pyserini`: unmodified Pyserini commands, on machines whose Java is missing or too old."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradir import run_pyserini

DOCUMENTS: list[tuple[str, dict[str, int]]] = [
    ("d1", {"wing": 10, "spar": 5}),
    ("d2", {"wing": 3, "##ing": 7}),
    ("d3", {"bird": 4}),
    ("d4", {f"t{number}": 1 for number in range(1500)}),
]


def gradir_pyserini(*words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command where `path` is all of PATH and JAVA_HOME is not set."""
    hidden = ("JAVA_HOME", "JVM_PATH", "CLASSPATH", "ANSERINI_CLASSPATH", "OPENAI_API_KEY")
    known = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-m", "gradir.cli", "pyserini", *words]
    return subprocess.run(command, env=known | {"PATH": path}, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def old_java(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH whose `java` is version 17 and runs nothing."""
    folder = tmp_path_factory.mktemp("seventeen")
    (folder / "java").write_text("#!/bin/sh\necho 'openjdk version \"17.0.15\"' >&2\nexit 1\n")
    (folder / "java").chmod(0o755)
    return str(folder)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An impact index that Pyserini's own command wrote."""
    root = tmp_path_factory.mktemp("impact")
    (root / "vectors").mkdir()
    lines = [json.dumps({"id": docid, "contents": "", "vector": vector}) for docid, vector in DOCUMENTS]
    (root / "vectors" / "part.jsonl").write_text("\n".join(lines))
    done = gradir_pyserini(
        *("pyserini.index.lucene", "--collection", "JsonVectorCollection", "--threads", "1"),
        *("--input", str(root / "vectors"), "--index", str(root / "index")),
        *("--generator", "DefaultLuceneDocumentGenerator", "--impact", "--pretokenized"),
    )
    assert done.returncode == 0, done.stderr
    return root / "index"


def test_an_unmodified_search_and_evaluation_give_the_sums_by_hand(index: Path, tmp_path: Path, old_java: str) -> None:
    topics, run, qrels = tmp_path / "topics.tsv", tmp_path / "run.trec", tmp_path / "qrels.trec"
    topics.write_text("q1\twing wing spar\nq2\tbird\n")  # a token's weight is how often it stands there
    qrels.write_text("q1 0 d1 0\nq1 0 d2 1\nq2 0 d3 2\n")
    # The deprecated `search` opens a shell that runs `python -m pyserini.search.lucene`, with the old Java at hand.
    searched = gradir_pyserini(
        *("search", "--impact", "--index", str(index), "--topics", str(topics), "--output", str(run)),
        *("--hits", "10", "--min-idf", "-1"),
        path=os.pathsep.join([old_java, "/usr/bin", "/bin"]),
    )
    assert searched.returncode == 0, searched.stderr
    assert [line.split()[:5] for line in run.read_text().splitlines()] == [
        ["q1", "Q0", "d1", "1", "25.000000"],
        ["q1", "Q0", "d2", "2", "6.000000"],
        ["q2", "Q0", "d3", "1", "4.000000"],
    ]
    # q1: the relevant document is second: 1 / log2(3); q2: 1.
    for path in ("", old_java):
        evaluated = gradir_pyserini("eval.trec_eval", "-c", "-m", "ndcg_cut.10", str(qrels), str(run), path=path)
        assert evaluated.returncode == 0, evaluated.stderr
        assert evaluated.stdout.split() == ["ndcg_cut_10", "all", f"{(0.63092975 + 1) / 2:.4f}"]


SEARCH = """
import sys
from gradir import jvm
jvm.ensure()
from pyserini.search.lucene import LuceneImpactSearcher
class Queries:
    def encode(self, text, **_):
        return {"wing": 2, "spar": 1} if text == "short" else {f"t{number}": 2 for number in range(1500)}
searcher = LuceneImpactSearcher(sys.argv[1], Queries(), min_idf=-1)
for query in ("short", "long"):
    print(*(f"{hit.docid}={hit.score}" for hit in searcher.search(query, k=10)))
"""


def test_an_unmodified_searcher_after_ensure_is_exact_and_takes_long_queries(index: Path) -> None:
    known = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "OPENAI_API_KEY")}
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(index)], env=known, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["d1=25.0 d2=6.0", "d4=3000.0"], done.stderr


def test_help_is_quick_and_shows_three_examples() -> None:
    start = time.perf_counter()
    done = gradir_pyserini("--help")
    assert time.perf_counter() - start < 0.5
    assert done.returncode == 0
    assert done.stdout.count("  gradir pyserini ") == 3
    assert done.stderr == ""


def test_no_module_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_pyserini.main([]) == 2
    assert "usage: gradir pyserini MODULE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("serch.lucene", "Did you mean search.lucene"),
        ("pyserini.trec_eval", "Did you mean eval.trec_eval?"),
        ("eval", "It has eval.convert"),
        ("zzzz", "fusion, index,"),
        ("../search", "Did you mean search?"),
        ("/etc", "search.lucene"),
    ],
)
def test_an_unknown_module_names_those_near_it(capsys: pytest.CaptureFixture[str], name: str, hint: str) -> None:
    assert run_pyserini.main([name]) == 2
    text = capsys.readouterr().err
    assert text.startswith(f"error: Pyserini has no command '{name.removeprefix('pyserini.')}'. ")
    assert hint in text


def test_the_commands_are_found_without_importing_pyserini() -> None:
    code = "import sys\nfrom gradir.run_pyserini import commands\nprint(*commands())\nprint('pyserini' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    found, imported = done.stdout.splitlines()
    assert {"encode", "search.lucene", "index.lucene", "eval.trec_eval", "fusion"} <= set(found.split())
    assert imported == "False"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("", 0, ""),
        ("raise SystemExit", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no such index')", 1, "no such index\n"),
        ("import sys; sys.exit(len(sys.argv[1:]))", 2, ""),
        ("raise SystemExit(__name__ != '__main__')", 0, ""),
    ],
)
def test_the_exit_code_is_the_modules_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    body: str,
    code: int,
    text: str,
) -> None:
    (tmp_path / "ends_somehow.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.argv)
    assert run_pyserini._run("ends_somehow", ["a", "b"]) == code
    assert capsys.readouterr().err == text
    assert sys.argv == before


def test_an_exception_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks_somehow.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_pyserini._run("breaks_somehow", [])


def test_wrong_flags_give_pyserinis_exit_code() -> None:
    done = gradir_pyserini("fusion", "--no-such-flag")
    assert done.returncode == 2
    assert "the following arguments are required: --runs" in done.stderr

"""Two real runs that differ for one known reason, and what `gradir evaluate parity` says of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from gradir import index as index_stage
from gradir import jvm
from gradir.data import Hit, run_writer
from gradir.data.vectors import write_part, write_vocab
from gradir.engine import DenseQueryEncoder, Encoder, SparseQueryEncoder
from gradir.evaluate import parity
from gradir.evaluate.__main__ import main
from gradir.evaluate.differences import difference
from gradir.models.config import EncoderConfig, write_config

Searched = Callable[..., Path]
LENGTHS = {"max_query_length": 512, "max_passage_length": 512}


@pytest.fixture(scope="module")
def texts(sentences: list[str]) -> dict[str, str]:
    """64 short documents, 6 long ones, four of the same text, one whose id is a query's."""
    short = {f"d{i}": text for i, text in enumerate(sentences)}
    long = {f"long{i}": " ".join(sentences[i * 9 : i * 9 + 12]) for i in range(6)}
    return short | long | {f"twin{i}": sentences[5] for i in range(3)} | {"q1": sentences[20]}


@pytest.fixture(scope="module")
def queries(sentences: list[str]) -> dict[str, str]:
    """Six short queries, and one of more than 256 tokens."""
    return {f"q{i}": sentences[i * 7].split(" was")[0] for i in range(1, 7)} | {"q7": " ".join(sentences[:40])}


@pytest.fixture(scope="module")
def topics(queries: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("topics") / "topics.tsv"
    path.write_text("".join(f"{qid}\t{text}\n" for qid, text in queries.items()))
    return str(path)


@pytest.fixture(scope="module")
def corpus(texts: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("texts") / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": docid, "text": text}) + "\n" for docid, text in texts.items()))
    return str(path)


@pytest.fixture(scope="module")
def encoder(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random SPLADE encoder that keeps special tokens and reads 600 tokens."""
    folder = tmp_path_factory.mktemp("encoders") / "splade"
    shutil.copytree(tiny("bert", head=True, max_position_embeddings=600), folder)
    write_config(folder, EncoderConfig(kind="splade", pooling="max", special_tokens="keep", **LENGTHS))
    return str(folder)


@pytest.fixture(scope="module")
def dense(tiny: Any) -> Path:
    return tiny("bert", max_position_embeddings=600)


@pytest.fixture(scope="module")
def indexed(encoder: str, texts: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The impact index of the documents, their encoder opened as asked for; each is made once."""
    made: dict[str, Path] = {}

    def make(**opening: Any) -> Path:
        key = repr(opening)
        if key not in made:
            opened = Encoder.open(encoder, "cpu", "float32", **opening)
            root = tmp_path_factory.mktemp("index")
            write_vocab(root / "v", opened.vocab())
            vectors = opened.encode(list(texts.values()))
            vectors.impacts[vectors.terms % 3 == 0] += 1  # fewer ties between random vectors
            write_part(root / "v", 0, list(texts), vectors, opened.description())
            index_stage.run(root / "v", root / "i", "impact")
            made[key] = root / "i"
        return made[key]

    return make


@pytest.fixture
def searched(tmp_path: Path, encoder: str, queries: dict[str, str], indexed: Callable[..., Path]) -> Searched:
    """A run by Pyserini's own impact searcher, in gradir's file or (`plain`) in Pyserini's."""

    def search(
        name: str, index: Path | None = None, min_idf: int = -1, hits: int = 50, plain: bool = False, **opening: Any
    ) -> Path:
        jvm.ensure()
        from pyserini.output_writer import OutputFormat, get_output_writer
        from pyserini.search.lucene import LuceneImpactSearcher

        query_encoder = SparseQueryEncoder(encoder, device="cpu", dtype="float32", **opening)
        searcher = LuceneImpactSearcher(str(index or indexed()), query_encoder, min_idf=min_idf)
        found = {qid: searcher.search(text, hits) for qid, text in queries.items()}
        if plain:
            with get_output_writer(
                str(tmp_path / name), OutputFormat.TREC, "w", max_hits=hits, tag="p", topics=queries
            ) as w:
                for qid, lines in found.items():
                    w.write(qid, lines)
            return tmp_path / name
        return write(
            tmp_path / name, {qid: [Hit(hit.docid, hit.score) for hit in lines] for qid, lines in found.items()}
        )

    return search


def write(path: Path, found: dict[str, Sequence[Hit]]) -> Path:
    with run_writer(path, "t") as writer:
        for qid, hits in found.items():
            writer.write(qid, hits)
    return path


def edited(path: Path, change: Callable[[list[str]], list[str] | None], to: str = "edited") -> Path:
    """A run with each line's columns changed, or the line left out."""
    rows = (change(line.split()) for line in path.read_text().splitlines())
    (path.parent / to).write_text("".join(" ".join(row) + "\n" for row in rows if row is not None))
    return path.parent / to


def said(a: Path, b: Path, **more: Any) -> tuple[dict[str, tuple[str, int]], str]:
    """({cause: (verdict, queries)}, the last line)."""
    lines = parity.run(a, b, **more).text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("cause ")), len(lines) - 1)
    rows = [line.split("  ") for line in lines[start + 1 : -1]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {row[0]: (row[1], int(row[2])) for row in cells}, lines[-1]


def test_equal_runs_are_said_to_be_equal(searched: Searched) -> None:
    lines = parity.run(searched("a"), searched("b")).text.splitlines()
    assert lines[0] == "7 queries, 7 in both runs, 0 only in A, 0 only in B; 0 differ"
    assert lines[1] == "overlap@10 1.0000, Kendall's tau 1.0000, largest difference of a score 0"
    assert lines[-1] == "the runs are equal"


def test_scale(searched: Searched) -> None:
    verdicts, last = said(searched("a", impact_scale=100.0), searched("b", impact_scale=51.2))
    assert verdicts["scale"] == ("yes", 7)
    assert last.startswith("most likely cause: scale (7 of 7 queries: scores in B are 0.51")
    assert "51.2 for 100 on one side" in last


def test_scale_of_both_sides(searched: Searched, indexed: Callable[..., Path]) -> None:
    a = searched("a", indexed(impact_scale=100.0), impact_scale=100.0)
    verdicts, last = said(a, searched("b"))
    assert verdicts["scale"] == ("yes", 7)
    assert "51.2 for 100 on both sides" in last


def test_lucenes_dense_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    scores = {f"q{i}": rng.normal(scale=0.3, size=30) for i in range(4)}
    a = write(tmp_path / "a", {qid: [Hit(f"d{n}", s) for n, s in enumerate(row)] for qid, row in scores.items()})
    b = write(
        tmp_path / "b", {qid: [Hit(f"d{n}", (1 + s) / 2) for n, s in enumerate(row)] for qid, row in scores.items()}
    )
    verdicts, last = said(a, b)
    assert verdicts["scale"] == ("yes", 4)
    assert "(1 + s) / 2" in last


def test_special_tokens(searched: Searched, indexed: Callable[..., Path], topics: str, encoder: str) -> None:
    a, b = searched("a", special_tokens="keep"), searched("b", special_tokens="drop")
    alone, last = said(a, b)
    assert alone["min_idf"][0] == "?"
    assert "possibly" in last
    verdicts, last = said(a, b, topics=topics, index=indexed(), encoder=encoder)
    assert verdicts["special tokens"] == ("yes", 7)
    assert {verdict for cause, (verdict, _) in verdicts.items() if cause != "special tokens"} == {"no"}
    assert "special tokens (7 of 7 queries: special_tokens keep gives A, drop gives B" in last


def test_special_tokens_that_add_the_same_to_all_documents(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    found = {f"q{i}": [Hit(f"d{n}", float(s)) for n, s in enumerate(rng.integers(500, 900, 40))] for i in range(4)}
    more = {
        qid: [Hit(d, s + 300 + 9 * int(qid[1:]) + rng.integers(0, 20)) for d, s in hits] for qid, hits in found.items()
    }
    verdicts, last = said(write(tmp_path / "a", found), write(tmp_path / "b", more))
    assert verdicts["special tokens"] == ("?", 4)
    assert last.startswith("most likely cause: possibly special tokens (4 of 4")


def test_min_idf(searched: Searched, indexed: Callable[..., Path], topics: str, encoder: str) -> None:
    a, b = searched("a", min_idf=-1), searched("b", min_idf=0)
    verdicts, last = said(a, b, topics=topics, index=indexed(), encoder=encoder)
    assert verdicts["min_idf"] == ("yes", 7)
    assert {verdict for cause, (verdict, _) in verdicts.items() if cause != "min_idf"} == {"no"}
    assert "min_idf -1 gives A, 0 gives B" in last


def test_lengths_of_queries(searched: Searched, indexed: Callable[..., Path], topics: str, encoder: str) -> None:
    a, b = searched("a", max_query_length=256), searched("b", max_query_length=512)
    verdicts, last = said(a, b, topics=topics)
    assert verdicts["lengths of queries"] == ("yes", 1)
    assert "query q7" in last
    verdicts, last = said(a, b, topics=topics, index=indexed(), encoder=encoder)
    assert verdicts["lengths of queries"] == ("yes", 1)
    assert "length 256 gives A, 512 gives B" in last


def test_lengths_of_documents(
    searched: Searched, indexed: Callable[..., Path], corpus: str, topics: str, encoder: str
) -> None:
    a, b = searched("a", indexed(max_passage_length=40), hits=80), searched("b", hits=80)
    alone, _ = said(a, b)
    assert alone["lengths of documents"] == ("?", 7)
    verdicts, last = said(a, b, corpus=corpus)
    assert verdicts["lengths of documents"] == ("yes", 7)
    assert "lengths of documents (7 of 7" in last
    assert "6 of 74 documents differ" in last
    again = parity.run(a, b, topics=topics, index=indexed(), encoder=encoder).text
    assert "no setting of the query side gives the scores of A: were the documents encoded in another way?" in again


def test_removed_query(searched: Searched) -> None:
    a = searched("a", hits=80)
    verdicts, last = said(a, edited(a, lambda row: None if row[0] == row[2] else row))
    assert verdicts["removed query"] == ("yes", 1)
    assert "own id is only in A" in last


def test_hits(searched: Searched) -> None:
    verdicts, last = said(searched("a", hits=50), searched("b", hits=10))
    assert verdicts["hits"] == ("yes", 7)
    assert "at most 50 documents in A, 10 in B" in last


def test_ties(searched: Searched) -> None:
    a, b = searched("a", hits=80), searched("b", hits=80, plain=True)
    assert "twin0" in a.read_text()
    verdicts, last = said(a, b)
    assert verdicts["ties"] == ("yes", 7)
    assert last.startswith("most likely cause: ties")


def test_queries_missing(searched: Searched) -> None:
    a = searched("a")
    verdicts, last = said(a, edited(a, lambda row: None if row[0] in ("q2", "q5") else row))
    assert verdicts["queries missing"] == ("yes", 2)
    assert "2 only in A, 0 only in B; first: q2" in last
    zeros = edited(a, lambda row: [row[0].replace("q", "00"), *row[1:]], "zeros")
    verdicts, last = said(zeros, edited(a, lambda row: [row[0].replace("q", ""), *row[1:]], "numbers"))
    assert verdicts["queries missing"] == ("yes", 14)
    assert "7 are the same number with other zeros" in last


@pytest.fixture
def dense_run(
    tmp_path: Path, dense: Path, texts: dict[str, str], queries: dict[str, str]
) -> Callable[[str, str], Path]:
    """A run by Pyserini's own FAISS searcher, queries encoded in a number format."""

    def search(name: str, dtype: str) -> Path:
        import faiss

        jvm.ensure()
        from pyserini.search.faiss import FaissSearcher

        vectors = Encoder.open(dense, "cpu", "float32").encode(list(texts.values()))
        folder = tmp_path / "flat"
        folder.mkdir(exist_ok=True)
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        faiss.write_index(flat, str(folder / "index"))
        (folder / "docid").write_text("".join(f"{docid}\n" for docid in texts))
        searcher = FaissSearcher(str(folder), DenseQueryEncoder(dense, device="cpu", dtype=dtype))
        found = searcher.batch_search(list(queries.values()), list(queries), k=60)
        return write(tmp_path / name, {qid: [Hit(hit.docid, hit.score) for hit in hits] for qid, hits in found.items()})

    return search


def test_rounding_of_scores(dense_run: Callable[[str, str], Path]) -> None:
    a = dense_run("a", "float32")
    b = edited(a, lambda row: [*row[:4], f"{float(row[4]):.3f}", row[5]])
    verdicts, last = said(a, b)
    assert verdicts["rounding of scores"] == ("yes", 7)
    assert "6 decimals in A, 3 in B" in last


def test_number_format(dense_run: Callable[[str, str], Path]) -> None:
    verdicts, last = said(dense_run("a", "float32"), dense_run("b", "bfloat16"))
    assert verdicts["number format"][1] >= 5
    assert last.startswith("most likely cause: number format")


def test_another_model_is_no_known_cause(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    runs = [
        write(tmp_path / name, {f"q{i}": [Hit(f"d{n}", s) for n, s in enumerate(rng.random(30))] for i in range(4)})
        for name in "ab"
    ]
    verdicts, last = said(*runs)
    assert {verdict for verdict, _ in verdicts.values()} == {"no"}
    assert last.startswith("most likely cause: none that is known")


def test_the_facts_of_one_query() -> None:
    a = [Hit("a", 3.0), Hit("b", 2.0), Hit("c", 1.0), Hit("d", 0.5)]
    b = [Hit("b", 2.5), Hit("a", 2.0), Hit("c", 1.0), Hit("e", 0.7)]
    found = difference("q", a, b)
    assert (found.changed, found.unchanged, found.reordered, found.largest) == (["a", "b"], ["c"], True, 1.0)
    assert found.overlap == 0.75
    assert found.tau == pytest.approx(kendalltau([3, 2, 1], [2, 2.5, 1]).statistic)
    assert not found.only_ties
    lowered = [Hit("a", 20.0), Hit("b", 19.999998), Hit("c", 19.999996), Hit("d", 4.0)]
    equal = [Hit("c", 20.0), Hit("b", 20.0), Hit("a", 20.0), Hit("d", 4.0)]
    found = difference("q", lowered, equal)
    assert found.scores_equal
    assert found.only_ties
    assert not difference("q", a, [*a[:3], Hit("x", 0.4)]).only_ties
    assert difference("q", [*lowered[:2]], equal[:1] + equal[2:3]).only_ties


def test_the_command(searched: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "qrels").write_text("q1 0 d3 1\n")
    a, b = searched("a"), searched("b", hits=10)
    assert main(["parity", str(a), str(b), "--qrels", str(tmp_path / "qrels")]) == 0
    printed = capsys.readouterr()
    assert "A: nDCG@10 " in printed.out
    assert printed.out.splitlines()[-1].startswith("most likely cause: hits")
    assert printed.err.splitlines()[-1].startswith("next: gradir evaluate --qrels")
    assert main(["parity", str(a), str(b), "--index", "i"]) == 1
    assert "--topics go together" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["parity", str(a)])

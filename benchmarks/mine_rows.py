"""Hard negatives with a margin: `gradir mine negatives` against sentence-transformers' `mine_hard_negatives`, on the same scores.

Theirs takes a model and texts, ranks by similarity and mines in one function; ours takes rankings. So that the same scores go
into both, theirs gets a stand-in for a model: a text is a number, and the similarity of two numbers is looked up in a table.
Encoding is therefore in neither. The chosen negatives are compared before anything is timed.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.table import Row, alternate, ratio_of
from gradir.data import Qrel, Query, read_lists, run_writer, write_qrels, write_topics
from gradir.data.records import GradedList, Ranking
from gradir.data.runs import iter_columns
from gradir.mine import negatives
from gradir.mine.choose import Rules
from gradir.mine.mining import Mining, Sources, blocks
from gradir.mine.tally import Tally, table

HITS, CORPUS, NEGATIVES, MARGIN = 1000, 5000, 8, 0.95


class Lookup:
    """In place of a model: `q7` and `d7` are encoded as [7], and the similarity of the two is a number of the table."""

    device = "cpu"

    def __init__(self, scores: torch.Tensor):
        self.scores = scores  # [Q, N]

    def encode_query(self, texts: list[str], **_: Any) -> NDArray[np.int64]:
        return np.array([[int(text[1:])] for text in texts])

    encode_document = encode_query

    def similarity(self, queries: Any, documents: Any) -> torch.Tensor:
        return self.scores  # of all queries with the whole corpus, in their order

    def similarity_pairwise(self, queries: Any, documents: Any) -> torch.Tensor:
        return self.scores[queries[:, 0], documents[:, 0]]


class Case:
    """The same scores in the form of either.

    Args:
        folder: Where the files are written.
        queries: How many.
    """

    def __init__(self, folder: Path, queries: int):
        from datasets import Dataset

        draw = np.random.default_rng(3)
        places = np.stack([draw.permutation(CORPUS) for _ in range(queries)])
        # No score comes so near to 95% of another one that float32 and six decimals could decide differently.
        self.scores = torch.tensor((20 * places + 1) / 1000, dtype=torch.float32)  # [Q, N]
        self.order, self.folder = np.argsort(-places, axis=1)[:, :HITS], folder
        good = self.order[np.arange(queries), np.arange(queries) % 10]
        self.dataset = Dataset.from_dict(
            {"q": [f"q{i}" for i in range(queries)], "p": [f"d{j}" for j in good.tolist()]}
        )
        self.corpus = [f"d{j}" for j in range(CORPUS)]
        with run_writer(folder / "run.trec", "t") as writer:
            for i, found in enumerate(self.order):
                writer.write_ranking(f"q{i}", Ranking([f"d{j}" for j in found], self.scores[i].numpy()[found]))
        write_qrels(folder / "qrels.tsv", (Qrel(row["q"], row["p"], 1) for row in self.dataset))
        write_topics(folder / "topics.tsv", (Query(f"q{i}", f"q{i}") for i in range(queries)))
        self.rankings = list(iter_columns(folder / "run.trec"))
        self.sources = Sources([folder / "run.trec"], str(folder / "qrels.tsv"), str(folder / "topics.tsv"))

    def theirs(self, form: str = "labeled-list") -> Any:
        """All of `mine_hard_negatives` but encoding, with the statistics that it prints."""
        from sentence_transformers.util import mine_hard_negatives

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return mine_hard_negatives(
                self.dataset,
                Lookup(self.scores),  # type: ignore[arg-type]
                corpus=self.corpus,
                range_max=HITS - 1,
                relative_margin=1 - MARGIN,
                num_negatives=NEGATIVES,
                output_scores=True,
                output_format=form,  # type: ignore[arg-type]
            )

    def ranking(self) -> torch.Tensor:
        """The part of theirs that finds the best documents of each query: ours begins with a ranking."""
        return torch.topk(self.scores, HITS, dim=1).values

    def ours(self) -> list[GradedList]:
        """From rankings in memory, with the statistics."""
        tally = Tally(["run"], NEGATIVES, False)
        mining = Mining(self.sources, Rules(NEGATIVES, last=HITS), tally)
        questions = (mining.question(qid, [found]) for qid, found in self.rankings)
        lists = [one for block in blocks(questions) for one in mining.lists_of(block)]
        table(tally.counts())
        return lists

    def command(self) -> Path:
        """From files to a file."""
        output, sources = self.folder / "lists.jsonl", self.sources
        rules: dict[str, Any] = {"k": NEGATIVES, "rank": [1, HITS], "margin": MARGIN}
        negatives(list(sources.runs), sources.qrels, sources.topics, output, **rules, overwrite=True)
        return output


def rows(quick: bool) -> list[Row]:
    """1,000 queries of 1,000 hits, or 100."""
    queries, rounds = (100, 3) if quick else (1000, 9)
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder), queries)
        _compare(case)
        contenders = {
            "ours": case.ours,
            "theirs": case.theirs,
            "ranking": case.ranking,
            "command": case.command,
            "triplets": lambda: case.theirs("triplet"),
        }
        alternate(contenders, 1)
        seconds = alternate(contenders, rounds)
    seconds["mining"] = [a - b for a, b in zip(seconds["theirs"], seconds["ranking"], strict=True)]
    work = f"negatives, margin {MARGIN}, {queries:,} queries x {HITS:,} hits"
    against = "sentence-transformers mine_hard_negatives"
    return [
        _row(f"{work}, in memory", f"{against}, labeled-list", seconds, "ours", "mining", queries, _IN_MEMORY, 5),
        _row(
            f"{work}, run file to lists file",
            f"{against}, triplet (default)",
            seconds,
            "command",
            "triplets",
            queries,
            _FILES,
            None,
        ),
    ]


_IN_MEMORY = (
    "ours: columns of docids and scores to graded lists and counts, qrels and topics read; theirs: the whole call, float32, on "
    "the CPU, less encoding, similarity and the top-1,000; chosen negatives are the same"
)
_FILES = (
    "ours: read, hash and mine a run file, write lists and manifest; theirs: ranks and mines scores in memory, no file read or "
    "written, less encoding and similarity"
)


def _row(
    work: str,
    against: str,
    seconds: dict[str, list[float]],
    ours: str,
    theirs: str,
    queries: int,
    note: str,
    target: float | None,
) -> Row:
    first, second = (queries / median(seconds[name]) for name in (ours, theirs))
    ratio, rounds = ratio_of(seconds, ours, theirs), len(seconds[ours])
    return Row(work, against, ratio, target, True, first, second, "queries/s", rounds, note)


def _compare(case: Case) -> None:
    """Stops where the two choose other negatives."""
    expected = {(row["q"], row["p"], row["negative"]) for row in case.theirs("triplet")}
    for lists in (case.ours(), read_lists(case.command())):
        chosen = {(one.qid, one.docs[0].docid, doc.docid) for one in lists for doc in one.docs[1:]}
        if chosen != expected or len(expected) < len(case.rankings):
            raise RuntimeError(
                f"{len(chosen ^ expected)} of {len(expected)} negatives are not those of sentence-transformers"
            )

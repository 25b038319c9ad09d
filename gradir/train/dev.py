"""Dev evaluation: how well a model in training ranks the documents of judged queries, by trec_eval's measures."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.corpus import read_corpus
from gradir.data.measures import Measure, Scores, evaluate_run, parse_measures
from gradir.data.qrels import read_qrels
from gradir.data.records import Hit, Ranking
from gradir.data.topics import read_topics
from gradir.errors import GradirError, InputError
from gradir.train.dev_sources import checked, documents_of, pool_texts

if TYPE_CHECKING:
    from gradir.train.dev_ranking import Best, Encode

Rankings = Iterable[tuple[str, Ranking]]

_WINDOW = 4096  # documents that are encoded, and whose texts are in memory, at a time


@dataclass(frozen=True)
class DevSet:
    """Judged queries with the documents that a model ranks for them: a whole corpus, or the pools of a run.

    Attributes:
        queries: Texts of the judged queries by id.
        qrels: Their judgements.
        docids: The documents: those of the corpus in its order, or those of all pools.
        depth: Documents ranked for a query.
        measure: The measure by which models are compared.
        corpus: Where the documents are.
        run: For each query the documents of the run, best first; None where the whole corpus is ranked.
        texts: The texts of the pools, in the order of `docids`; empty where the corpus is read anew each time.
    """

    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    docids: Sequence[str]
    depth: int
    measure: Measure
    corpus: str
    run: Mapping[str, Sequence[str]] | None = None
    texts: Sequence[str] = ()

    @classmethod
    def open(
        cls,
        collection: str | Path | None = None,
        corpus: str | Path | None = None,
        queries: str | Path | None = None,
        qrels: str | Path | None = None,
        run: str | Path | None = None,
        depth: int = 100,
        measure: str = "nDCG@10",
        limit: int | None = None,
        seed: int = 13,
    ) -> DevSet:
        """Read the judged queries, and which documents are to be ranked.

        Judged queries count, as in `trec_eval -c`, also where nothing is found for them, or nothing is relevant. Queries
        that are judged but have no text among `queries` are left out.

        Args:
            collection: BEIR folder, for corpus and queries that are not given.
            corpus: Documents.
            queries: Topics.
            qrels: Judgements; always needed.
            run: TREC run. Only its first `depth` documents of each query are ranked.
            depth: Documents ranked for a query.
            measure: What models are compared by.
            limit: The most queries; which ones depends on the seed.
            seed: Chooses them.

        Raises:
            GradirError: Missing files, an unknown measure and numbers out of range, all at once; no query is judged; a
                document of the run is not in the corpus.
        """
        places = {"corpus": corpus or collection, "queries": queries or collection, "qrels": qrels, "run": run}
        column = checked(places, depth, measure, limit)
        judged = read_qrels(str(qrels))
        texts = {query.qid: query.text for query in read_topics(str(places["queries"])) if query.qid in judged}
        if not texts:
            raise InputError(str(qrels), f"judges no query of {places['queries']}", "Do they belong together?")
        chosen = sorted(texts)
        if limit is not None and limit < len(chosen):
            chosen = sorted(random.Random(f"{seed}").sample(chosen, limit))
        source = str(places["corpus"])
        found: dict[str, list[str]] | None = None
        contents: list[str] = []
        if run is None:
            docids = [document.docid for document in read_corpus(source)]
        else:
            found = documents_of(run, chosen)
            docids, contents = pool_texts(run, source, found, depth)
        kept = {qid: judged[qid] for qid in chosen}
        relevant = {docid for judgements in kept.values() for docid in judgements}
        if not any(docid in relevant for docid in docids):
            raise InputError(str(run or source), f"holds no document that {qrels} judges", "Do they belong together?")
        return cls({qid: texts[qid] for qid in chosen}, kept, docids, depth, column, source, found, contents)

    def retrieval(self, encode_queries: Encode, encode_documents: Encode) -> dict[str, float]:
        """The measure, MRR@10 and recall at `depth` of a retriever's ranking.

        Args:
            encode_queries: Vectors of texts, float32 [N, D], dense or a csr of scipy. Scores are inner products.
            encode_documents: The same for documents; called for some thousand texts at a time.

        Raises:
            GradirError: The vectors are not finite, or do not go together.
        """
        return self.measured(self.ranked(encode_queries, encode_documents)).means

    def reranking(self, score: Callable[[list[tuple[str, str]]], NDArray[np.float32]]) -> dict[str, float]:
        """The measure, MRR@10 and recall at `depth` of the run with its first `depth` documents in a reranker's order.

        Args:
            score: Scores of (query, document) pairs, float32 [N]; called once.

        Raises:
            GradirError: There is no run, or a score is not finite.
        """
        return self.measured(self.reranked(score)).means

    def measured(self, rankings: Rankings) -> Scores:
        """The measures of rankings, means and each query's, as `gradir evaluate` prints them for the same run.

        Args:
            rankings: (qid, ranking) of queries of this set; the order of documents counts, not their scores.
        """
        names = [self.measure.name, "MRR@10", f"R@{self.depth}"]
        columns: dict[tuple[str, str], str] = {}  # each once, the measure first and as it was asked for
        for column in parse_measures(names):
            columns.setdefault((column.family, column.parameter), column.name)
        # trec_eval puts ties in descending order of ids: scores without ties leave the order as it is
        hits = (
            (qid, [Hit(docid, float(-place)) for place, docid in enumerate(ranking.docids)])
            for qid, ranking in rankings
        )
        return evaluate_run(self.qrels, hits, list(columns.values()))

    def per_query(self, rankings: Rankings) -> dict[str, float]:
        """The measure of each query, for tests of significance."""
        return {qid: values[self.measure.name] for qid, values in self.measured(rankings).per_query.items()}

    def ranked(self, encode_queries: Encode, encode_documents: Encode) -> Iterator[tuple[str, Ranking]]:
        """(qid, its best documents) as a retriever ranks them; ties by docid ascending. Arguments as for `retrieval`."""
        from gradir.train.dev_ranking import encoded, full, pooled

        order = sorted(range(len(self.docids)), key=self.docids.__getitem__)
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        asked = encoded(encode_queries, list(self.queries.values()), "queries")
        windows = (
            (ranks[start : start + len(texts)], encoded(encode_documents, texts, "documents"))
            for start, texts in self._windows()
        )
        found: list[Best]
        if self.run is None:
            found = full(asked, windows, self.depth)
        else:
            places = {docid: place for place, docid in enumerate(self.docids)}
            pools = [np.array([places[docid] for docid in pool], np.int64) for pool in self._pools()]
            found = pooled(asked, [vectors for _, vectors in windows], ranks, pools)
        for qid, (scores, chosen) in zip(self.queries, found, strict=True):
            yield qid, Ranking([self.docids[order[rank]] for rank in chosen.tolist()], scores)

    def reranked(self, score: Callable[[list[tuple[str, str]]], NDArray[np.float32]]) -> Iterator[tuple[str, Ranking]]:
        """(qid, the run's documents, the first `depth` of them as a reranker orders them). Arguments as for `reranking`."""
        if self.run is None:
            raise GradirError("dev: a reranker needs candidates. Name a run: `dev: {run: RUN.trec}`.")
        contents = dict(zip(self.docids, self.texts, strict=True))
        pools = list(self._pools())
        texts = [
            (query, contents[docid]) for query, pool in zip(self.queries.values(), pools, strict=True) for docid in pool
        ]
        scores = np.asarray(score(texts), np.float32)
        if scores.shape != (len(texts),) or not np.isfinite(scores).all():
            raise GradirError(
                f"dev: the reranker gave {scores.shape} scores for {len(texts)} texts, or not finite ones."
            )
        rows = iter(scores.tolist())
        for qid, pool in zip(self.queries, pools, strict=True):
            top = sorted((-one, docid) for docid, one in zip(pool, islice(rows, len(pool)), strict=True))
            below = self.run.get(qid, ())[self.depth :]
            lowest = -top[-1][0] if top else 0.0
            values = [-one for one, _ in top] + [lowest - place for place in range(1, len(below) + 1)]
            yield qid, Ranking([*(docid for _, docid in top), *below], np.array(values, np.float64))

    def description(self) -> dict[str, Any]:
        """Counts, for a record of what was measured."""
        judged = sum(len(judgements) for judgements in self.qrels.values())
        return {"queries": len(self.queries), "documents": len(self.docids), "judgements": judged}

    def _pools(self) -> Iterator[Sequence[str]]:
        """Each query's documents that are ranked; none where the run has none."""
        for qid in self.queries:
            yield (self.run or {}).get(qid, ())[: self.depth]

    def _windows(self) -> Iterator[tuple[int, list[str]]]:
        """(number of the first, texts) of the documents, window by window."""
        from tqdm import tqdm

        contents: Iterable[str] = self.texts or (document.contents for document in read_corpus(self.corpus))
        with tqdm(total=len(self.docids), desc="dev", unit=" documents", leave=False, disable=None) as bar:
            stream = iter(contents)
            for number, texts in enumerate(iter(lambda: list(islice(stream, _WINDOW)), [])):
                yield number * _WINDOW, texts
                bar.update(len(texts))

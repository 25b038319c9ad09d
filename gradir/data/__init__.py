"""Records, streaming readers and writers for every format, vector shards, manifests. Imported by every stage."""

from gradir.data.corpus import corpus_files, read_corpus, write_corpus
from gradir.data.lists import read_lists, write_lists
from gradir.data.qrels import iter_qrels, read_qrels, unknown_ids, write_qrels
from gradir.data.records import Document, GradedDoc, GradedList, Hit, Qrel, Query
from gradir.data.runs import iter_run, read_run, run_writer, separate_ties, side_by_side
from gradir.data.topics import read_topics, write_topics

__all__ = [
    "Document",
    "GradedDoc",
    "GradedList",
    "Hit",
    "Qrel",
    "Query",
    "corpus_files",
    "iter_qrels",
    "iter_run",
    "read_corpus",
    "read_lists",
    "read_qrels",
    "read_run",
    "read_topics",
    "run_writer",
    "separate_ties",
    "side_by_side",
    "unknown_ids",
    "write_corpus",
    "write_lists",
    "write_qrels",
    "write_topics",
]

"""`gradir collection pydocs`: the built-in collection written as a BEIR folder."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.command import Outcome

if TYPE_CHECKING:
    from gradir.collection.build import Collection

# Raise when a rule changes what is written, so that an older folder is refused rather than taken for the same
RULES = 1
SPLITS = ("train", "dev", "test")
HASHED_FILES = ("corpus.jsonl", "queries.jsonl", *(f"qrels/{split}.tsv" for split in SPLITS))


def pydocs(output: Path, overwrite: bool = False) -> Outcome:
    """Build the built-in collection from the sources of the installed libraries, without a network.

    Args:
        output: BEIR folder to write: corpus, queries, qrels for train, dev and test, README.md and manifest.json.
        overwrite: Start afresh, removing what stands at the output.
    """
    from gradir.collection.sources import versions
    from gradir.data.manifest import Job

    job = Job(output, "gradir collection pydocs", {"rules": RULES, "libraries": versions()}, overwrite=overwrite)
    next_command = f"gradir demo --collection {output}"  # keep in step with gradir.demo
    if job.finished:
        return Outcome(output, f"{output} is finished: collection {collection_hash(output)}", next_command)
    from gradir.collection.build import build
    from gradir.data.atomic import new_folder

    collection = build()
    with new_folder(output, replace=True) as folder:
        _write(collection, folder)
        counts = summary(collection) | {"collection_sha256": collection_hash(folder)}
        _write_readme(folder, collection, counts)
        job.finish(counts, folder=folder)
    return Outcome(output, f"{output}: {_sentence(counts)}", next_command)


def collection_hash(folder: Path) -> str:
    """The SHA-256 of the corpus, the queries and the judgements, which scores on the collection are stated for.

    Args:
        folder: A folder that `pydocs` wrote.
    """
    digest = hashlib.sha256()
    for name in HASHED_FILES:
        with (folder / name).open("rb") as stream:
            digest.update(f"{name}\0".encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def query_id(docid: str) -> str:
    """The id of the query of a document: not the docid, lest tools that drop the query's own document drop the answer."""
    return f"q:{docid}"


def _write(collection: Collection, folder: Path) -> None:
    from gradir.data import Document, Qrel, Query, write_corpus, write_qrels, write_topics

    entries = collection.entries
    write_corpus(folder / "corpus.jsonl", (Document(entry.docid, entry.body(), entry.title) for entry in entries))
    write_topics(
        folder / "queries.jsonl", (Query(query_id(entry.docid), entry.query) for entry in entries if entry.query)
    )
    for split in SPLITS:
        write_qrels(
            folder / "qrels" / f"{split}.tsv",
            (
                Qrel(query_id(docid), judged, grade)
                for docid, grades in collection.graded.items()
                if collection.split[docid] == split
                for judged, grade in sorted(grades.items(), key=lambda item: (-item[1], item[0]))
            ),
        )


def summary(collection: Collection) -> dict[str, Any]:
    """The numbers of a collection, as the manifest and the README state them."""
    split_of, graded = collection.split, collection.graded
    judged = [(docid, grade) for docid, grades in graded.items() for grade in grades.values()]
    libraries = {entry.docid: entry.source.library for entry in collection.entries}
    return {
        "documents": len(collection.entries),
        "queries": len(graded),
        "documents_by_library": dict(Counter(libraries.values())),
        "queries_by_library": dict(Counter(libraries[docid] for docid in graded)),
        "queries_by_split": _by_split(Counter(split_of[docid] for docid in graded)),
        "queries_with_three_graded_by_split": _by_split(
            Counter(split_of[docid] for docid, grades in graded.items() if len(grades) >= 3)
        ),
        "judgements": {
            split: {str(grade): sum(split_of[d] == split and g == grade for d, g in judged) for grade in (3, 2, 1)}
            for split in SPLITS
        },
        "dropped": _sorted(collection.removed),
        "no_query": _sorted(collection.refused),
        "files_not_read": _sorted(collection.files_left_out),
    }


def _by_split(counts: Counter[str]) -> dict[str, int]:
    return {split: counts[split] for split in SPLITS}


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count}


def _sentence(counts: dict[str, Any]) -> str:
    splits = ", ".join(f"{split} {count}" for split, count in counts["queries_by_split"].items())
    return (
        f"{counts['documents']} documents, {counts['queries']} queries ({splits}); "
        f"collection {counts['collection_sha256']}"
    )


def _write_readme(folder: Path, collection: Collection, counts: dict[str, Any]) -> None:
    from gradir.collection.readme import readme
    from gradir.data.atomic import new_text

    with new_text(folder / "README.md") as stream:
        stream.write(readme(collection, counts))

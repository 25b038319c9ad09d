"""`gradir convert`: foreign vectors in, vector shards out; one part in memory at a time."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.command import Outcome
from gradir.errors import GradirError, InputError

if TYPE_CHECKING:
    from gradir.convert.foreign import Foreign
    from gradir.data.manifest import Job

PART_SIZE = 4096  # documents of a part, as `gradir encode` has them
# What Pyserini's encoders do where they are not told otherwise; foreign vectors carry no record of it.
_PYSERINI: dict[str, Any] = {"max_query_length": 256, "max_passage_length": 256}
_PYSERINI_SPLADE: dict[str, Any] = _PYSERINI | {"impact_scale": 51.2}


def run(foreign: Path, output: Path, encoder: str | None = None, overwrite: bool = False) -> Outcome:
    """Convert Pyserini's embeddings, a FAISS folder or a Lucene impact index into vector shards.

    The terms of sparse vectors are numbered by the tokenizer of --encoder, else in alphabetical order. Nothing tells how
    foreign vectors were made, so the shards say that their encoder is foreign, with Pyserini's scale and lengths (51.2, 256).
    An interrupted conversion starts over.

    Args:
        foreign: embeddings.jsonl or a folder of such files, a FAISS folder (index, docid), or a Lucene impact index.
        output: Folder for the vector shards.
        encoder: Encoder folder or hub name whose tokenizer's vocabulary numbers the terms.
        overwrite: Start afresh where the output exists.
    """
    source, target = foreign.resolve(), output.resolve()
    if source == target or target in source.parents or source in target.parents:
        raise GradirError(f"{output} lies over or inside the input {foreign}. Choose another --output.")
    from gradir.convert.foreign import open_foreign
    from gradir.data.atomic import new_folder
    from gradir.data.manifest import Job

    opened = open_foreign(foreign)
    if opened.kind == "dense" and encoder is not None:
        raise GradirError(f"{foreign} holds dense vectors, which have no terms to number. Leave --encoder out.")
    metadata = _metadata(foreign, opened)
    config: dict[str, Any] = {"part_size": PART_SIZE, "vocabulary": encoder, **metadata}
    job = Job(output, "gradir convert", config, opened.inputs, overwrite)
    type = "impact" if opened.kind == "splade" else "flat"
    then = shlex.join(["gradir", "index", "--input", str(output), "--type", type, "--output", "index/NAME"])
    if job.finished:
        return Outcome(output, f"{output} is finished already; nothing to do", then)
    with new_folder(output, replace=True) as folder:
        counts = _write(foreign, opened, encoder, folder, metadata)
        job.finish(counts, {"documents_per_second": round(counts["documents"] / job.seconds(), 1)}, folder)
    return Outcome(output, _message(output, opened, counts, job), then)


def _message(output: Path, opened: Foreign, counts: dict[str, int], job: Job) -> str:
    note = f"\nnote: {opened.note}" if opened.note else ""
    return f"{output}: {counts['documents']} vectors of a {opened.what}, {job.seconds():.1f} s{note}"


def _metadata(foreign: Path, opened: Foreign) -> dict[str, Any]:
    """What the parts say of their encoder: what gradir remembers of its own vectors and indexes, else that it is foreign."""
    from gradir.data.manifest import manifest_path, read_manifest

    if manifest_path(foreign).exists():
        manifest = read_manifest(foreign)
        described = manifest["config"] if manifest["command"] == "gradir encode" else manifest["config"].get("encoder")
        if isinstance(described, dict) and described.get("kind") == opened.kind:
            return dict(described)
    defaults = _PYSERINI_SPLADE if opened.kind == "splade" else _PYSERINI
    return {"kind": opened.kind, "encoder": "foreign", **defaults}


def _write(
    foreign: Path, opened: Foreign, encoder: str | None, folder: Path, metadata: dict[str, Any]
) -> dict[str, int]:
    """Write all parts; returns the counts."""
    from tqdm import tqdm

    from gradir.convert.parts import parts
    from gradir.data.ids import Duplicates, check_id
    from gradir.data.vectors import SparseVectors, write_part, write_vocab

    ids: dict[str, int] = {}
    if opened.kind == "splade":
        vocab = _vocabulary(opened, encoder)
        write_vocab(folder, vocab)
        ids = {term: number for number, term in enumerate(vocab)}
    seen = Duplicates("document id")
    counts = {"documents": 0} | ({"postings": 0, "empty": 0} if opened.kind == "splade" else {})
    with tqdm(total=opened.total, desc="convert", unit=" docs", smoothing=0.05) as bar:
        for number, (docids, vectors) in enumerate(parts(opened.blocks(ids), PART_SIZE)):
            for row, docid in enumerate(docids, counts["documents"] + 1):
                seen.add(foreign, row, check_id(foreign, row, docid, "document id"))
            write_part(folder, number, docids, vectors, metadata)
            counts["documents"] += len(docids)
            if isinstance(vectors, SparseVectors):
                counts["postings"] += len(vectors.terms)
                counts["empty"] += int((vectors.indptr[1:] == vectors.indptr[:-1]).sum())
            bar.update(len(docids))
    seen.finish()
    if not counts["documents"]:
        raise InputError(foreign, "holds no documents", "Was the corpus empty?")
    return counts


def _vocabulary(opened: Foreign, encoder: str | None) -> list[str]:
    """The terms by id: those of the encoder's tokenizer, else all that the documents have, sorted."""
    if encoder is None:
        from tqdm import tqdm

        terms: set[str] = set()
        for term in tqdm(opened.terms(), desc="vocabulary", unit=" terms", leave=False):
            terms.add(term)
        return sorted(terms)
    from gradir.models.folder import locate, open_tokenizer
    from gradir.models.vocabulary import size, terms_by_id

    tokenizer = open_tokenizer(locate(encoder))
    return terms_by_id(tokenizer, size(tokenizer))

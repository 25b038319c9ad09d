"""What is said of an index that has been written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradir.index.writers import ANSERINI_THREADS, JSON_FOLDER

_FORMS = {"impact-json": "JSON lines for IndexCollection", "opensearch-bulk": "requests to the _bulk API"}


def measure(folder: Path, counts: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Sizes and rates, for the manifest.

    Args:
        folder: Where the index stands.
        counts: Its counts.
        seconds: Time that it took to write.
    """
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    documents = counts["documents"]
    return {
        "documents_per_second": round(documents / seconds, 1),
        "bytes": size,
        "bytes_per_document": round(size / max(documents, 1), 1),
    }


def describe(output: Path, type: str, counts: Mapping[str, Any], measured: Mapping[str, Any], seconds: float) -> str:
    """The report in words.

    Args:
        output: The index.
        type: Its type.
        counts: Documents, and what else was counted: empty ones, terms, postings, those before pruning.
        measured: What `measure` gave, and `recall@10` and so on of an approximate index.
        seconds: Time that it took to write.
    """
    documents = f"{counts['documents']} documents"
    if counts.get("empty"):
        documents += f" ({counts['empty']} empty)"
    parts = [documents]
    if "terms" in counts:
        parts.append(f"{counts['terms']} terms")
    if "postings" in counts:
        parts.append(f"{counts['postings']} postings{_pruned(counts)}")
    parts.append(f"{measured['bytes'] / 2**20:.1f} MiB, {measured['bytes_per_document']:.0f} bytes a document")
    parts.append(f"{seconds:.1f} s, {measured['documents_per_second']:.0f} documents/s")
    recalls = [f"{name} {measured[name]:.3f}" for name in measured if name.startswith("recall@")]
    if recalls:
        parts.append(f"against exact search on {measured['sample']}: {', '.join(recalls)}")
    return f"{output}: {_FORMS.get(type, f'{type} index')}, " + "; ".join(parts)


def next_command(output: Path, type: str) -> str:
    """What to type after indexing."""
    if type == "impact-json":
        words = ["gradir", "pyserini", "index.lucene", "--collection", "JsonVectorCollection"]
        words += ["--input", str(output / JSON_FOLDER), "--index", "INDEX"]
        words += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", str(ANSERINI_THREADS)]
        words += ["--impact", "--pretokenized"]
        return shlex.join(words)
    if type == "opensearch-bulk":
        return f"cat {shlex.quote(str(output / 'README.txt'))}"
    encoder = [] if type == "bm25" else ["--encoder", "ENCODER"]
    return shlex.join(["gradir", "search", "--index", str(output), "--topics", "TOPICS", *encoder, "--output", "RUN"])


def _pruned(counts: Mapping[str, Any]) -> str:
    before = counts.get("postings_before_pruning")
    return f" of {before} ({counts['postings'] / before:.1%}, pruned)" if before else ""

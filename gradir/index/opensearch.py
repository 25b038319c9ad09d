"""Sparse vectors as requests to the `_bulk` API of OpenSearch and Elasticsearch, for collections that such a cluster serves.

A document is `{"impacts": {term: impact, …}}`, with `contents` where texts are asked for; the field is of type `rank_features`
(OpenSearch) or `sparse_vector` (Elasticsearch). Both keep 9 significant bits of a weight: impacts up to 512 are exact, larger
ones are off by up to 0.4%. Neither takes a dot in the name of a feature, and BERT's vocabulary has one: `%` and `.` are written
`%25` and `%2E`, in documents and queries alike (`feature_name`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from gradir.errors import InputError
from gradir.index.json_vectors import documents
from gradir.index.raw import matched
from gradir.index.source import Source

Engine = Literal["opensearch", "elasticsearch"]
FIELD = "impacts"
_FILE_BYTES = 50 << 20  # the engines refuse requests above 100 MB
_LONGEST_ID = 512  # bytes
_NAMES: dict[Engine, str] = {"opensearch": "OpenSearch", "elasticsearch": "Elasticsearch"}
_FIELD_TYPES: dict[Engine, str] = {"opensearch": "rank_features", "elasticsearch": "sparse_vector"}


def write(
    source: Source, folder: Path, progress: Callable[[int], object], name: str, corpus: str | Path | None = None
) -> dict[str, Any]:
    """Write `bulk-00000.ndjson` …, and for each engine a mapping and an example query; returns the counts.

    Args:
        source: Sparse vectors.
        folder: An empty folder.
        progress: Called with the number of documents done.
        name: Of the index in the cluster, which the caller has checked.
        corpus: Where the field `contents` is read from; without it there is none.

    Raises:
        InputError: An id is too long, the corpus is another one, or as for `json_vectors.documents`.
    """
    counts: dict[str, int] = {}
    example: dict[str, int] = {}  # of the first document with terms
    texts = matched(corpus, source.docids()) if corpus is not None else None

    def lines() -> Iterator[bytes]:
        for part, docid, vector in documents(source, counts, progress, feature_name):
            _check_docid(part, docid)
            if not example:
                example.update((unquote(name), impact) for name, impact in islice(json.loads(vector).items(), 3))
            yield _lines(name, docid, vector, next(texts).contents if texts else None)

    counts["files"] = _write_files(folder, lines())
    for engine in _FIELD_TYPES:
        _write_json(folder / f"mapping.{engine}.json", mapping(engine, corpus is not None))
        _write_json(folder / f"query.{engine}.json", query_body(engine, example))
    (folder / "README.txt").write_text(_readme(name), encoding="utf-8")
    return counts


def feature_name(term: str) -> str:
    """A term as the engines take it for the name of a feature; `urllib.parse.unquote` undoes it."""
    return term.replace("%", "%25").replace(".", "%2E")


def mapping(engine: Engine, texts: bool) -> dict[str, Any]:
    """The body of the request that makes the index.

    Args:
        engine: Which one.
        texts: Documents have `contents`: they are kept for reading and not searched.
    """
    properties: dict[str, Any] = {FIELD: {"type": _FIELD_TYPES[engine]}}
    if texts:
        properties["contents"] = {"type": "text", "index": False}
    return {"mappings": {"dynamic": "strict", "properties": properties}}


def query_body(engine: Engine, query: Mapping[str, int], hits: int = 10) -> dict[str, Any]:
    """The body of a search: the score is the sum over terms of query impact times document impact.

    Args:
        engine: Which one. OpenSearch takes at most 1,024 terms unless `indices.query.bool.max_clause_count` is raised.
        query: `{term: impact}`.
        hits: How many.
    """
    weights = {feature_name(term): impact for term, impact in query.items()}
    if engine == "elasticsearch":
        return {"size": hits, "query": {"sparse_vector": {"field": FIELD, "query_vector": weights}}}
    clauses = [
        {"rank_feature": {"field": f"{FIELD}.{name}", "boost": weight, "linear": {}}}
        for name, weight in weights.items()
    ]
    return {"size": hits, "query": {"bool": {"should": clauses}}}


def _lines(index: str, docid: str, vector: str, text: str | None) -> bytes:
    """The action and the document, a line each."""
    action = json.dumps({"index": {"_index": index, "_id": docid}}, ensure_ascii=False)
    members = [f'"{FIELD}":{vector}'] if vector != "{}" else []
    if text is not None:
        members.append(f'"contents":{json.dumps(text, ensure_ascii=False)}')
    return f"{action}\n{{{','.join(members)}}}\n".encode()


def _check_docid(part: Path, docid: str) -> None:
    size = len(docid.encode())
    if size > _LONGEST_ID:
        problem = f"document id {docid[:40]}… of {size} bytes, the engines take {_LONGEST_ID}"
        raise InputError(part, problem, "Give it a shorter one")


def _write_files(folder: Path, documents: Iterator[bytes]) -> int:
    """Lines into numbered files of bounded size, those of a document into one; returns how many files."""
    stream, count = None, 0
    try:
        for lines in documents:
            if stream is None or (stream.tell() and stream.tell() + len(lines) > _FILE_BYTES):
                if stream is not None:
                    stream.close()
                stream = (folder / f"bulk-{count:05d}.ndjson").open("wb")
                count += 1
            stream.write(lines)
    finally:
        if stream is not None:
            stream.close()
    return count


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_commands(name: str, engine: Engine = "opensearch") -> list[str]:
    """The commands that make the index in a cluster, fill and search it, typed in the folder of the files."""
    url = f"$CLUSTER/{quote(name)}"
    json_type = "-H 'Content-Type: application/json'"
    lines_type = "-H 'Content-Type: application/x-ndjson'"
    failed = """python3 -c 'import json, sys; sys.exit(json.load(sys.stdin)["errors"])'"""
    return [
        f"curl -fsS -X PUT {url} {json_type} -d @mapping.{engine}.json",
        f"for file in bulk-*.ndjson; do curl -fsS -X POST $CLUSTER/_bulk {lines_type} --data-binary @$file | {failed}"
        " || { echo $file failed; break; }; done",
        f"curl -fsS -X POST {url}/_refresh",
        f"curl -fsS {url}/_search {json_type} -d @query.{engine}.json",
    ]


def _readme(name: str) -> str:
    parts = [
        f"The documents of the index {name} for the _bulk API, written by gradir index. Weights are kept in 9 significant bits.",
        "In the names of terms, % and . are written %25 and %2E, which queries must do too.",
        "OpenSearch takes 1,024 terms a query unless indices.query.bool.max_clause_count is raised.",
    ]
    for engine in _FIELD_TYPES:
        parts += ["", f"{_NAMES[engine]}, in this folder (CLUSTER=http://localhost:9200):", ""]
        parts += [f"  {command}" for command in load_commands(name, engine)]
    return "\n".join(parts) + "\n"

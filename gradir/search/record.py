"""What a run's manifest says of how it was made, and what follows from that: its tag, and the next command."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradir.search.perform import Plan


def config(plan: Plan, output_format: str, ef_search: int | None, nprobe: int | None) -> dict[str, Any]:
    """What decides the run: flags that leave it as it would be without them are left out."""
    keep, records = plan.keep, [index.record() for index in plan.indexes]
    made: dict[str, Any] = {"hits": keep.hits, "remove_query": keep.remove_query, "batch_size": plan.batch_size}
    made["index"] = records[0] if len(records) == 1 else records
    made["encoder"] = plan.side.description
    if keep.delimiter is not None:
        made["max_passage"] = {"delimiter": keep.delimiter, "hits": keep.documents}
    if output_format != "trec":
        made["output_format"] = output_format
    if plan.warm_up:
        made["latency"] = True
    effort = {"ef_search": ef_search, "nprobe": nprobe}
    return made | {name: number for name, number in effort.items() if number}


def inputs(topics: str | None, *others: str | Path | None) -> list[str | Path]:
    """The files that decide the result: of a BEIR folder only the queries."""
    from gradir.search.queries import topics_path

    given = [topics_path(topics) if topics is not None else None, *others]
    return [one for one in given if one is not None]


def next_command(output: Path, output_format: str, qrels: str | None) -> str:
    """How the run is evaluated."""
    if output_format == "msmarco":
        return shlex.join(["gradir", "pyserini", "eval.msmarco_passage_eval", qrels or "QRELS", str(output)])
    return shlex.join(["gradir", "evaluate", "--qrels", qrels or "QRELS", "--run", str(output)])


def latency_table(output: Path) -> str:
    """The percentiles of a run, from its manifest."""
    from gradir.data.manifest import read_manifest
    from gradir.search.latency import table

    return table(read_manifest(output)["measured"]["latency_ms"])


def default_tag(name: str, config: dict[str, Any]) -> str:
    """`gradir.NAME.HASH`."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
    return f"gradir.{name}.{digest}"

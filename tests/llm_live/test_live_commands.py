"""`gradir generate queries`, `documents` and `judgements` through the real server, with gradir's own prompts, as a user types them.

Random weights write nonsense: what is checked is what must hold whatever the text.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradir.data.manifest import read_manifest
from gradir.data.qrels import read_qrels
from gradir.data.runs import read_run
from gradir.data.schemas import load as schema
from gradir.data.topics import read_topics
from gradir.generate.generated import Generated, Kind
from tests.generate.made import collection, read, run
from tests.llm_live.conftest import CONTEXT, Said

DEAD = "http://127.0.0.1:9/v1"
LONGEST = 16  # characters of a text
RUN = "scores.trec"
DOCUMENTS = {
    f"d{number}": f"The {thing} of {what} was {fact}."
    for number, (thing, what, fact) in enumerate(
        (thing, what, fact)
        for thing in ("wing spar", "harbour", "boundary layer", "old bridge")
        for what, fact in (("wood", "measured in 1954"), ("the north", "described by two equations"), ("Straße", "🚀!"))
    )
} | {"long": "The wing spar of the old bridge. " * 1000}
QUERIES = {"q1": "what is a wing spar", "q2": "harbours of the north", "q3": "boundary layer {document}"}
HITS = {"q1": [("d0", 3.0), ("d1", 2.0), ("d2", 1.0)], "q2": [("d4", 3.0), ("long", 2.0), ("d0", 1.0)]}
COMMANDS = {
    "queries": "queries --corpus {c} --max-tokens 6",
    "several queries": "queries --corpus {c} --documents 12 --per-document 3 --prompt chat --max-tokens 6",
    "documents": f"documents --topics {{c}} --max-tokens 300 --max-chars {LONGEST} --attempts 6",
    "documents one by one": "documents --topics {c} --one-by-one --per-grade 2 --max-tokens 5 --attempts 6",
    "graded queries": f"documents --from-documents {{c}} --limit 3 --max-tokens 300 --max-chars {LONGEST} --attempts 6",
    "graded queries one by one": "documents --from-documents {c} --limit 3 --one-by-one --max-tokens 5 --attempts 6",
    "judgements": "judgements --run {c}/bm25.trec --topics {c} --corpus {c}",
}
Generate = Callable[..., Said]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection with a run."""
    collection(tmp_path / "beir", DOCUMENTS, QUERIES, [("q1", "d0", 3), ("q1", "d4", 0)])
    run(tmp_path / "beir" / "bm25.trec", HITS)
    return tmp_path / "beir"


def contents(output: Path) -> dict[str, bytes]:
    """All files but the manifest, which holds times; a run without its tag, a hash of all flags."""
    files = (path for path in output.rglob("*") if path.is_file() and path.name != "manifest.json")
    found = {path.relative_to(output).as_posix(): path.read_bytes() for path in files}
    return {name: re.sub(rb" \S+$", b"", made, flags=re.M) if name == RUN else made for name, made in found.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command(name: str, server: Any, generate: Generate, folder: Path, tiny_llm: Path) -> None:
    """The output is whole and consistent, all requests are stored, and what is there is not asked again."""
    output, words = folder.parent / "out", COMMANDS[name].format(c=folder).split()

    def at(url: str, *more: object) -> Said:
        return generate(*words, "--llm", "openai:tiny", "--base-url", url, "--output", output, *more)

    assert at(server.url).code == 0
    kind = check(output, folder)
    manifest, made = read_manifest(output), contents(output)
    assert manifest["command"] == f"gradir generate {words[0]}"
    assert (manifest["config"]["model"], manifest["measured"]["reused"]) == ("openai:tiny", 0)
    asked = manifest["measured"]["asked"]
    keys = [key for line in read(output.with_name("out.requests") / "replies.jsonl") for key in line["keys"]]
    assert len(set(keys)) == len(keys) == asked > 0
    CHECK_COUNTS[words[0]](manifest["counts"], manifest["config"], asked, len(read(output / "records.jsonl")))
    again = at(DEAD)
    assert (again.code, "finished; nothing to do" in again.err) == (0, True)
    assert read_manifest(output) == manifest
    # Who knows the context and how to count needs no server for what is stored.
    known = "--llm-option", f"context={CONTEXT}", f"tokenizer={tiny_llm}"
    assert at(DEAD, "--overwrite", *known).code == 0
    assert contents(output) == made
    measured = read_manifest(output)["measured"]
    assert (measured["asked"], measured["paid_prompt_tokens"]) == (0, 0)
    assert measured["reused"] == asked
    assert kind == ("queries" if "quer" in name else name.split()[0])


def check(output: Path, folder: Path) -> Kind:
    """All that a generated folder promises; returns what it holds."""
    records = read(output / "records.jsonl")
    with Generated(output, [str(folder)], str(folder)) as found:
        assert found.count() == len(records) > 0
        assert all(item.query.strip() and item.document.strip() for item in found.items())
        kind = found.kind
    CHECK[kind](output, records)
    assert all(record["model"] == "openai:tiny" for record in records)
    return kind


def check_queries(output: Path, records: list[dict[str, Any]]) -> None:
    graded = "grade" in records[0]
    for record in records:
        jsonschema.validate(record, schema("generated_document" if graded else "generated_query"))
        assert record["qid"].startswith(f"{record['docid']}-q")
        assert record["docid"] in DOCUMENTS
        if not graded:
            assert all(-math.inf < one <= 0 for one in record["log_probs"])
            assert record["mean_log_prob"] == pytest.approx(math.fsum(record["log_probs"]) / len(record["log_probs"]))
    assert {query.qid: query.text for query in read_topics(output)} == {one["qid"]: one["query"] for one in records}
    expected = {one["qid"]: {one["docid"]: one.get("grade", 3)} for one in records}
    assert read_qrels(output / "qrels" / "train.tsv") == expected


def check_documents(output: Path, records: list[dict[str, Any]]) -> None:
    for record in records:
        jsonschema.validate(record, schema("generated_document"))
        assert record["docid"].partition(".")[0] == f"{record['qid']}-g{record['grade']}"
    assert {query.qid: query.text for query in read_topics(output)} == {
        qid: text for qid, text in QUERIES.items() if qid in {one["qid"] for one in records}
    }
    texts = {row["_id"]: row["text"] for row in read(output / "corpus.jsonl")}
    assert list(texts) == [one["docid"] for one in records]
    assert len({(one["qid"], texts[one["docid"]]) for one in records}) == len(records)
    if records[0]["prompt"] == "sycl":
        assert max(map(len, texts.values())) <= LONGEST
    expected: dict[str, dict[str, int]] = {}
    for one in records:
        expected.setdefault(one["qid"], {})[one["docid"]] = one["grade"]
    assert read_qrels(output / "qrels" / "train.tsv") == expected


def check_judgements(output: Path, records: list[dict[str, Any]]) -> None:
    judged: dict[str, dict[str, int]] = {}
    soft: dict[tuple[str, str], float] = {}
    for record in records:
        jsonschema.validate(record, schema("judgement"))
        shares = {int(grade): share for grade, share in record["probabilities"].items()}
        assert math.fsum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert record["expected"] == pytest.approx(math.fsum(g * p for g, p in shares.items()), abs=1e-5)
        assert shares[record["grade"]] == max(shares.values())  # temperature 0
        judged.setdefault(record["qid"], {})[record["docid"]] = record["grade"]
        soft[record["qid"], record["docid"]] = record["expected"]
    assert {qid: list(of) for qid, of in judged.items()} == {
        qid: [docid for docid, _ in of] for qid, of in HITS.items()
    }
    assert read_qrels(output / "qrels" / "judgements.tsv") == judged
    scores = {(qid, hit.docid): hit.score for qid, hits in read_run(output / RUN).items() for hit in hits}
    assert scores == pytest.approx(soft, abs=3e-6)


CHECK: dict[Kind, Callable[[Path, list[dict[str, Any]]], None]] = {
    "queries": check_queries,
    "documents": check_documents,
    "judgements": check_judgements,
}


def count_queries(counts: dict[str, Any], config: dict[str, Any], asked: int, records: int) -> None:
    assert (counts["drawn"], counts["kept"], counts["failed"]) == (asked, records, 0)
    assert counts["truncated"] == 1
    assert counts["answers"] == asked * config["per_document"] == records + sum(counts["dropped"].values())


def count_documents(counts: dict[str, Any], config: dict[str, Any], asked: int, records: int) -> None:
    together = 1 if config["one_by_one"] else len(config["grades"])
    assert counts["requests"] * together == records + sum(counts["dropped"].values())
    assert counts["requests"] + counts["asked_again"] <= asked  # some are asked more than twice
    assert counts["texts"] == records == sum(counts[f"grade_{grade}"] for grade in config["grades"])
    assert counts["not_answered"] == 0


def count_judgements(counts: dict[str, Any], config: dict[str, Any], asked: int, records: int) -> None:
    assert (counts["pairs"], counts["kept"], counts["with_probabilities"]) == (asked, records, records)
    assert (records, sum(counts["grades"].values()), counts["dropped"], counts["cut"]) == (6, 6, {}, 1)


CHECK_COUNTS = {"queries": count_queries, "documents": count_documents, "judgements": count_judgements}


def test_a_judge_looks_at_what_was_made_and_the_filter_follows_it(
    server: Any, generate: Generate, folder: Path
) -> None:
    """The whole path of re-judgement: documents, judgements of them, the filter by both; and the page on what was made."""
    ask = "--llm", "openai:tiny", "--base-url", server.url
    made, judged, kept = (folder.parent / name for name in ("made", "judged", "kept"))
    assert generate(*COMMANDS["documents"].format(c=folder).split(), *ask, "--output", made).code == 0
    said = generate("judgements", "--input", made, *ask, "--output", judged)
    assert said.code == 0
    assert f"--input {made} --judgements {judged} --max-difference 1" in said.err
    of = {one["docid"]: one for one in read(judged / "records.jsonl")}
    wanted = {one["docid"]: one["grade"] for one in read(made / "records.jsonl")}
    assert list(of) == list(wanted)
    agreement = json.loads((judged / "agreement.json").read_text())
    expected = [[sum((wanted[d], of[d]["grade"]) == (a, b) for d in of) for b in range(4)] for a in range(4)]
    assert agreement["confusion"] == expected
    flags = "--judgements", judged, "--max-difference", 1, "--judged-by", "expected", "--output", kept
    said = generate("filter", "--input", made, *flags)
    near = [docid for docid, grade in wanted.items() if abs(of[docid]["expected"] - grade) <= 1]
    assert (said.code, 0 < len(near) < len(of)) == (0, True)
    assert [one["docid"] for one in read(kept / "records.jsonl")] == near
    dropped = {one["docid"]: (one["reason"], one["value"]) for one in read(kept / "dropped.jsonl")}
    assert dropped == {d: ("judged_otherwise", of[d]["expected"]) for d in wanted if d not in near}
    assert read_manifest(kept)["counts"]["dropped"] == {"judged_otherwise": len(dropped)}
    check_documents(kept, read(kept / "records.jsonl"))
    page = folder.parent / "page"
    assert generate("audit", "--input", made, "--output", page).code == 0
    audited = json.loads((page / "audit.json").read_text())
    jsonschema.validate(audited, schema("audit"))
    assert audited["grades"] == {str(grade): number for grade, number in sorted(Counter(wanted.values()).items())}


def test_agreement_with_people(server: Any, generate: Generate, folder: Path) -> None:
    flags = "--topics", folder, "--corpus", folder, "--qrels", folder / "qrels" / "test.tsv", "--output", folder / "out"
    said = generate("judgements", *flags, "--llm", "openai:tiny", "--base-url", server.url)
    assert (said.code, "2 pairs with two grades" in said.out, "Cohen's kappa" in said.out) == (0, True, True)
    ours = read_qrels(folder / "out" / "qrels" / "judgements.tsv")["q1"]
    found = json.loads((folder / "out" / "agreement.json").read_text())["confusion"]
    expected = Counter([(3, ours["d0"]), (0, ours["d4"])])
    assert {(a, b): found[a][b] for a in range(4) for b in range(4) if found[a][b]} == expected

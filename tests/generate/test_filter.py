"""`gradir generate filter` as a command: order, counts, files, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.command import execute
from gradir.data.manifest import read_manifest
from gradir.data.qrels import read_qrels
from gradir.data.schemas import load as schema
from gradir.errors import GradirError
from gradir.generate.filter_stage import filter_
from tests.generate import made

DOCUMENTS = {"d0": made.SPAR, "d1": made.RIB, "d2": made.TOWN}
ROWS: list[dict[str, Any]] = [
    {"qid": "s0", "docid": "d0", "query": "what carries the bending load", "log_probs": [-0.5] * 5},
    {"qid": "s1", "docid": "d0", "query": "As an AI I cannot say", "log_probs": [-0.1] * 5},
    {"qid": "s2", "docid": "d1", "query": "give the wing its section", "log_probs": [-0.2] * 5},
    {"qid": "s3", "docid": "d2", "query": "how do people in a harbour live", "log_probs": [-1.5] * 6},
    {"qid": "s4", "docid": "d2", "query": "How do people in a harbour live?", "log_probs": [-1.0] * 6},
    {"qid": "s5", "docid": "d1", "query": "ribs", "log_probs": [-0.1]},
    {"qid": "s6", "docid": "d1", "query": "what are ribs good for in wings", "log_probs": [-2.0] * 7},
]
QUERIES = {"q0": "what is a spar", "q1": "where is the town"}
TEXTS = {
    ("q0", 3): made.SPAR,
    ("q0", 2): made.RIB,
    ("q0", 0): made.TOWN,
    ("q1", 3): "As an AI I know no towns.",
    ("q1", 1): "Towns have markets.",
    ("q1", 0): "Nothing of that kind.",
}


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return str(made.collection(tmp_path / "c", DOCUMENTS, {"t": "an unseen test query"}, [("t", "d2", 1)]))


@pytest.fixture
def synth(tmp_path: Path) -> Path:
    return made.queries_folder(tmp_path / "synth", ROWS)


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    return made.documents_folder(tmp_path / "graded", QUERIES, TEXTS)


def reasons(folder: Path) -> dict[str, tuple[str, Any]]:
    key = "qid" if "query" in made.read(folder / "records.jsonl")[0] else "docid"
    rows = made.read(folder / "dropped.jsonl")
    for row in rows:
        jsonschema.validate(row, schema("dropped"))
    return {row[key]: (row["reason"], row["value"]) for row in rows}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_all_filters_in_their_order(synth: Path, corpus: str, tmp_path: Path) -> None:
    before = snapshot(synth)
    given: dict[str, Any] = {
        "drop_boilerplate": True,
        "drop_copies": True,
        "min_tokens": 3,
        "duplicates": 0.8,
        "keep": "best",
    }
    outcome = filter_(synth, tmp_path / "kept", [corpus], top_k=2, against=[corpus], language="en", **given)
    assert reasons(tmp_path / "kept") == {
        "s1": ("refusal", "as an ai"),
        "s2": ("copy", "give the wing its section"),
        "s5": ("copy", "ribs"),  # and not few_tokens: copies are looked for before
        "s3": ("duplicate", {"of": "s4", "similarity": pytest.approx(0.96, abs=0.05)}),
        "s6": ("top_k", -2.0),
    }
    # s1, whose log-probability is among the best, does not take a place among the best
    assert [row["qid"] for row in made.read(tmp_path / "kept" / "records.jsonl")] == ["s0", "s4"]
    assert read_qrels(tmp_path / "kept" / "qrels" / "train.tsv") == {"s0": {"d0": 3}, "s4": {"d2": 3}}
    assert snapshot(synth) == before
    counts = read_manifest(tmp_path / "kept")["counts"]
    assert counts["dropped"] == {"copy": 2, "duplicate": 1, "refusal": 1, "top_k": 1}
    assert [one["filter"] for one in counts["filters"] if one["dropped"]] == [
        "boilerplate",
        "copies",
        "near duplicates",
        "top k",
    ]
    assert "dropped: copy" in outcome.text
    assert "2 of 7 records kept" in outcome.message


def test_answers_in_the_wrong_language(tmp_path: Path) -> None:
    """Asked for German; the model answered in English, in Chinese, and in words that tell nothing, which stay."""
    asked = ["wie wird der Holm eines Flügels gebaut", "what is the load of a wing", "机翼的翼梁是什么", "NACA 2412"]
    synth = made.queries_folder(
        tmp_path / "synth", [{"qid": f"s{i}", "docid": "d0", "query": text} for i, text in enumerate(asked)]
    )
    filter_(synth, tmp_path / "kept", language="de")
    assert reasons(tmp_path / "kept") == {"s1": ("language", "en"), "s2": ("language", "zh")}


def test_inpars(synth: Path, tmp_path: Path) -> None:
    filter_(synth, tmp_path / "kept", min_tokens=3, max_tokens=1000, top_k=3)
    assert [row["_id"] for row in made.read(tmp_path / "kept" / "queries.jsonl")] == ["s0", "s1", "s2"]
    assert reasons(tmp_path / "kept")["s5"] == ("few_tokens", 1)


def test_graded_documents_lose_what_depends_on_them(graded: Path, tmp_path: Path) -> None:
    filter_(graded, tmp_path / "kept", drop_boilerplate=True)
    assert reasons(tmp_path / "kept") == {"q1-g3": ("refusal", "as an ai")}
    dropped = made.read(tmp_path / "kept" / "dropped.jsonl")
    assert dropped[0]["text"] == "As an AI I know no towns."  # to be looked at, and to be put back
    counts = read_manifest(tmp_path / "kept")["counts"]
    assert (counts["queries_kept"], counts["queries_without_positive"], counts["queries_without_negative"]) == (2, 1, 0)
    filter_(graded, tmp_path / "complete", drop_boilerplate=True, complete=True)
    assert [row["_id"] for row in made.read(tmp_path / "complete" / "queries.jsonl")] == ["q0"]
    assert [row["_id"] for row in made.read(tmp_path / "complete" / "corpus.jsonl")] == ["q0-g3", "q0-g2", "q0-g0"]
    assert read_manifest(tmp_path / "complete")["counts"]["queries_kept"] == 1


def test_levels_by_a_run_and_by_judgements(graded: Path, tmp_path: Path) -> None:
    run = made.run(tmp_path / "run.trec", {"q0": [("q0-g0", 3.0), ("q0-g3", 2.0)], "q1": [("q1-g3", 1.0)]})
    filter_(graded, tmp_path / "levels", run=run, level_gap=3)
    assert reasons(tmp_path / "levels") == {"q0-g0": ("level", 1)}
    judged = {(q, f"{q}-g{g}"): g if (q, g) != ("q1", 3) else 0 for q, g in TEXTS}
    folder = made.judgements_folder(tmp_path / "j", judged)
    filter_(graded, tmp_path / "judged", judgements=folder, max_difference=1)
    assert reasons(tmp_path / "judged") == {"q1-g3": ("judged_otherwise", 0)}


def test_judgements_themselves(tmp_path: Path) -> None:
    folder = made.judgements_folder(tmp_path / "j", {("q", "a"): 3, ("q", "b"): 0, ("r", "a"): 1})
    scores = made.run(tmp_path / "s.trec", {"q": [("a", 2.0), ("b", 0.5)], "r": [("a", 1.0)]})
    filter_(folder, tmp_path / "kept", scores=scores, min_score=1.0)
    assert read_qrels(tmp_path / "kept" / "qrels" / "judgements.tsv") == {"q": {"a": 3}, "r": {"a": 1}}
    assert "b" not in (tmp_path / "kept" / "scores.trec").read_text().split()


_FLAGS: list[dict[str, Any]] = [{"top_k": 2}, {"duplicates": 0.8}, {"drop_boilerplate": True}, {"min_log_prob": -1.2}]


@pytest.mark.parametrize("flags", [*_FLAGS, {"query_words": [3, 6]}])
def test_what_passed_once_passes_again(synth: Path, tmp_path: Path, flags: dict[str, Any]) -> None:
    filter_(synth, tmp_path / "once", **flags)
    filter_(tmp_path / "once", tmp_path / "twice", **flags)
    assert made.read(tmp_path / "twice" / "dropped.jsonl") == []
    for name in ("records.jsonl", "queries.jsonl", "qrels/train.tsv"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_kept_and_dropped_are_the_input(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    words = st.lists(st.sampled_from(["wing", "spar", "load", "sorry", "i'm", "what"]), min_size=1, max_size=6)
    texts = data.draw(st.lists(words, min_size=1, max_size=12))
    draws = [data.draw(st.lists(st.floats(-9, 0), min_size=1, max_size=4)) for _ in texts]
    rows = [
        {"qid": f"s{i}", "docid": "d0", "query": " ".join(text), "log_probs": log_probs}
        for i, (text, log_probs) in enumerate(zip(texts, draws, strict=True))
    ]
    base = tmp_path_factory.mktemp("kept")
    flags: dict[str, Any] = {
        "top_k": data.draw(st.none() | st.integers(1, 12)),
        "duplicates": data.draw(st.none() | st.floats(0.3, 1)),
        "keep": "first",
        "min_tokens": data.draw(st.none() | st.integers(1, 3)),
        "query_words": data.draw(st.none() | st.just([2, 5])),
        "drop_boilerplate": data.draw(st.booleans()),
    }
    source = made.queries_folder(base / "in", rows)
    error = ""
    try:
        filter_(source, base / "out", **flags)
    except GradirError as raised:
        error = str(raised)
    if error:
        assert "nothing is left" in error
        assert not (base / "out").exists()
        return
    whole = [row["qid"] for row in made.read(source / "records.jsonl")]
    kept = [row["qid"] for row in made.read(base / "out" / "records.jsonl")]
    dropped = [row["qid"] for row in made.read(base / "out" / "dropped.jsonl")]
    assert sorted(kept + dropped) == sorted(whole)
    assert kept == [qid for qid in whole if qid in set(kept)]
    assert dropped == [qid for qid in whole if qid in set(dropped)]
    counts = read_manifest(base / "out")["counts"]
    assert sum(counts["dropped"].values()) == len(dropped)
    assert counts["kept"] == len(kept)
    if flags["top_k"]:
        assert len(kept) <= flags["top_k"]


def test_a_dry_run_counts_and_writes_nothing(synth: Path, tmp_path: Path) -> None:
    outcome = filter_(synth, tmp_path / "kept", drop_boilerplate=True, dry_run=True)
    assert "refusal" in outcome.text
    assert outcome.output is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["synth"]


def test_all_problems_at_once(synth: Path, tmp_path: Path, raises_error: Any) -> None:
    flags: dict[str, Any] = {
        "level_gap": 0,
        "query_chars": [9, 1],
        "max_overlap": 2.0,
        "language": "xx",
        "keep": "best",
    }
    flags |= {
        "scores": tmp_path / "none.trec",
        "reranker": "model",
        "round_trip": 3,
        "against": [str(tmp_path)],
        "min_judged": 2.0,
    }
    with raises_error(
        "--level-gap 0 is below 1",
        "--query-chars 9 1 is no range",
        "--max-overlap 2.0 is no share",
        "--language xx is not known",
        "none.trec: no such file",
        "give one",
        "--round-trip needs --run",
        "no qrels/test.tsv",
        "--keep best does nothing without --duplicates",
        "--judgements needs --min-judged",
        "--level-gap: not for queries",
        "--max-overlap, --reranker need --corpus",
    ):
        filter_(synth, tmp_path / "kept", **flags)


@pytest.mark.parametrize(
    ("kind", "flags", "words"),
    [
        ("documents", {"top_k": 3}, "--top-k: not for documents"),
        ("documents", {"run": "RUN", "round_trip": 1}, "--round-trip: not for documents"),
        ("queries", {"complete": True}, "--complete: not for queries"),
        ("queries", {"drop_copies": True}, "--drop-copies needs --corpus"),
        ("queries", {"min_score": 1.0}, "--min-score needs --scores or --reranker"),
        ("queries", {"scores": "RUN"}, "do nothing without"),
        ("queries", {"run": "RUN"}, "--run does nothing"),
        ("queries", {"scores": "RUN", "top_scores": 3, "top_k": 3}, "two ways"),
        ("queries", {"duplicates": 0.0}, "--duplicates 0.0 is no share above 0"),
        ("queries", {"min_log_prob": float("nan")}, "not finite"),
        ("judgements", {"drop_boilerplate": True}, "--drop-boilerplate: not for judgements"),
    ],
)
def test_what_does_not_go_together(
    tmp_path: Path, synth: Path, graded: Path, raises_error: Any, kind: str, flags: dict[str, Any], words: str
) -> None:
    run = made.run(tmp_path / "run.trec", {"s0": [("d0", 1.0)]})
    folder = {"queries": synth, "documents": graded}.get(kind) or made.judgements_folder(
        tmp_path / "j", {("q", "d"): 1}
    )
    with raises_error(words):
        filter_(folder, tmp_path / "kept", **{name: run if value == "RUN" else value for name, value in flags.items()})


def test_top_k_without_log_probabilities_is_refused(tmp_path: Path, raises_error: Any) -> None:
    rows = [{name: value for name, value in row.items() if name != "log_probs"} for row in ROWS]
    folder = made.queries_folder(tmp_path / "q", [*rows[:3], *ROWS[3:]])
    with raises_error("--min-tokens: 3 records have no log_probs", "--top-k: 3 records have no log-probability"):
        filter_(folder, tmp_path / "kept", min_tokens=3, top_k=2)
    assert not (tmp_path / "kept").exists()


def test_a_finished_filter_does_nothing_and_other_flags_are_refused(
    synth: Path, tmp_path: Path, raises_error: Any
) -> None:
    filter_(synth, tmp_path / "kept", top_k=3)
    before = snapshot(tmp_path / "kept")
    assert "nothing to do" in filter_(synth, tmp_path / "kept", top_k=3).message
    assert snapshot(tmp_path / "kept") == before
    with raises_error("top_k: 3 -> 4", "--overwrite"):
        filter_(synth, tmp_path / "kept", top_k=4)
    filter_(synth, tmp_path / "kept", top_k=4, overwrite=True)
    assert len(made.read(tmp_path / "kept" / "records.jsonl")) == 4
    with raises_error("is inside --input"):
        filter_(synth, synth / "kept", top_k=3)


def test_the_command_imports_nothing_heavy(synth: Path, tmp_path: Path) -> None:
    """Nor does it where no filter needs a model."""
    code = (
        "import sys; from gradir.generate.filter_stage import filter_; from pathlib import Path\n"
        "loaded = {'torch', 'transformers', 'matplotlib', 'datasketch', 'numpy'} & set(sys.modules)\n"
        f"filter_(Path({str(synth)!r}), Path({str(tmp_path / 'kept')!r}), drop_boilerplate=True, top_k=3)\n"
        "print(loaded, {'torch', 'transformers', 'datasketch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() set()"


def test_from_the_command_line(synth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--input", str(synth), "--output", str(tmp_path / "kept"), "--query-words", "3", "6", "--drop-boilerplate"]
    assert execute(filter_, words, "gradir generate filter") == 0
    shown = capsys.readouterr()
    assert "dropped: query words" in shown.out
    assert shown.err.splitlines()[-1].startswith("next: gradir generate audit --input")
    assert execute(filter_, ["--input", str(tmp_path), "--output", str(tmp_path / "x")], "gradir generate filter") == 1


def test_hostile_text_stays_data(tmp_path: Path) -> None:
    hostile = 'x\u2028"}\n{"reason": "none"} {query} $(rm) <script> \ufeff'
    texts = {"a": hostile, "b": "short"}
    rows = [{"qid": qid, "docid": "d", "query": text} for qid, text in texts.items()]
    folder = made.queries_folder(tmp_path / "q", rows)
    filter_(folder, tmp_path / "kept", query_chars=[10])
    filter_(folder, tmp_path / "other", query_chars=[0, 10])
    assert made.read(tmp_path / "kept" / "queries.jsonl") == [{"_id": "a", "text": hostile}]
    raw = (tmp_path / "other" / "dropped.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["query"] for line in raw if line] == [hostile]

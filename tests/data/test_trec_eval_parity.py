"""`gradir evaluate` and the trec_eval inside Anserini print the same four decimals, for every query and in the mean."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from gradir.data import read_qrels
from gradir.data.measures import evaluate_run

REQUESTS = [
    *(
        "num_q",
        "num_ret",
        "num_rel",
        "num_rel_ret",
        "num_nonrel_judged_ret",
        "map",
        "gm_map",
        "gm_bpref",
        "bpref",
        "infAP",
    ),
    *(
        "Rprec",
        "recip_rank",
        "11pt_avg",
        "ndcg",
        "ndcg_rel",
        "Rndcg",
        "G",
        "binG",
        "set_P",
        "set_recall",
        "set_F",
        "utility",
    ),
    *(
        "set_map",
        "set_relative_P",
        "P",
        "recall",
        "ndcg_cut.1,3,10",
        "map_cut.10,100",
        "success",
        "relative_P.5,10",
        "iprec_at_recall",
    ),
    *("Rprec_mult",),
]
DOCIDS = [*(f"d{number}" for number in range(60)), "D7", "é", "日本", "a.b-c"]


def _score(draw: random.Random, kind: str) -> str:
    """As other tools write scores: with ties, in exponents, apart only beyond single precision."""
    if kind == "ties":
        return draw.choice(["3", "2.5", "2", "1.0", "-1", "0"])
    if kind == "impacts":  # whole numbers lowered by 1e-6, as Anserini separates ties
        return f"{draw.randint(20000, 20003) - draw.choice([0, 0, 1e-6, 2e-6, 3e-6]):.6f}"
    if kind == "close":
        return repr(17.0 + draw.randint(-3, 3) * draw.choice([1e-9, 1e-6, 1e-7, 0.1]))
    return draw.choice([f"{draw.gauss(0, 9):.6f}", f"{draw.gauss(0, 9):e}", repr(draw.gauss(0, 9))])


def _write(folder: Path, seed: int, kinds: list[str]) -> tuple[Path, Path]:
    """Random judgements and a run: queries missing on either side, without relevant documents, unjudged documents."""
    draw = random.Random(seed)
    qrels, run = folder / f"{seed}.qrels", folder / f"{seed}.run"
    judged, found = [], []
    for number in range(60):
        qid = draw.choice([f"{number}", f"q{number}", f"0{number}"])
        relevant = draw.random() < 0.9
        grades = [-1, 0, 0, 1, 1, 2, 3] if relevant else [0, 0, -1]
        documents = draw.sample(DOCIDS, draw.randint(1, 40))
        if number % 9:
            judged.append(f"{qid} 0 {documents[0]} 0")  # trec_eval itself fails where all grades are negative
            judged += [f"{qid} 0 {docid} {draw.choice(grades)}" for docid in documents[1:]]
        if number % 7:
            kind = draw.choice(kinds)
            retrieved = draw.sample(DOCIDS, draw.randint(1, len(DOCIDS)))
            found += [f"{qid} Q0 {docid} {rank} {_score(draw, kind)} x" for rank, docid in enumerate(retrieved)]
    qrels.write_text("\n".join(judged) + "\n", encoding="utf-8")
    run.write_text("\n".join(found) + "\n", encoding="utf-8")
    return qrels, run


def _printed(output: str) -> dict[str, dict[str, str]]:
    """`{qid or "all": {measure: value as printed}}`"""
    table: dict[str, dict[str, str]] = {}
    for line in output.splitlines():
        measure, qid, value = line.split("\t")
        table.setdefault(qid, {})[measure.strip()] = value
    return table


def _anserini(*arguments: object) -> dict[str, dict[str, str]]:
    """trec_eval inside Anserini's jar, in a JVM of its own."""
    from gradir import jvm

    command = [jvm.find_java().home / "bin" / "java", "-cp", jvm.anserini_jar(), "trec_eval", *arguments]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, encoding="utf-8", check=True)
    return _printed(done.stdout)


def _flags(names: list[str]) -> list[str]:
    return [word for name in names for word in ("-m", name)]


def _differences(
    theirs: dict[str, dict[str, str]], qrels: Path, run: Path, names: list[str], least: int = 1
) -> list[str]:
    ours = evaluate_run(read_qrels(qrels), run, names, least)
    found = {"all": ours.means, **ours.per_query}
    lines = []
    for qid, values in theirs.items():
        assert qid in found
        for measure, text in values.items():
            value = found[qid][measure]
            shown = f"{value:.0f}" if "." not in text else f"{value:.4f}"
            if float(shown) != float(text):  # -0.0000 is 0.0000
                lines.append(f"{qid} {measure}: trec_eval {text}, gradir {shown}")
    return lines


@pytest.mark.parametrize(
    ("seed", "kinds", "least"),
    [
        (1, ["plain"], 1),
        (2, ["ties"], 1),
        (3, ["ties", "plain"], 2),
        (4, ["impacts", "close"], 1),
        (5, ["impacts", "close", "ties", "plain"], 3),
    ],
)
def test_same_four_decimals(tmp_path, seed, kinds, least):
    qrels, run = _write(tmp_path, seed, kinds)
    theirs = _anserini("-c", "-q", "-l", least, *_flags(REQUESTS), qrels, run)
    assert len(theirs) > 30
    assert len(theirs["all"]) > 70
    assert _differences(theirs, qrels, run, REQUESTS, least) == []


def test_reciprocal_rank_with_a_cut_off_is_that_of_a_run_cut_off(tmp_path):
    qrels, run = _write(tmp_path, 6, ["ties", "close", "impacts"])
    for depth in (1, 3, 10):
        theirs = _anserini("-c", "-q", "-M", depth, "-m", "recip_rank", qrels, run)
        ours = evaluate_run(read_qrels(qrels), run, [f"MRR@{depth}"])
        for qid, values in theirs.items():
            value = (ours.means if qid == "all" else ours.per_query[qid])[f"MRR@{depth}"]
            assert f"{value:.4f}" == values["recip_rank"], qid


def test_single_precision_is_noticed(tmp_path):
    qrels, run = _write(tmp_path, 7, ["impacts"])
    assert evaluate_run(read_qrels(qrels), run).reordered > 10
    qrels, run = _write(tmp_path, 8, ["ties"])
    assert evaluate_run(read_qrels(qrels), run).reordered == 0


def test_pyserinis_own_command_prints_the_same(tmp_path):
    qrels, run = _write(tmp_path, 9, ["ties", "close", "impacts", "plain"])
    names = [name for name in REQUESTS if name != "num_q"]
    arguments = ["-c", "-q", *_flags(names), str(qrels), str(run)]
    command = [sys.executable, "-m", "gradir.cli", "pyserini", "eval.trec_eval", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    theirs = _printed("\n".join(line for line in done.stdout.splitlines() if line.count("\t") == 2))
    assert len(theirs) > 30
    assert _differences(theirs, qrels, run, names) == []

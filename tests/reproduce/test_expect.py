from __future__ import annotations

import json
import math
import re

import pytest

from gradir.errors import GradirError
from gradir.reproduce.expect import check, format_table, verdict, write_scores


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (0.60, "OK"),
        (0.62, "OK"),
        (0.58, "OK"),
        (0.6201, "OKish"),
        (0.64, "OKish"),
        (0.56, "OKish"),
        (0.6401, "FAIL"),
        (0.5, "FAIL"),
    ],
)
def test_verdicts_by_hand(measured, said):
    assert verdict(measured, 0.60, 0.02) == said


def one(run: str, **more: object) -> dict[str, object]:
    return {"run": run, "qrels": "qrels.tsv", "measure": "MRR@10", **more}


def test_values_are_checked_against_the_run(files):
    # a.trec finds both at rank 1; b.trec d1 at rank 2 and d2 at rank 3: (1/2 + 1/3) / 2
    assert check(one("a.trec")).measured == 1.0
    row = check(one("b.trec", value=0.4, tolerance=0.02))
    assert math.isclose(row.measured, 5 / 12)
    assert row.verdict == "OK"
    assert check(one("b.trec", value=0.4, tolerance=0.01)).verdict == "OKish"
    assert check(one("b.trec", value=0.4, tolerance=0.001)).verdict == "FAIL"
    assert check(one("b.trec", value=None, tolerance=0.001)).verdict == ""


def test_better_than_another_run(files):
    row = check(one("a.trec", over="b.trec", p=0.05))
    assert math.isclose(row.measured, 7 / 12)
    # differences 1/2 and 2/3: t = (7/12) / (1/12) = 7; with 1 degree of freedom p = 1 - 2/pi atan(t)
    assert math.isclose(row.p, 1 - 2 / math.pi * math.atan(7))
    assert row.verdict == "FAIL"  # .09
    assert check(one("a.trec", over="b.trec", p=0.1)).verdict == "OK"
    assert check(one("b.trec", over="a.trec", p=0.1)).verdict == "FAIL"  # worse, as surely
    assert check(one("a.trec", over="b.trec")).verdict == ""


AUDIT = {"monotone": {"all": {"p": 0.004, "by": "x"}}, "overlap": {"3": {"mean": 0.31}, "0": {"mean": 0.2}}}


@pytest.mark.parametrize(
    ("wanted", "limit", "said"),
    [
        ({"at": "monotone.all.p", "below": 0.01}, 0.01, "OK"),
        ({"at": "monotone.all.p", "below": 0.004}, 0.004, "FAIL"),
        ({"at": "monotone.all.p", "above": 0.01}, 0.01, "FAIL"),
        ({"at": "overlap.3.mean", "above": "overlap.0.mean"}, 0.2, "OK"),
        ({"at": "overlap.0.mean", "above": "overlap.3.mean"}, 0.31, "FAIL"),
        ({"at": "overlap.0.mean", "below": "overlap.3.mean"}, 0.31, "OK"),
        ({"at": "overlap.0.mean", "above": "overlap.0.mean"}, 0.2, "FAIL"),
        ({"at": "overlap.0.mean"}, None, ""),
    ],
)
def test_a_number_in_a_file(files, wanted, limit, said):
    (files / "audit.json").write_text(json.dumps(AUDIT), encoding="utf-8")
    row = check({"file": "audit.json", **wanted})
    assert (row.run, row.measure, row.expected, row.verdict) == ("audit.json", wanted["at"], limit, said)
    assert (
        row.measured
        == {"m": 0.004, "overlap.3": 0.31, "overlap.0": 0.2}[
            wanted["at"].removesuffix(".mean").replace("monotone.all.p", "m")
        ]
    )
    bound = next((key for key in ("above", "below") if key in wanted), None)
    assert format_table([row]).splitlines()[1].split()[:4] == (
        ["audit.json", wanted["at"], bound, f"{limit:.4g}"] if bound else ["audit.json", wanted["at"], "-", "0.2000"]
    )


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        (None, "p", "audit.json: is no JSON file that can be read"),
        ("{", "p", "audit.json: is no JSON file that can be read"),
        ('{"a": {"b": 1, "c": 2}}', "a.d", "has no 'd' of 'a.d'. Here it has b, c."),
        ('{"a": {"b": 1}}', "a.b.c", "has no 'c' of 'a.b.c'"),
        ('{"a": {"b": 1}}', "a", "'a' is no number but"),
        ('{"a": true}', "a", "'a' is no number but true"),
    ],
)
def test_a_file_without_the_number(files, text, at, told):
    if text is not None:
        (files / "audit.json").write_text(text, encoding="utf-8")
    with pytest.raises(GradirError, match=re.escape(told)):
        check({"file": "audit.json", "at": at, "below": 1})


def test_another_collection_is_no_failure(files):
    from gradir.collection import collection_hash

    splits = files / "c" / "qrels"
    splits.mkdir(parents=True)
    for name in ("train", "dev", "test"):
        (splits / f"{name}.tsv").write_bytes((files / "qrels.tsv").read_bytes())
    for name in ("corpus.jsonl", "queries.jsonl"):
        (files / "c" / name).write_text("{}\n", encoding="utf-8")
    sha = collection_hash(files / "c")
    wanted = one("a.trec", value=0.1, tolerance=0.01) | {"qrels": "c/qrels/test.tsv"}
    assert check(wanted | {"collection_sha": sha[:12]}).verdict == "FAIL"
    assert check(wanted | {"collection_sha": "0" * 12}).verdict == "collection differs"
    assert check(one("a.trec", value=0.1, tolerance=0.01, collection_sha=sha)).verdict == "collection differs"
    with pytest.raises(GradirError, match="at least 8"):
        check(wanted | {"collection_sha": "0"})


def test_the_table_and_the_file(files):
    rows = [
        check(one("a.trec", value=0.9, tolerance=0.05)),
        check(one("a.trec", over="b.trec", p=0.05)),
        check(one("b.trec")),
    ]
    table = write_scores(files, "name", {"steps": 1}, {"fuse": 0.5}, rows)
    assert table == format_table(rows) == (files / "scores.txt").read_text(encoding="utf-8").rstrip("\n")
    assert [line.split()[-1] for line in table.splitlines()] == ["verdict", "OKish", "FAIL", "-"]
    written = json.loads((files / "scores.json").read_text(encoding="utf-8"))
    assert (written["format"], written["recipe"], written["set"], written["seconds"]) == (
        1,
        "name",
        {"steps": 1},
        {"fuse": 0.5},
    )
    assert written["scores"][0]["verdict"] == "OKish"

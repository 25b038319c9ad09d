from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gradir.data.composition import (
    FromLists,
    FromPairs,
    FromSources,
    Take,
    parse_composition,
    read_composition,
)
from gradir.data.schemas import load

DESIGN = """
seed: 13
lists:
  - queries: data/queries.jsonl
    corpus: [data/corpus.jsonl, synth/corpus.jsonl]
    take:                                   # every entry adds documents to a query's list; a later one never re-adds a docid
      - {from: synth/qrels/train.tsv, grade: [0, 3], k: 4, pick: random}      # pick: random | top | bottom | first
      - {from: data/qrels/train.tsv, grade: [1, null], set: 3, k: 1}          # set: a constant, or map: {1: 2, 2: 3}
      - {from: runs/bm25.trec, rank: [10, 200], set: 0, k: 8, margin: 0.95}   # below 95% of the best positive's score
    teacher: scores/cross-encoder.trec      # joined by (qid, docid)
    weight: 1.0                             # mixing ratio among the entries of lists
"""


def valid(value: object) -> bool:
    """By the schema; keys of `set` become text, as in JSON."""
    return jsonschema.Draft202012Validator(load("composition")).is_valid(json.loads(json.dumps(value)))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The files that the design's example names."""
    files = {
        "data/queries.jsonl": '{"_id": "q", "text": "x"}\n',
        "data/corpus.jsonl": '{"_id": "d", "text": "x"}\n',
        "synth/corpus.jsonl": '{"_id": "s", "text": "x"}\n',
        "synth/qrels/train.tsv": "query-id\tcorpus-id\tscore\nq\ts\t2\n",
        "data/qrels/train.tsv": "q 0 d 1\n",
        "runs/bm25.trec": "\nq Q0 d 1 2.5 bm25\n",
        "scores/cross-encoder.trec": "q Q0 d 1 2.5 ce\n",
        "lists.jsonl": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_schema_is_sound():
    schema = load("composition")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["format"] == {"const": 1}


def test_the_example_of_the_design(folder):
    (folder / "c.yaml").write_text(DESIGN)
    assert valid(yaml.safe_load(DESIGN))
    found = read_composition(folder / "c.yaml")
    synth, human = "synth/qrels/train.tsv", "data/qrels/train.tsv"
    assert found.seed == 13
    assert found.entries == (
        FromSources(
            name="1",
            weight=1.0,
            queries="data/queries.jsonl",
            corpus=("data/corpus.jsonl", "synth/corpus.jsonl"),
            take=(
                Take(synth, False, grade=(0, 3), k=4, pick="random", source="qrels:train"),
                Take(human, False, grade=(1, None), set=3, k=1, pick="random", source="qrels:train"),
                Take(
                    "runs/bm25.trec",
                    True,
                    rank=(10, 200),
                    set=0,
                    k=8,
                    pick="random",
                    margin=0.95,
                    source="run:bm25",
                ),
            ),
            teacher="scores/cross-encoder.trec",
        ),
    )
    assert found.files() == [
        "data/queries.jsonl",
        synth,
        human,
        "runs/bm25.trec",
        "scores/cross-encoder.trec",
        "data/corpus.jsonl",
        "synth/corpus.jsonl",
    ]
    # without a look at the files, keys tell what is a run
    assert parse_composition(yaml.safe_load(DESIGN), files=False) == found


def test_the_other_kinds_and_defaults(folder):
    value: dict[str, Any] = {
        "lists": [
            {"lists": "lists.jsonl"},
            {"lists": "lists.jsonl", "corpus": "data", "name": "again", "weight": 2},
            {"corpus": ["data/corpus.jsonl"], "pairs": "crop", "weight": 0.5},
            {
                "queries": "data",
                "corpus": "data",
                "take": [{"from": "runs/bm25.trec"}, {"from": "data/qrels/train.tsv"}],
            },
        ]
    }
    assert valid(value)
    found = parse_composition(value)
    assert found.seed == 13
    assert found.entries[:3] == (
        FromLists("1", 1.0, "lists.jsonl", ()),
        FromLists("again", 2.0, "lists.jsonl", ("data",)),
        FromPairs("3", 0.5, ("data/corpus.jsonl",), "crop"),
    )
    entry = found.entries[3]
    assert isinstance(entry, FromSources)
    run, judged = entry.take
    # all documents, in file order; a run's documents get grade 0, judged ones keep theirs
    assert (run.run, run.set, run.k, run.pick, run.rank, run.source) == (
        True,
        0,
        None,
        "first",
        (None, None),
        "run:bm25",
    )
    assert (judged.run, judged.set, judged.k, judged.source) == (False, None, None, "qrels:train")
    assert [judged.new_grade(grade) for grade in (0, 3)] == [0, 3]


@pytest.mark.parametrize("keys", [{1: 2, 2: 3}, {"1": 2, "2": 3}])
def test_maps_of_grades_from_yaml_and_json(folder, keys):
    value = {"from": "data/qrels/train.tsv", "set": keys}
    entry = parse_composition({"lists": [base(value)]}).entries[0]
    assert isinstance(entry, FromSources)
    assert entry.take[0].set == {1: 2, 2: 3}
    assert [entry.take[0].new_grade(grade) for grade in (1, 2, 3)] == [2, 3, None]


def test_names_of_pyserini_and_ir_datasets_are_judgements(folder):
    takes = [{"from": "ir_datasets:a/b"}, {"from": "msmarco-passage-dev-subset", "grade": [1, None]}]
    value = {"queries": "msmarco-passage-dev-subset", "corpus": "ir_datasets:a/b", "take": takes}
    entry = parse_composition({"lists": [value]}).entries[0]
    assert isinstance(entry, FromSources)
    assert [take.run for take in entry.take] == [False, False]
    assert [take.source for take in entry.take] == ["qrels:ir_datasets:a/b", "qrels:msmarco-passage-dev-subset"]


def base(*takes: object, **more: object) -> dict[str, Any]:
    return {"queries": "data/queries.jsonl", "corpus": "data/corpus.jsonl", "take": list(takes)} | more


QRELS, RUN = {"from": "data/qrels/train.tsv"}, {"from": "runs/bm25.trec"}
PAIRS = {"corpus": "data/corpus.jsonl", "pairs": "crop"}

# what is wrong, what the error says, and whether the schema alone can tell
BAD: dict[str, tuple[object, tuple[str, ...], bool]] = {
    "no mapping": ([], ("not a mapping",), True),
    "no lists": ({"seed": 1}, ("`lists`",), True),
    "empty lists": ({"lists": []}, ("`lists`",), True),
    "unknown key at the top": ({"seeds": 1, "lists": [PAIRS]}, ("unknown key `seeds`", "'seed'"), True),
    "format": ({"format": 2, "lists": [PAIRS]}, ("`format` is 2",), True),
    "seed": ({"seed": -1, "lists": [PAIRS]}, ("`seed` is -1",), True),
    "seed as text": ({"seed": "x", "lists": [PAIRS]}, ("`seed` is 'x'",), True),
    "no entry": ({"lists": [3]}, ("entry 1", "`take`, `lists` or `pairs`"), True),
    "kind misspelt": ({"lists": [{"queries": "data", "corpus": "data", "takes": []}]}, ("did you mean 'take'",), True),
    "unknown key of an entry": ({"lists": [base(QRELS, teachers="x")]}, ("`teachers`", "'teacher'"), True),
    "key of another kind": ({"lists": [PAIRS | {"queries": "data"}]}, ("unknown key `queries`",), True),
    "unknown key of a source": ({"lists": [base(QRELS | {"grades": [1, 2]})]}, ("take 1", "`grades`", "'grade'"), True),
    "no queries": ({"lists": [{"corpus": "data", "take": [QRELS]}]}, ("no `queries`",), True),
    "no corpus": ({"lists": [{"queries": "data", "take": [QRELS]}]}, ("`corpus` is None",), True),
    "empty corpora": ({"lists": [base(QRELS, corpus=[])]}, ("`corpus` is []",), True),
    "no source": ({"lists": [base()]}, ("`take` is not a list",), True),
    "no from": ({"lists": [base({"k": 1})]}, ("no `from`",), True),
    "source as text": ({"lists": [base("x")]}, ("not a mapping with `from`",), True),
    "several teachers": ({"lists": [base(QRELS, teacher=["a", "b"])]}, ("`teacher`", "one file, not several"), True),
    "weight 0": ({"lists": [PAIRS | {"weight": 0}]}, ("`weight` is 0", "above 0"), True),
    "weight as text": ({"lists": [PAIRS | {"weight": "2"}]}, ("`weight` is '2'",), True),
    "infinite weight": ({"lists": [PAIRS | {"weight": float("inf")}]}, ("`weight` is inf",), False),
    "name with a space": ({"lists": [PAIRS | {"name": "a b"}]}, ("`name`", "white space"), True),
    "two names": ({"lists": [PAIRS | {"name": "a"}] * 2}, ("two entries are called `a`",), False),
    "name like a number": ({"lists": [PAIRS, PAIRS | {"name": "1"}]}, ("two entries are called `1`",), False),
    "pairs": ({"lists": [PAIRS | {"pairs": "crops"}]}, ("`pairs` is 'crops'", "'crop'"), True),
    "k 0": ({"lists": [base(QRELS | {"k": 0})]}, ("`k` is 0",), True),
    "k true": ({"lists": [base(QRELS | {"k": True})]}, ("`k` is True",), True),
    "pick": ({"lists": [base(QRELS | {"k": 1, "pick": "randm"})]}, ("`pick` is 'randm'", "'random'"), True),
    "pick without k": ({"lists": [base(QRELS | {"pick": "top"})]}, ("no effect without `k`",), True),
    "grade of a run": (
        {"lists": [base(QRELS, RUN | {"grade": [1, 2]})]},
        ("`grade` is for judgements", "is a run"),
        False,
    ),
    "rank of judgements": ({"lists": [base(QRELS | {"rank": [1, 2]})]}, ("`rank` is for runs",), False),
    "margin of judgements": ({"lists": [base(QRELS | {"margin": 0.9})]}, ("`margin` is for runs",), False),
    "judged of judgements": ({"lists": [base(QRELS | {"judged": True})]}, ("`judged` is for runs",), False),
    "judged": ({"lists": [base(QRELS, RUN | {"judged": 1})]}, ("`judged` is 1",), True),
    "margin above 1": ({"lists": [base(QRELS, RUN | {"margin": 95})]}, ("`margin` is 95",), True),
    "margin without judgements": ({"lists": [base(RUN | {"margin": 0.9})]}, ("`margin` needs judgements",), False),
    "empty range": ({"lists": [base(QRELS | {"grade": [3, 1]})]}, ("[3, 1]", "empty"), False),
    "rank 0": ({"lists": [base(QRELS, RUN | {"rank": [0, 9]})]}, ("[0, 9]", "the first is 1"), True),
    "range of one": ({"lists": [base(QRELS | {"grade": [3]})]}, ("[lowest, highest]",), True),
    "range as a number": ({"lists": [base(QRELS | {"grade": 3})]}, ("[lowest, highest]",), True),
    "range with a fraction": ({"lists": [base(QRELS | {"grade": [0.5, 3]})]}, ("whole numbers or null",), True),
    "range with true": ({"lists": [base(QRELS | {"grade": [True, 3]})]}, ("whole numbers or null",), True),
    "set as text": ({"lists": [base(QRELS | {"set": "high"})]}, ("`set` is 'high'",), True),
    "set with a fraction": ({"lists": [base(QRELS | {"set": {1: 1.5}})]}, ("`set`", "whole number"), True),
    "set beyond a byte": ({"lists": [base(QRELS | {"set": 1000})]}, ("`set` is 1000", "127"), True),
    "set empty": ({"lists": [base(QRELS | {"set": {}})]}, ("`set` is {}",), True),
    "set of a run as a map": ({"lists": [base(QRELS, RUN | {"rank": [1, 2], "set": {0: 1}})]}, ("`set`",), True),
    "no such qrels": ({"lists": [base({"from": "no/qrels.tsv"})]}, ("no/qrels.tsv: no such file",), False),
    "no such run": ({"lists": [base(QRELS, {"from": "no.trec"})]}, ("take 2", "no.trec: no such file"), False),
    "no such queries": ({"lists": [base(QRELS, queries="no/q.jsonl")]}, ("no/q.jsonl: no such file",), False),
    "no such corpus": ({"lists": [base(QRELS, corpus=["data", "no/c.jsonl"])]}, ("no/c.jsonl: no such file",), False),
    "no such teacher": ({"lists": [base(QRELS, teacher="no.trec")]}, ("no.trec: no such file",), False),
    "no such lists": ({"lists": [{"lists": "no.jsonl"}]}, ("no.jsonl: no such file",), False),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_compositions(folder, refuses, kind):
    value, words, by_schema = BAD[kind]
    before = copy.deepcopy(value)
    with refuses("here.yaml: ", *words):
        parse_composition(value, "here.yaml")
    assert value == before
    assert valid(value) == (not by_schema)


def test_a_file_that_is_neither_judgements_nor_a_run(folder, refuses):
    (folder / "odd.txt").write_text("\none two three four five\n")
    with refuses("odd.txt: neither judgements", "5 columns"):
        parse_composition({"lists": [base({"from": "odd.txt"})]})


def test_all_problems_at_once(folder, refuses):
    value = {
        "sed": 1,
        "lists": [
            base({"from": "no.tsv", "k": 0}, weight=-1),
            PAIRS | {"pairs": "x"},
            {"lists": "none.jsonl", "corpora": 1},
        ],
    }
    with refuses(
        "`sed`",
        "entry 1: take 1: `from`: no.tsv",
        "entry 1: take 1: `k`",
        "entry 1: `weight`",
        "entry 2: `pairs`",
        "entry 3: `lists`",
        "entry 3: unknown key `corpora`",
    ):
        parse_composition(value)


def test_without_a_look_at_files_only_the_grammar_counts(tmp_path, monkeypatch, refuses):
    monkeypatch.chdir(tmp_path)
    parse_composition(yaml.safe_load(DESIGN), files=False)
    with refuses("`grade` is for judgements"):
        parse_composition({"lists": [base(QRELS, {"from": "x", "rank": [1, 2], "grade": [1, 2]})]}, files=False)
    with refuses("no such file"):
        parse_composition(yaml.safe_load(DESIGN))


def test_files_that_are_no_yaml(tmp_path, refuses):
    (tmp_path / "c.yaml").write_text("lists: [\n")
    with refuses("c.yaml", "not YAML"):
        read_composition(tmp_path / "c.yaml")
    with refuses("none.yaml"):
        read_composition(tmp_path / "none.yaml")

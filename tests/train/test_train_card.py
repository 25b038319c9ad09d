"""The model cards of trained folders: what they say is what was done, and what they tell to type can be typed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradir.command import parser_for
from gradir.data.lists import write_lists
from gradir.data.manifest import read_manifest
from gradir.data.records import GradedDoc, GradedList
from gradir.reproduce.commands import COMMANDS
from gradir.train.__main__ import main
from gradir.train.card import Trained, shown, write_card

Tiny = Callable[..., Path]
COMMON = {"steps": 3, "batch_size": 4, "dtype": "float32", "device": "cpu"}
MODEL = {"max_query_length": 12, "max_passage_length": 24}


@pytest.fixture(scope="module")
def work(sentences: list[str], corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graded lists over the 64 texts, and a dev collection."""
    folder = tmp_path_factory.mktemp("work")
    docs = [[(f"d{i}", 2), (f"d{(i + 9) % 64}", 0)] for i in range(64)]
    made = [
        GradedList(f"q{i}", " ".join(sentences[i].split()[:4]), tuple(GradedDoc(d, g, "rule") for d, g in docs[i]))
        for i in range(64)
    ]
    write_lists(folder / "lists.jsonl", made)
    (folder / "corpus.jsonl").write_bytes(corpus_file.read_bytes())
    (folder / "topics.tsv").write_text("".join(f"{one.qid}\t{one.query}\n" for one in made[:6]))
    (folder / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(6)))
    (folder / "run.trec").write_text("".join(f"q{i} Q0 d{i + 1} 1 2.0 x\nq{i} Q0 d{i} 2 1.0 x\n" for i in range(6)))
    return folder


def trained(work: Path, what: str, start: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Train; the configuration that was."""
    lists = [{"lists": str(work / "lists.jsonl"), "corpus": [str(work / "corpus.jsonl")], "weight": 2.0}]
    values = {"encoder": str(start), "output": str(output), "lists": lists, **COMMON, **changes}
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    assert main([what, str(path)]) == 0
    return values


def read(folder: Path) -> tuple[str, dict[str, str], list[str]]:
    """(the card, its table of the training, the commands that it tells to type)."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Training")[2].partition("##")[0]
    rows = dict(re.findall(r"^\| (\S.*?) \| (.*) \|$", table, re.MULTILINE))
    lines = [line for code in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in code.splitlines()]
    return text, {name: value for name, value in rows.items() if name != "---"}, lines


def assert_typed(lines: list[str], folder: Path) -> set[str]:
    """Each line is a command of gradir with flags that it has, of this folder; returns the commands."""
    found = set()
    for line in lines:
        words = shlex.split(line)
        assert words.pop(0) == "gradir"
        name = next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)
        command = COMMANDS[name]
        parser = parser_for(command.load(), name, command.positional)
        values = vars(parser.parse_args(words[len(name.split()) :]))
        model = values.get("encoder") or values.get("model")
        assert model == str(folder) or name in ("index", "evaluate")
        found.add(name)
    return found


def run_python(text: str) -> dict[str, Any]:
    """What the card's Python leaves behind."""
    found: dict[str, Any] = {}
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, found)
    return found


def test_a_splade_card_tells_what_was_done(work: Path, tiny: Tiny, tmp_path: Path) -> None:
    dev = {"corpus": str(work / "corpus.jsonl"), "queries": str(work / "topics.tsv"), "qrels": str(work / "dev.tsv")}
    changes: dict[str, Any] = {
        "losses": ["infonce", {"name": "wasserstein", "weight": 0.25, "temperature": 2.0}],
        "regularise": {"doc": {"weight": 1e-3, "target_terms": 40}, "schedule": "linear"},
        "dev": {**dev, "every": 2},
        "learning_rate": 3e-4,
        "model": MODEL,
    }
    folder = tmp_path / "x|y" / "model"
    folder.parent.mkdir()
    given = trained(work, "splade", tiny("bert", head=True), folder, **changes)
    text, rows, lines = read(folder)
    assert text.splitlines()[text.splitlines().index("# x|y") + 2].startswith(
        "A SPLADE encoder: texts become weights of 216 "
    )
    assert rows["losses"] == "infonce; wasserstein (weight 0.25, temperature 2.0)"
    for name in ("steps", "batch_size", "learning_rate"):
        assert float(rows[name]) == given[name]
    assert (rows["lists of an epoch"], rows["schedule"], rows["seed"]) == ("64", "linear", "13")
    assert "doc (kind flops, weight 0.001, target_terms 40.0)" in rows["regularise"]
    best = read_manifest(folder)["counts"]["best"]
    assert rows["best dev measure"] == f"nDCG@10 {best['value']:.4f} at step {best['step']}"
    assert assert_typed(lines, folder) == {"encode", "index", "search", "evaluate", "export"}
    config = json.loads((folder / "gradir.json").read_text())
    cells = dict(re.findall(r"^\| (\w+) \| `(.*)` \|$", text.partition("## Configuration")[2], re.MULTILINE))
    assert set(cells) <= set(config)
    assert all(str(config[name]) == value for name, value in cells.items())
    assert (cells["max_query_length"], cells["kind"]) == ("12", "splade")
    (listed,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    place = f"{work.name}/"
    sources = [{"lists": f"{place}lists.jsonl", "corpus": [f"{place}corpus.jsonl"], "weight": 2.0}]
    assert yaml.safe_load(listed) == {"lists": sources}
    assert str(work) not in text  # where this machine keeps them is nobody's business
    front = yaml.safe_load(text.split("---")[1])
    assert front["pipeline_tag"] == "feature-extraction"
    assert "base_model" not in front  # a folder of this machine


def test_a_dense_card_names_the_temperature_that_was_used(work: Path, tiny: Tiny, tmp_path: Path) -> None:
    model = {**MODEL, "normalize": True}
    trained(work, "dense", tiny("bert"), tmp_path / "dense", model=model, losses=["infonce"], matryoshka=[32, 8])
    text, rows, lines = read(tmp_path / "dense")
    assert rows["losses"] == "infonce (temperature 0.05)"
    assert rows["matryoshka"] == "32, 8"
    assert "texts become vectors of 32 numbers" in text
    assert assert_typed(lines, tmp_path / "dense") == {"encode", "index", "search", "evaluate", "export"}
    assert run_python(text)["encoder"].encode_document(["wing spar"]).shape == (1, 32)


def test_another_run_in_its_place_has_another_card(work: Path, tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "dense"
    trained(work, "dense", tiny("bert"), folder, model=MODEL)
    assert main(["dense", str(folder.with_suffix(".yaml")), "--learning-rate", "0.5", "--overwrite"]) == 0
    assert read(folder)[1]["learning_rate"] == "0.5"
    assert "README.md" in read_manifest(folder)["files"]


@pytest.mark.parametrize("method", ["mono-bert", "mono-t5"])
def test_a_reranker_card(work: Path, tiny: Tiny, tiny_t5: Path, tmp_path: Path, method: str) -> None:
    start, folder = tiny("bert") if method == "mono-bert" else tiny_t5, tmp_path / "reranker"
    trained(work, "reranker", start, folder, max_length=20)
    text, rows, lines = read(folder)
    assert rows["losses"] == {"mono-bert": "bce", "mono-t5": "generation"}[method]
    assert (rows["max_length"], rows["steps"]) == ("20", "3")
    assert "up to 20 tokens together" in text
    assert assert_typed(lines, folder) == {"rerank", "evaluate"}
    assert yaml.safe_load(text.split("---")[1])["pipeline_tag"] == "text-ranking"
    if method == "mono-bert":
        assert len(run_python(text)["reranker"].predict([("a", "b")])) == 1
    else:
        assert "sentence" not in text


def test_cards_of_starts(work: Path, tiny: Tiny, tmp_path: Path) -> None:
    corpus, words = str(work / "corpus.jsonl"), ["--max-length", "32"]
    for what, head, more in (
        ("mlm", True, ["--steps", "2", "--flops", "0.01"]),
        ("init-splade", False, ["--samples", "9"]),
    ):
        folder = tmp_path / what
        given = ["--encoder", str(tiny("bert", head=head)), "--corpus", corpus, "--output", str(folder), *words, *more]
        assert main([what, *given]) == 0
    text, rows, lines = read(tmp_path / "mlm")
    measured = read_manifest(tmp_path / "mlm")["measured"]
    assert (rows["flops"], rows["steps"], rows["corpus"]) == ("0.01", "2", f"{work.name}/corpus.jsonl")
    assert rows["held-out loss"].startswith(f"{measured['held_out_loss_before']:.3f} at ")
    assert assert_typed(lines, tmp_path / "mlm") == {"train splade"}
    assert "by `gradir train mlm`" in text
    text, rows, lines = read(tmp_path / "init-splade")
    assert rows["head"] == "a calibrated head"
    assert (rows["samples"], rows["percentile"]) == ("9", "98.0")
    assert assert_typed(lines, tmp_path / "init-splade") >= {"encode", "search"}
    assert run_python(text)["encoder"].encode_query(["wing"]).shape == (1, 216)


def test_everybody_may_read_the_files_who_may_read_others(work: Path, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    trained(work, "dense", tiny("bert"), tmp_path / "dense", model=MODEL)
    modes = {path.stat().st_mode for path in (tmp_path / "dense").rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


def test_paths_as_others_may_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(str(tmp_path / "encode" / "x" / "model")) == "encode/x/model"
    assert shown("/data/somewhere/pydocs/corpus.jsonl") == "pydocs/corpus.jsonl"
    assert shown("../pydocs") == "../pydocs"
    assert shown("naver/splade-v3") == "naver/splade-v3"


def test_values_stay_in_their_cells_and_hub_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "reranker.json").write_text('{"format": 1, "max_length": 9}')
    write_card(
        tmp_path, Trained("m", "t5-base", "gradir train reranker", 2, {"prompt": "a | b\nc", "labels": ["x", "y"]})
    )
    text, rows, _ = read(tmp_path)
    assert rows == {"prompt": "a \\| b c", "labels": "x, y"}
    assert yaml.safe_load(text.split("---")[1])["base_model"] == "t5-base"

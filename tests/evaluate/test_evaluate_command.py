"""The command: flags, output formats, notes, and the file of single queries."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gradir.evaluate
from gradir.errors import GradirError, InputError
from gradir.evaluate.__main__ import main

QRELS = "q1 0 a 1\nq1 0 b 2\nq2 0 a 1\n"
GOOD = "q1 Q0 b 1 3.0 t\nq1 Q0 a 2 2.0 t\nq2 Q0 a 1 1.0 t\n"
POOR = "q1 Q0 x 1 3.0 t\nq1 Q0 a 2 2.0 t\nq7 Q0 a 1 1.0 t\n"


@pytest.fixture
def files(tmp_path):
    for name, text in {"qrels": QRELS, "good.trec": GOOD, "poor.trec": POOR}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def call(capsys, *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_table_and_notes(files, capsys):
    code, out, err = call(
        capsys, "--qrels", files / "qrels", "--run", files / "good.trec", files / "poor.trec", "-m", "MRR@10", "num_ret"
    )
    assert code == 0
    assert out == "run        MRR@10  num_ret\ngood.trec  1.0000        3\npoor.trec  0.2500        2\n"
    assert "poor.trec: 1 of 2 judged queries have no results and count as 0" in err
    assert "poor.trec: 1 queries are not judged and were left out" in err
    assert "good.trec" not in err


def test_default_measures(files, capsys):
    _, out, _ = call(capsys, "--qrels", files / "qrels", "--run", files / "good.trec", "--format", "tsv")
    assert out == "run\tnDCG@10\tMRR@10\tR@100\tMAP\ngood.trec" + "\t1.0000" * 4 + "\n"


def test_flags_as_others_write_them(files, capsys):
    qrels, run = f"--qrels={files / 'qrels'}", files / "good.trec"
    _, plain, _ = call(capsys, qrels, "--run", run, run, "--measures", "MRR", "P@1", "--min-grade", 2)
    _, other, _ = call(capsys, "-m", "MRR", f"--runs={run}", "-l", "2", "-m=P@1", qrels, "--run", run)
    assert plain == other
    assert plain.splitlines()[1].split()[1:] == ["0.5000", "0.5000"]


def test_queries_shown_as_examples_do_not_count(files, capsys):
    (files / "examples.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tb\t2\n", encoding="utf-8")
    words = ["--qrels", files / "qrels", "--run", files / "good.trec", "-m", "MRR", "-l", 2, "--format", "tsv"]
    assert call(capsys, *words)[1].splitlines()[1] == "good.trec\t0.5000"
    code, out, err = call(capsys, *words, "--without", files / "examples.tsv")
    assert (code, out.splitlines()[1]) == (0, "good.trec\t0.0000")
    assert "1 queries are not judged and were left out" in err
    code, _, err = call(capsys, *words, "--without", files / "qrels")
    assert code == 1
    assert "leaves no query" in err


def test_json_holds_all_digits(files, capsys):
    _, out, _ = call(capsys, "--qrels", files / "qrels", "--run", files / "poor.trec", "-m", "nDCG", "--format", "json")
    value = json.loads(out)
    assert value["format"] == 1
    (row,) = value["runs"]
    assert row["measures"]["nDCG"] == pytest.approx(0.1199064, abs=1e-6)
    assert (row["queries"], row["missing"], row["unjudged"], row["reordered"]) == (2, 1, 1, 0)


def test_runs_of_the_same_name_are_told_apart(files, capsys):
    (files / "other").mkdir()
    (files / "other" / "good.trec").write_text(GOOD, encoding="utf-8")
    runs = [files / "good.trec", files / "other" / "good.trec"]
    _, out, _ = call(capsys, "--qrels", files / "qrels", "--run", *runs, "--format", "tsv")
    assert [line.split("\t")[0] for line in out.splitlines()[1:]] == [str(path) for path in runs]


def test_per_query_file_follows_the_rules_of_artefacts(files, capsys):
    output = files / "queries.tsv"
    common = ["--qrels", files / "qrels", "--run", files / "poor.trec", "--per-query", output]
    assert call(capsys, *common, "-m", "MRR")[0] == 0
    assert output.read_text() == "run\tqid\tMRR\npoor.trec\tq1\t0.500000\npoor.trec\tq2\t0.000000\n"
    assert json.loads((files / "queries.tsv.manifest.json").read_text())["command"] == "gradir evaluate"
    code, out, err = call(capsys, *common, "-m", "MRR")
    assert code == 0
    assert "0.2500" in out
    assert "is up to date" in err
    code, out, err = call(capsys, *common, "-m", "MAP")
    assert (code, out) == (1, "")
    assert "--overwrite" in err
    assert call(capsys, *common, "-m", "MAP", "--overwrite")[0] == 0
    assert output.read_text().startswith("run\tqid\tMAP\n")


def test_inputs_are_never_replaced(files):
    for target in ("good.trec", "qrels"):
        with pytest.raises(GradirError, match="would replace its own input"):
            gradir.evaluate.run(
                qrels=str(files / "qrels"), run=[files / "good.trec"], per_query=files / target, overwrite=True
            )
    assert (files / "good.trec").read_text() == GOOD


def test_errors_say_where(files, capsys):
    code, out, err = call(
        capsys, "--qrels", files / "qrels", "--run", files / "good.trec", "-m", "ndgc@10", "-m", "bprf"
    )
    assert (code, out) == (1, "")
    assert "did you mean 'ndcg@10'?" in err
    assert "did you mean 'bpref'?" in err
    (files / "bad.trec").write_text(GOOD + "q9 Q0 a 1 nan t\n", encoding="utf-8")
    code, out, err = call(capsys, "--qrels", files / "qrels", "--run", files / "good.trec", files / "bad.trec")
    assert (code, out) == (1, "")
    assert "bad.trec:4: score 'nan'" in err
    with pytest.raises(InputError, match="no such file"):
        gradir.evaluate.run(qrels=str(files / "qrels"), run=[files / "none.trec"])
    with pytest.raises(SystemExit):
        main(["compare"])


def test_help_imports_nothing_heavy():
    run_help = "try: main(['evaluate', '--help'])\nexcept SystemExit: pass"
    code = f"import sys; from gradir.cli import main\n{run_help}\nprint(*sys.modules)"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 5  # the rule is half a second; a loaded machine gets more
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"pytrec_eval", "torch", "pyserini", "pandas", "scipy", "jnius"}


def test_runs_as_a_module(files):
    words = ["--qrels", files / "qrels", "--run", files / "good.trec", "-m", "P@1"]
    command = [sys.executable, "-m", "gradir.evaluate", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(gradir.__file__).parents[1])
    assert done.stdout == "run           P@1\ngood.trec  1.0000\n"

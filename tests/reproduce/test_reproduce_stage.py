from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradir.errors import GradirError
from gradir.reproduce import run
from gradir.reproduce.__main__ import main
from gradir.reproduce.needs import describe
from tests.reproduce.conftest import FUSE

# Reciprocal ranks with k = 1, ranks in a and b: q1: d1 1/2 + 1/3, d3 1/4 + 1/2, d2 1/3 + 1/4: the answer stays first.
# q2: d1 1/3 + 1/2, d2 1/2 + 1/4, d3 1/4 + 1/3: the answer falls to rank 2. MRR@10 is .75.
EXPECT = 'expect:\n  - {{run: "${{here}}/fused.trec", qrels: qrels.tsv, measure: MRR@10, value: {}, tolerance: 0.01}}\n'


def test_a_recipe_runs_and_its_score_is_checked(write, files, capfd):
    assert main([str(write(FUSE + EXPECT.format(0.75))), "--output", "out"]) == 0
    told = capfd.readouterr()
    assert told.out.splitlines()[1].split() == ["out/fused.trec", "MRR@10", "0.7500", "±0.0100", "0.7500", "OK"]
    assert "$ gradir fuse --runs a.trec b.trec --output out/fused.trec --depth 3 --rrf-k 1" in told.err
    assert "[2/2] look" in told.err
    written = json.loads((files / "out" / "scores.json").read_text(encoding="utf-8"))
    assert written["scores"][0]["verdict"] == "OK"
    assert list(written["seconds"]) == ["fuse", "look"]


def test_a_failed_expectation_is_exit_code_1(write, capfd):
    assert main([str(write(FUSE + EXPECT.format(0.70))), "--output", "out"]) == 1
    assert "FAIL" in capfd.readouterr().out
    assert main([str(write(FUSE + EXPECT.format("null"))), "--output", "out"]) == 0


def test_what_is_finished_is_not_done_again_and_a_failing_step_is_gone_on_from(write, files):
    recipe = write(FUSE.replace('"${here}/fused.trec"]', '"${here}/fused.trec", late.trec]'))
    with pytest.raises(GradirError, match=r"step 'look': late\.trec"):
        run(str(recipe), Path("out"))
    made = (files / "out" / "fused.trec").stat().st_mtime_ns
    (files / "late.trec").write_bytes((files / "a.trec").read_bytes())
    assert run(str(recipe), Path("out")).exit_code == 0
    assert (files / "out" / "fused.trec").stat().st_mtime_ns == made
    assert run(str(recipe), Path("out"), overwrite=True).exit_code == 0
    assert (files / "out" / "fused.trec").stat().st_mtime_ns != made


def test_a_changed_variable_is_refused_by_the_stage_until_overwrite(write, files):
    recipe = write(FUSE)
    run(str(recipe), Path("out"))
    with pytest.raises(GradirError, match="depth"):
        run(str(recipe), Path("out"), set=["depth=2"])
    run(str(recipe), Path("out"), set=["depth=2"], overwrite=True)
    assert len((files / "out" / "fused.trec").read_text(encoding="utf-8").splitlines()) == 6


def test_overwrite_keeps_what_stands_outside_the_output(write, files):
    recipe = write(FUSE.replace("${here}/fused.trec", "shared.trec"))
    run(str(recipe), Path("out"))
    made = (files / "shared.trec").stat().st_mtime_ns
    run(str(recipe), Path("out"), overwrite=True)
    assert (files / "shared.trec").stat().st_mtime_ns == made


def test_nothing_runs_where_anything_is_wrong(write, files):
    recipe = write(FUSE.replace("rrf-k: 1", "rrf-q: 1").replace("qrels: qrels.tsv", 'qrels: "${qrel}"'))
    with pytest.raises(GradirError) as caught:
        run(str(recipe), Path("out"), until="lok")
    told = str(caught.value)
    assert "small.yaml:5: step 'fuse': gradir fuse has no flag 'rrf-q', did you mean 'rrf_k'?" in told
    assert "small.yaml:6: step 'look': no variable 'qrel'" in told
    assert "--until: no step 'lok', did you mean 'look'?" in told
    assert not (files / "out").exists()


def test_until_stops_after_a_step(write, files, capfd):
    assert main([str(write(FUSE + EXPECT.format(0.1))), "--output", "out", "--until", "fuse"]) == 0
    assert (files / "out" / "fused.trec").exists()
    assert not (files / "out" / "scores.json").exists()
    assert "look" not in capfd.readouterr().err


def test_the_dry_run_is_a_script_that_does_the_same(write, files, capfd):
    """Run by a shell, it leaves the same files; it writes nothing itself."""
    recipe = write(FUSE.replace("a.trec}", "it's a.trec}").replace("left: it's a.trec", 'left: "it\'s a.trec"'))
    (files / "it's a.trec").write_bytes((files / "a.trec").read_bytes())
    assert main([str(recipe), "--output", "out", "--dry-run"]) == 0
    text = capfd.readouterr().out
    assert not (files / "out").exists()
    run(str(recipe), Path("direct"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", text], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    assert "0.7500" in done.stdout
    assert (files / "out" / "fused.trec").read_bytes() == (files / "direct" / "fused.trec").read_bytes()


def test_a_configuration_written_out_in_the_recipe_is_a_file_of_the_script(write, files, capfd):
    import yaml

    step = 'steps: [{name: odd, run: encode, with: {encoder: {steps: 5, deep: [{a: "it\'s ${here}"}]}, output: o, corpus: c}}]'
    assert main([str(write(step)), "--output", "out", "--dry-run"]) == 0
    text = capfd.readouterr().out
    assert text.endswith("gradir encode --encoder out/odd.yaml --output o --corpus c\n")
    before = "\n".join(line for line in text.splitlines() if not line.startswith("gradir "))
    subprocess.run(["sh", "-c", before], check=True)
    written = yaml.safe_load((files / "out" / "odd.yaml").read_text(encoding="utf-8"))
    assert written == {"format": 1, "steps": 5, "deep": [{"a": "it's out"}]}


def test_needs_are_checked_before_anything_runs(write, files):
    recipe = write("needs: {disk_gib: 1000000000, ram_gib: 1000000, data: [left]}\n" + FUSE)
    with pytest.raises(GradirError) as caught:
        run(str(recipe), Path("out"), set=["left=none.trec"])
    told = str(caught.value)
    for lack in ("GiB of disk for out", "memory of 1e+06 GiB", "there is no none.trec; --set left=PATH"):
        assert lack in told
    assert not (files / "out").exists()
    assert run(str(recipe), Path("out"), force=True).exit_code == 0
    assert describe({"gpu_gib": 16, "disk_gib": 2, "data": ["a"]}) == "GPU 16 GiB, disk 2 GiB; data: a"
    assert describe({"llm": True}) == "CPU, an LLM"


def test_list_shows_every_recipe(capfd):
    from gradir.reproduce.finding import recipes

    assert main(["--list"]) == 0
    told = capfd.readouterr().out
    assert all(f"{path.stem} " in told for path in recipes())

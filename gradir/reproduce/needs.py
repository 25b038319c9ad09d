"""What a recipe needs of the machine: said in a line, and checked where that is possible."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradir.data.named import is_ir_datasets
from gradir.reproduce.variables import Variables

_GIB = 2**30
_SLACK = 0.9  # an "80 GB" device has 79.2 GiB, and one of 16 GiB says 15.7


def describe(needs: Mapping[str, Any]) -> str:
    """`GPU 16 GiB, disk 40 GiB, data: msmarco`; `CPU` where nothing is needed."""
    said = [f"GPU {needs['gpu_gib']} GiB" if needs.get("gpu_gib") else "CPU"]
    said += [f"memory {needs['ram_gib']} GiB"] if needs.get("ram_gib") else []
    said += [f"disk {needs['disk_gib']} GiB"] if needs.get("disk_gib") else []
    said += ["an LLM"] if needs.get("llm") else []
    return ", ".join(said) + (f"; data: {', '.join(needs['data'])}" if needs.get("data") else "")


def unmet(needs: Mapping[str, Any], variables: Variables, here: Path) -> list[str]:
    """What this machine lacks, a line each. The LLM is not looked for: the step that asks it will say."""
    problems = []
    for name in needs.get("data") or []:
        value = str(variables[name])
        if not is_ir_datasets(value) and not Path(value).exists():
            problems.append(
                f"data '{name}': there is no {value}; --set {name}=PATH, see the recipe for what is expected"
            )
    gpu = float(needs.get("gpu_gib") or 0)
    if gpu and _gpu_gib() < gpu * _SLACK:
        problems.append(
            f"a GPU of {gpu:g} GiB: " + (f"the largest has {_gpu_gib():.0f}" if _gpu_gib() else "there is none")
        )
    ram = float(needs.get("ram_gib") or 0)
    if ram and _ram_gib() < ram * _SLACK:
        problems.append(f"memory of {ram:g} GiB: there are {_ram_gib():.0f}")
    disk, free = float(needs.get("disk_gib") or 0), _free_gib(here)
    if free < disk:
        problems.append(f"{disk:g} GiB of disk for {here}: {free:.1f} are free")
    return problems


def _gpu_gib() -> float:
    import torch

    if not torch.cuda.is_available():
        return 0.0
    return max(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) / _GIB


def _ram_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB


def _free_gib(folder: Path) -> float:
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free / _GIB

from __future__ import annotations

import subprocess
import sys

import pytest

from gradir import __version__
from gradir.cli import COMMANDS, main


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_every_command(flag):
    done = python("-m", "gradir.cli", flag)
    assert (done.returncode, done.stderr) == (0, "")
    for name, (_, text) in COMMANDS.items():
        assert f"  {name:<12}{text}\n" in done.stdout


def test_the_installed_command_is_this_module():
    code = (
        "import sys; from importlib.metadata import entry_points\n"
        "(found,) = [e for e in entry_points(group='console_scripts') if e.name == 'gradir']\n"
        "sys.argv = ['gradir', '--help']; sys.exit(found.load()())"
    )
    done = python("-c", code)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: gradir COMMAND")


def test_version_and_no_command(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gradir {__version__}\n"
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: gradir COMMAND")


def test_an_unknown_command_names_the_nearest():
    done = python("-m", "gradir.cli", "encdoe")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no command 'encdoe', did you mean 'encode'? See gradir --help.\n"
    done = python("-m", "gradir.cli", "zzz")
    assert "did you mean" not in done.stderr


@pytest.mark.parametrize(
    "imported", ["gradir", "gradir.cli", "gradir.command", "gradir.data", "gradir.data.vectors", "gradir.data.manifest"]
)
def test_heavy_packages_are_not_imported(imported):
    heavy = ["torch", "transformers", "pyserini", "jnius", "faiss", "vllm", "ir_datasets", "zstandard", "pandas"]
    code = f"import sys, {imported}; print([name for name in {heavy} if name in sys.modules])"
    done = python("-c", code)
    assert (done.stdout, done.returncode) == ("[]\n", 0)


def test_help_imports_no_command():
    code = (
        "import sys; from gradir.cli import COMMANDS, main; main(['--help'])\n"
        "print([module for module, _ in COMMANDS.values() if module in sys.modules], 'numpy' in sys.modules)"
    )
    assert python("-c", code).stdout.endswith("\n[] False\n")

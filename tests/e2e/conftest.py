import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

SCIFACT = Path(__file__).resolve().parents[3] / "shared" / "data" / "scifact"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(1200))  # the first test of a collection waits for its whole demo


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`gradir demo` as a user types it, in `folder`, with no Java on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    environment = {**os.environ, "PATH": path}
    environment.pop("JAVA_HOME", None)
    command = [sys.executable, "-m", "gradir.cli", "demo", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


class Demo:
    """A finished demo: where it ran, and what it printed."""

    def __init__(self, folder: Path, name: str, *arguments: str):
        self.folder, self.arguments = folder, arguments
        self.done = demo(folder, *arguments)
        if self.done.returncode:
            pytest.fail(self.done.stderr[-4000:])
        self.root = folder / "runs" / name

    def again(self) -> subprocess.CompletedProcess[str]:
        """The same command once more."""
        return demo(self.folder, *self.arguments)


@pytest.fixture(scope="session")
def pydocs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Demo:
    """The demo on the built-in collection, made once: the worker that comes second finds it finished."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "pydocs-demo"
    with FileLock(f"{folder}.lock"):
        folder.mkdir(exist_ok=True)
        return Demo(folder, "demo")


@pytest.fixture(scope="session")
def scifact(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    if not SCIFACT.exists():
        pytest.skip("needs SciFact at ../shared/data/scifact")
    return Demo(tmp_path_factory.mktemp("scifact"), "demo-scifact", "--collection", str(SCIFACT))

"""Every command of the README, as written, from its first section after the demo to the last."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def script() -> str:
    """The README's commands after the demo, as one shell script that stops at the first failure."""
    text = (ROOT / "README.md").read_text().partition("## The pipeline")[2].partition("## Working on gradir")[0]
    parts = ["set -eu"]
    for language, code in BLOCK.findall(text):
        parts.append(code if language == "bash" else f"python - <<'END'\n{code}END")
    return "\n".join(parts)


@pytest.fixture(scope="session", autouse=True)
def commands(pydocs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The commands at work in the background, from the end of the demo on: most of their time goes into starting."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "runs").mkdir()
    (folder / "runs" / "demo").symlink_to(pydocs.root)
    # Built once already: the README's own command then finds it finished.
    shutil.copytree(pydocs.root / "collection", folder / "work" / "pydocs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}  # the other core is for the other tests
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
        process = subprocess.Popen(
            ["bash", "-c", script()], cwd=folder, env=environment, stdout=out, stderr=err, text=True
        )
    yield process, folder
    process.kill()


def test_every_command_runs(commands) -> None:
    process, folder = commands
    assert process.wait() == 0, (folder / "stderr").read_text()[-4000:]
    assert "numpy.linalg.inv" in (folder / "stdout").read_text()  # what the searchers of the Python example print
    for run in ("impact", "flat", "bm25", "fused", "by-pyserini", "impact-by-pyserini", "impact-by-tokens"):
        assert (folder / "work" / f"{run}.trec").stat().st_size > 1000


def test_the_table_is_the_demos(pydocs) -> None:
    """Effectiveness in the README is what the demo prints, where the collection is the same."""
    readme = (ROOT / "README.md").read_text()
    manifest = (pydocs.root / "collection" / "README.md").read_text()
    assert f"{re.search('Collection hash: `([0-9a-f]{8})', manifest)[1]}…" in readme, "collection differs"

    def scores(text: str) -> list[list[str]]:
        return [
            [cell.strip() for cell in row.split("|")[1:3]]
            for row in text.splitlines()
            if re.match(r"\| \S.*\d\.\d{4}", row)
        ]

    for (name, shown), (their_name, found) in zip(scores(readme), scores(pydocs.done.stdout), strict=True):
        assert name == their_name
        assert abs(float(shown) - float(found)) < 0.01, name  # bfloat16 and float32 machines differ a little

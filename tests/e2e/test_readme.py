"""Every command of the README, as written, from its first section after the demo to the last."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def script() -> str:
    """The README's commands after the demo, as one shell script that stops at the first failure."""
    text = (ROOT / "README.md").read_text().partition("## The pipeline")[2].partition("## Working on gradir")[0]
    parts = ["set -eu"]
    for language, code in BLOCK.findall(text):
        parts.append(code if language == "bash" else f"python - <<'END'\n{code}END")
    return "\n".join(parts)


def test_every_command_runs(pydocs, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(pydocs.root)
    # Built once already: the README's own command then finds it finished.
    shutil.copytree(pydocs.root / "collection", tmp_path / "work" / "pydocs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = script()
    done = subprocess.run(
        ["bash", "-c", commands], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "numpy.linalg.inv" in done.stdout  # what the searchers of the Python example print
    for run in ("impact", "flat", "bm25", "fused", "by-pyserini", "impact-by-pyserini"):
        assert (tmp_path / "work" / f"{run}.trec").stat().st_size > 1000


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

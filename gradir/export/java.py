"""Texts through Anserini's own Java encoders, in a process of its own: a JVM remembers where its first model lay."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradir.errors import GradirError
from gradir.export.anserini import CACHE, SLOTS, Slot


def encode_in_java(variant: Path, slot: Slot, texts: Sequence[str]) -> list[Any]:
    """What Anserini makes of texts.

    Args:
        variant: The folder that `gradir.export.anserini.write_variant` made.
        slot: Its slot.
        texts: The texts.

    Returns:
        `{term: impact}` of each text, or its vector as a list.

    Raises:
        GradirError: Java or Pyserini is not installed, or the encoder fails.
    """
    asked = json.dumps({"variant": str(variant), "slot": slot.name, "texts": list(texts)})
    # The answer has a file of its own: Java writes to stdout as it likes.
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "gradir.export.java", str(answer)]
        done = subprocess.run(command, input=asked, capture_output=True, text=True)
        if done.returncode or not answer.exists():
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
            raise GradirError(f"Anserini's {slot.name} encoder failed: {said[-1].removeprefix('error: ')}")
        return list(json.loads(answer.read_text(encoding="utf-8")))


def main() -> int:
    """Answer what `encode_in_java` asks on stdin, into the file named by the first argument."""
    from gradir import jvm

    asked = json.loads(sys.stdin.read())
    slot = next(one for one in SLOTS.values() if one.name == asked["slot"])
    with tempfile.TemporaryDirectory() as home:
        _place(Path(asked["variant"]), Path(home), slot)
        try:
            jvm.ensure()
            found = _encode(slot, asked["texts"], home)
        except GradirError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
    return 0


def _place(variant: Path, home: Path, slot: Slot) -> None:
    """Put the files where the slot looks for them below a home folder."""
    cache = home / CACHE
    cache.mkdir(parents=True)
    (cache / slot.model).symlink_to((variant / "model.onnx").resolve())
    (cache / slot.vocab).symlink_to((variant / "vocab.txt").resolve())


def _encode(slot: Slot, texts: Sequence[str], home: str) -> list[Any]:
    from jnius import autoclass

    autoclass("java.lang.System").setProperty("user.home", home)  # read when the first encoder is made
    encoder = autoclass(slot.java)()
    return [_plain(encoder.encode(text)) for text in texts]


def _plain(found: Any) -> Any:
    """A Java map of impacts as a dictionary, an array of floats as a list."""
    if not hasattr(found, "keySet"):
        return [float(value) for value in found]
    return {str(term): int(found.get(term)) for term in found.keySet().toArray()}


if __name__ == "__main__":
    sys.exit(main())

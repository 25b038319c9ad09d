"""Where everything of a demo stands, and the commands that made it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradir.command import Outcome, command_line


@dataclass
class Plan:
    """Where everything of a demo stands, and the commands that were run.

    Attributes:
        root: The demo's folder.
        collection: A BEIR folder.
        encoder: The dense encoder.
        max_length: Tokens of a text.
        hits: Documents kept for a query.
        train: Encoders are trained as well.
        commands: (title, command) of each step so far.
    """

    root: Path
    collection: Path
    encoder: str
    max_length: int
    hits: int
    train: bool = False
    commands: list[tuple[str, str]] = field(default_factory=list)

    @property
    def splade(self) -> Path:
        """The SPLADE encoder; Pyserini knows it by `splade` in its path."""
        return self.root / "encoders" / "splade-untrained"

    def trained(self, kind: str) -> Path:
        """The trained encoder, `dense` or `splade`."""
        return self.root / "encoders" / f"{kind}-trained"

    @property
    def qrels(self) -> Path:
        """The judgements of the test split."""
        return self.collection / "qrels" / "test.tsv"

    def index(self, name: str) -> Path:
        """The index of a system."""
        return self.root / "index" / name

    def vectors(self, name: str) -> Path:
        """Vector shards."""
        return self.root / "vectors" / name

    def trec(self, name: str) -> Path:
        """The run of a system."""
        return self.root / f"{name}.trec"

    def fuse(self, name: str, systems: Sequence[str]) -> None:
        """Fuse the runs of systems by reciprocal rank."""
        from gradir import fuse

        runs = [self.trec(system) for system in systems]
        given = {"runs": runs, "output": self.trec(name), "depth": self.hits, "hits": self.hits}
        self.step("Fuse by reciprocal rank", "gradir fuse", fuse.run, **given)

    def step(self, title: str, prog: str, stage: Callable[..., Outcome], **arguments: Any) -> None:
        """Run a stage, showing the command that does the same."""
        command = command_line(prog, arguments)
        self.commands.append((title, command))
        sys.stderr.write(f"\n[{len(self.commands)}] {title}\n$ {command}\n")
        sys.stderr.write(f"{stage(**arguments).message}\n")

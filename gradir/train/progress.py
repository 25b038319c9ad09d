"""The live line of a training run, and its log."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from gradir.train.objective import LossWarning

_TIMES = ("tokens_per_second", "epoch")  # what differs from run to run, or says nothing
_HIDDEN = (*_TIMES, "step", "grad_norm", "learning_rate")


class LiveLine(TrainerCallback):
    """One line on stderr: steps, rate and time left, the loss and its parts, tokens a second, active terms, the last dev measure.

    Args:
        description: What is trained.
    """

    def __init__(self, description: str):
        self.description, self._numbers, self._dev = description, "", ""
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the line where the run begins or goes on."""
        if state.is_world_process_zero:
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.description, unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One step more."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        """The latest numbers."""
        if self._bar is None or not logs:
            return
        measure = next((name for name in logs if name.startswith("dev_")), None)
        if measure:
            self._dev = f", dev {measure.removeprefix('dev_')} {logs[measure]:.4f}"
        elif "loss" in logs:
            self._numbers = described(logs)
        self._bar.set_postfix_str(self._numbers + self._dev)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the line."""
        self.close()

    def close(self) -> None:
        """Close it, if it is open: what is written next stands on a line of its own."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Within, what a loss warns of is a line `warning: …` above the live line, without a place in the code."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, LossWarning):
                tqdm.write(f"warning: {message}", file=sys.stderr)
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield


def left_out(counts: Mapping[str, Any]) -> list[str]:
    """Of each source of lists of which something is left out, a line with how much and why.

    Args:
        counts: `GradedLists.statistics()`.
    """
    lines = []
    for entry in counts.get("entries", ()):
        reasons = {name.replace("_", " "): count for name, count in entry["dropped"].items()}
        if "take" in entry:  # topics hold the queries of other splits too
            del reasons["no documents"]
        words = [f"{count:,} with {reason}" for reason, count in reasons.items() if count]
        takes = {take["source"]: take["left_out"].get("unknown_documents", 0) for take in entry.get("take", ())}
        unknown = entry.get("unknown_documents", 0) + sum(takes.values())
        words += [f"{unknown:,} documents that the corpus lacks"] if unknown else []
        if words:
            lines.append(
                f"entry {entry['name']} of lists: {entry['lists']:,} of {entry['queries']:,} lists; left out: {', '.join(words)}"
            )
    return lines


def described(logs: Mapping[str, float]) -> str:
    """`loss 0.312 (infonce 0.30), 5,120 tokens/s, terms 31/142, 0% empty`."""
    parts = [f"{name} {value:.3g}" for name, value in logs.items() if _is_part(name)]
    words = [f"loss {logs['loss']:.4g}" + (f" ({', '.join(parts)})" if len(parts) > 1 else "")]
    if "tokens_per_second" in logs:
        words.append(f"{logs['tokens_per_second']:,.0f} tokens/s")
    if "terms_query" in logs:
        words.append(f"terms {logs['terms_query']:.0f}/{logs['terms_doc']:.0f}")
        words.append(f"{100 * logs.get('empty', 0.0):.0f}% empty")
    return ", ".join(words)


def _is_part(name: str) -> bool:
    return name not in (*_HIDDEN, "loss", "empty") and not name.startswith(("terms_", "lambda_", "dev_", "train_"))


def write_log(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """`training.jsonl`: a line for each entry of the log, without what depends on the machine's speed."""
    from gradir.data.jsonl import write_objects

    rows = (row for row in history if not _is_summary(row))
    # A checkpoint that was read has its keys in order.
    write_objects(path, ({key: row[key] for key in sorted(row) if key not in _TIMES} for row in rows))


def _is_summary(row: Mapping[str, Any]) -> bool:
    return any(name.startswith("train_") for name in row)

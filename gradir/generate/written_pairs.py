"""A prompt with its answer, as the file has it."""

from __future__ import annotations

from typing import Any, NamedTuple

from gradir.data.jsonl import FORMAT
from gradir.generate.render import Fitted


class Pair(NamedTuple):
    """A prompt and its answer; `qid` is empty where no query of the topics is involved, `grade` None where no grade is."""

    prompt: Fitted
    answer: str
    qid: str
    docid: str
    grade: int | None

    def record(self) -> dict[str, Any]:
        """The line of the file; a chat is a list of [role, content]."""
        prompt = self.prompt.prompt
        shown = prompt if isinstance(prompt, str) else [list(message) for message in prompt]
        ids = {"qid": self.qid, "docid": self.docid, "grade": self.grade}
        return {"format": FORMAT, "prompt": shown, "answer": self.answer, **ids}

"""What `gradir generate judgements` is asked to judge: its own arguments, checked, and the pairs with their texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradir.errors import InputError

if TYPE_CHECKING:
    from gradir.data.asked_pairs import Pairs, TextsOfPairs


class Pair(NamedTuple):
    """A query and a document."""

    qid: str
    docid: str
    query: str
    document: str


@dataclass(frozen=True)
class Wanted:
    """See the arguments of `gradir.generate.judgements`; `folder` is `--input`."""

    runs: tuple[Path, ...]
    lists: Path | None
    folder: Path | None
    qrels: str | None
    topics: str | None
    corpora: tuple[str, ...]
    depth: int
    systems: tuple[Path, ...]
    document_tokens: int | None
    structured: bool
    log_probs: bool
    attempts: int

    def problems(self) -> list[str]:
        """What is wrong with the arguments, a line each."""
        files = [*self.runs, *([self.lists] if self.lists else []), *self.systems]
        found = [f"{path}: no such file" for path in files if not path.is_file()]
        numbers = {"--depth": self.depth, "--document-tokens": self.document_tokens, "--attempts": self.attempts}
        found += [
            f"{flag} {number} is below 1" for flag, number in numbers.items() if number is not None and number < 1
        ]
        given = sum(map(bool, (self.runs, self.lists, self.folder)))
        if given > 1 or not (given or self.qrels):
            found.append("pairs come from one of --run, --lists and --input, or from --qrels alone")
        if self.systems and not (self.qrels or self.folder):
            found.append("--systems are put in order by two judgements: give people's with --qrels")
        if self.folder is not None:
            found += self._folder_problems(self.folder)
        elif given or self.qrels:
            found += [] if self.topics or self.lists else ["--topics is needed"]
            found += [] if self.corpora or self.lists else ["--corpus is needed"]
        return found

    def _folder_problems(self, folder: Path) -> list[str]:
        from gradir.generate.generated import kind_of

        try:
            kind = kind_of(folder)
        except InputError as error:
            return [str(error)]
        if kind == "judgements":
            return [f"--input {folder} holds judgements: name what they were made of"]
        return (
            ["--corpus is needed: the input's queries were made from its documents"]
            if kind == "queries" and not self.corpora
            else []
        )

    @property
    def own_qrels(self) -> Path | None:
        """The grades that a generated folder has."""
        return self.folder / "qrels" / "train.tsv" if self.folder else None

    def human(self) -> str | None:
        """The judgements to compare with."""
        return self.qrels or (str(self.own_qrels) if self.own_qrels else None)

    def config(self) -> dict[str, Any]:
        """What of all this decides the result, for the manifest."""
        return {
            "pairs": "run" if self.runs else "lists" if self.lists else "input" if self.folder else "qrels",
            "depth": self.depth if self.runs else None,
            "document_tokens": self.document_tokens,
            "structured": self.structured,
            "log_probs": self.log_probs,
            "attempts": self.attempts,
            "systems": len(self.systems),
        }

    def inputs(self) -> list[str | Path]:
        """The files read, for the manifest."""
        from gradir.data.corpus import corpus_files

        found: list[str | Path] = [*self.runs, *([self.lists] if self.lists else []), *self.systems]
        found += [str(self.own_qrels)] if self.folder else []
        found += [self.qrels] if self.qrels else []
        if topics := self._topics():
            queries = Path(topics) / "queries.jsonl"
            found.append(queries if queries.exists() else topics)
        return found + [file for corpus in self._corpora() for file in corpus_files(corpus)]

    def _topics(self) -> str | None:
        return self.topics or (str(self.folder) if self.folder else None)

    def _corpora(self) -> tuple[str, ...]:
        own = self.folder is not None and (self.folder / "corpus.jsonl").exists()
        return (*self.corpora, str(self.folder)) if own else self.corpora

    @contextmanager
    def opened(self) -> Iterator[Iterator[Pair]]:
        """All pairs, those of a query together; checked before the first is given.

        Raises:
            InputError: A query or a document has no text anywhere.
        """
        from contextlib import closing, nullcontext

        from gradir.data.asked_pairs import Pairs, TextsOfPairs
        from gradir.data.texts import Texts

        qrels = None if self.runs or self.lists else str(self.own_qrels or self.qrels)
        pairs, corpora = Pairs(self.lists, self.runs, qrels, self.depth), self._corpora()
        with closing(Texts(corpora)) if corpora else nullcontext() as documents:
            texts = TextsOfPairs(self._topics(), documents)
            texts.check(pairs)
            yield _with_texts(pairs, texts)


def _with_texts(pairs: Pairs, texts: TextsOfPairs) -> Iterator[Pair]:
    for one in pairs:
        query = texts.query(one)
        for docid in one.docids:
            yield Pair(one.qid, docid, query, texts.document(one, docid))

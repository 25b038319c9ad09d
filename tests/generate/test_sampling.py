"""Draws of documents: by seed, in bounds, over strata."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gradir.data.texts import Texts
from gradir.errors import InputError
from gradir.generate.sampling import Bounds, Draw, strata

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write({docid: text}, name)`: a corpus file; a mapping in place of a text is the whole line."""

    def made(documents: Mapping[str, Any], name: str = "corpus.jsonl") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        lines = (
            {"_id": docid, **(text if isinstance(text, dict) else {"title": "", "text": text})}
            for docid, text in documents.items()
        )
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return str(path)

    return made


def any_text(text: str) -> None:
    return None


def ids(corpus: str, number: int, seed: int = 1, reason: Any = any_text, **more: Any) -> list[str]:
    with Texts(corpus) as texts:
        return [document.docid for document in Draw(texts, number, seed, reason, **more)]


MANY = {f"d{i}": f"text {i}" for i in range(500)}


def test_a_draw_depends_on_the_seed_alone(write: Write) -> None:
    corpus = write(MANY)
    drawn = ids(corpus, 50)
    assert len(set(drawn)) == 50
    assert ids(corpus, 50) == drawn
    assert ids(corpus, 50, seed=2) != drawn
    assert ids(write(dict(reversed(MANY.items())), "turned.jsonl"), 50) == drawn  # not on the order of the file


def test_a_larger_draw_begins_with_the_smaller_one(write: Write) -> None:
    corpus = write(MANY)
    assert ids(corpus, 100)[:30] == ids(corpus, 30)
    assert sorted(ids(corpus, 10_000)) == sorted(MANY)


def test_zero_is_all_in_the_order_of_the_corpus(write: Write) -> None:
    assert ids(write(MANY), 0) == list(MANY)


def test_every_document_is_as_likely_as_any_other(write: Write) -> None:
    corpus = write({f"d{i}": "x" for i in range(20)})
    with Texts(corpus) as texts:
        found = Counter(d.docid for seed in range(600) for d in Draw(texts, 5, seed, any_text))
    expected = 600 * 5 / 20
    chi_squared = sum((count - expected) ** 2 / expected for count in found.values())
    assert len(found) == 20
    assert chi_squared < 36.2  # 19 degrees of freedom, p = .01


def test_bounds(write: Write) -> None:
    texts = {"none": "", "blank": " \n ", "one": "a", "three": "a b c", "five": "a b c d e"}

    def passing(bounds: Bounds) -> dict[str, str | None]:
        return {name: bounds.reason(text, lambda text: len(text.split())) for name, text in texts.items()}

    assert passing(Bounds()) == {"none": "blank", "blank": "blank", "one": None, "three": None, "five": None}
    assert passing(Bounds(5, 5)) | {} == {
        "none": "blank",
        "blank": "blank",
        "one": "too_short",
        "three": None,
        "five": "too_long",
    }
    assert passing(Bounds(3, 4, "tokens")) == {
        "none": "blank",
        "blank": "blank",
        "one": "too_short",
        "three": None,
        "five": "too_long",
    }


def test_what_is_left_out_makes_room_for_others_and_is_counted(write: Write) -> None:
    corpus = write({f"d{i}": "x" * (i % 10) for i in range(100)})  # ten blank, forty short
    with Texts(corpus) as texts:
        bounds = Bounds(5)
        draw = Draw(texts, 40, 1, lambda text: bounds.reason(text, len), leave_out=["d5", "d6"])
        drawn = list(draw)
        assert len(drawn) == 40
        assert {"d5", "d6"}.isdisjoint(document.docid for document in drawn)
        assert all(len(document.text) >= 5 for document in drawn)
        everything = Draw(texts, 1000, 1, lambda text: bounds.reason(text, len), leave_out=["d5", "d6"])
        assert len(list(everything)) == 48
        assert everything.left_out == {"blank": 10, "too_short": 40, "example": 2}


def test_only_documents_that_come_up_are_measured(write: Write) -> None:
    seen: list[str] = []
    assert len(ids(write(MANY), 20, reason=seen.append)) == 20  # append returns None
    assert len(seen) == 20


def test_title_and_text_count_together(write: Write) -> None:
    corpus = write({"d": {"title": "abc", "text": "de"}})
    assert ids(corpus, 1, reason=lambda text: Bounds(6, 6).reason(text, len)) == ["d"]


def test_strata_by_length_are_quarters(write: Write) -> None:
    corpus = write({f"d{i}": "x" * (i + 1) for i in range(80)})
    with Texts(corpus) as texts:
        found = strata(texts, corpus, "length")
        draw = Draw(texts, 12, 1, any_text, strata=found)
        lengths = [len(document.text) for document in draw]
    assert found.names == ["0-20 characters", "20-40 characters", "40-60 characters", "60-80 characters"]
    assert [(length - 1) // 20 for length in lengths] == [0, 1, 2, 3] * 3
    assert list(draw.drawn.values()) == [3, 3, 3, 3]


def test_strata_by_field_in_turn_and_the_rest_from_those_that_have_more(write: Write) -> None:
    rows: dict[str, Any] = {f"a{i}": {"text": "x", "metadata": {"year": 1999}} for i in range(30)}
    rows |= {f"b{i}": {"text": "x", "metadata": {"year": "2001"}} for i in range(2)}
    rows |= {f"c{i}": {"text": "x"} for i in range(30)}
    corpus = write(rows)
    with Texts(corpus) as texts:
        found = strata(texts, corpus, "field:metadata.year")
        draw = Draw(texts, 20, 1, any_text, strata=found)
        drawn = Counter(document.docid[0] for document in draw)
    assert found.names == ["1999", "2001", "null"]
    assert drawn == {"a": 9, "b": 2, "c": 9}
    assert draw.drawn == {"1999": 9, "2001": 2, "null": 9}
    with Texts(corpus) as texts, pytest.raises(InputError, match=r"no document has a field `metadata\.month`"):
        strata(texts, corpus, "field:metadata.month")


def test_strata_by_file(write: Write, tmp_path: Path) -> None:
    write({f"a{i}": "x" for i in range(5)}, "folder/a.jsonl")
    write({f"b{i}": "x" for i in range(500)}, "folder/b.jsonl")
    corpus = str(tmp_path / "folder")
    with Texts(corpus) as texts:
        found = strata(texts, corpus, "file")
        drawn = Counter(document.docid[0] for document in Draw(texts, 8, 1, any_text, strata=found))
    assert found.names == ["a.jsonl", "b.jsonl"]
    assert drawn == {"a": 4, "b": 4}

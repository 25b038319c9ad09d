"""Self-supervised pairs: what holds for any document, and sentences that people would end alike."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gradir.data.pairs import FEWEST_WORDS, PAIRS, cloze, crop, sentences, title
from gradir.data.records import Document

WORDS = st.sampled_from(
    ["wing", "Spar", "e.g.", "A.", "is", "12.", "1954.", "why?", "no!", "(both)", "雨が降る。", "«да.»", "...", "x"]
)
SPACES = st.sampled_from([" ", " ", " ", "  ", "\n", "\n\n", " \n \n "])
TEXTS = st.lists(st.tuples(WORDS, SPACES), max_size=40).map(
    lambda parts: "".join(word + space for word, space in parts)
)
DOCUMENTS = st.builds(Document, st.just("d"), st.one_of(TEXTS, st.text(max_size=60)), st.one_of(st.just(""), TEXTS))
SEEDS = st.integers(0, 2**32)


@given(DOCUMENTS, SEEDS)
@pytest.mark.parametrize("kind", PAIRS)
def test_the_same_seed_gives_the_same_pair_of_two_texts(kind: str, document: Document, seed: int) -> None:
    pair = PAIRS[kind](document, random.Random(seed))
    assert pair == PAIRS[kind](document, random.Random(seed))
    if pair is not None:
        query, text = pair
        assert query == query.strip() != ""
        assert text.strip()


@given(st.lists(st.sampled_from(["wing", "spar", "flow", "of"]), max_size=60), SEEDS, st.data())
def test_crops_are_spans_of_words_of_the_asked_share(words: list[str], seed: int, data: st.DataObject) -> None:
    shortest = data.draw(st.floats(0.01, 1))
    longest = data.draw(st.floats(shortest, 1))
    pair = crop(Document("d", " ".join(words)), random.Random(seed), shortest, longest)
    assert (pair is None) == (len(words) < 2 * FEWEST_WORDS)
    for span in pair or ():
        assert f" {span} " in f" {' '.join(words)} "  # contiguous, and no word is cut
        size = len(span.split())
        assert size == FEWEST_WORDS or shortest * len(words) - 0.5 <= size <= longest * len(words) + 0.5


@given(DOCUMENTS, SEEDS)
def test_crops_stand_in_the_document_as_they_are(document: Document, seed: int) -> None:
    for span in crop(document, random.Random(seed)) or ():
        assert span in document.contents


def test_every_place_and_length_is_drawn_alike() -> None:
    """Uniform shares and places, the two spans independent of each other."""
    words, draw = [str(i) for i in range(100)], random.Random(3)
    pairs = [crop(Document("d", " ".join(words)), draw, 0.1, 0.3) for _ in range(4000)]
    spans = [[span.split() for span in pair] for pair in pairs if pair]
    sizes = Counter(len(span) for pair in spans for span in pair)
    assert set(sizes) == set(range(10, 31))
    assert all(abs(count - 8000 / 20) < 100 for size, count in sizes.items() if 10 < size < 30)
    starts = [[int(span[0]) / (100 - len(span)) for span in pair] for pair in spans]
    query, document = ([pair[side] for pair in starts] for side in (0, 1))
    assert abs(sum(query) / len(query) - 0.5) < 0.02
    product = sum(q * d for q, d in zip(query, document, strict=True)) / len(query)
    assert abs(product - sum(query) * sum(document) / len(query) ** 2) < 0.01


def test_a_script_without_spaces_is_cropped_by_characters() -> None:
    text = "今天天气很好我们去公园玩吧然后回家吃饭睡觉" * 3
    spans = crop(Document("d", text), random.Random(1), 0.1, 0.3)
    assert spans is not None
    assert all(span in text and len(span) <= 0.3 * len(text) + 1 for span in spans)


@pytest.mark.parametrize("shares", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_shares_that_cannot_be(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="they must rise"):
        crop(Document("d", "a b c d e f g"), random.Random(1), *shares)


def test_title_against_body() -> None:
    draw = random.Random(1)
    assert title(Document("d", " the body\n", " The title "), draw) == ("The title", "the body")
    assert title(Document("d", "the body", "  "), draw) is None
    assert title(Document("d", "\n", "The title"), draw) is None


@given(DOCUMENTS, SEEDS)
@example(Document("d", "It is so. It is so. And not.", "It is so."), 0)
def test_cloze_takes_its_sentence_out_of_the_document(document: Document, seed: int) -> None:
    pair = cloze(document, random.Random(seed), keep=0.0)
    parts = sentences(document.text)
    if pair is None:
        assert len(set(parts)) < 2 or all(len(part.split()) < FEWEST_WORDS for part in parts)
        return
    query, rest = pair
    assert query in parts
    others = " ".join(part for part in parts if part != query)
    head = "" if document.title.strip() == query else document.title
    assert rest == (f"{head} {others}".strip() if head else others)


@given(DOCUMENTS, SEEDS)
def test_cloze_keeps_all_where_it_is_told_to(document: Document, seed: int) -> None:
    pair = cloze(document, random.Random(seed), keep=1.0)
    if pair is not None:
        assert pair[0] in document.text
        assert pair[1] == document.contents


def test_a_tenth_of_the_sentences_stay_and_each_is_drawn_alike() -> None:
    text = " ".join(f"This is sentence number {i:03}." for i in range(5))
    draw = random.Random(5)
    pairs = [pair for _ in range(5000) if (pair := cloze(Document("d", text), draw))]
    kept = sum(query in document for query, document in pairs)
    assert abs(kept - 500) < 100
    assert all(abs(count - 1000) < 130 for count in Counter(query for query, _ in pairs).values())


@given(st.one_of(TEXTS, st.text()))
def test_no_character_is_lost_between_sentences(text: str) -> None:
    parts = sentences(text)
    assert all(part == part.strip() != "" for part in parts)
    assert re.sub(r"\s", "", "".join(parts)) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    "parts",
    [
        ["Wings stall.", "Why?", "Nobody knows!", "(Not even we.)", 'He said "no."', "OK…", "Fine"],
        ["Dr. Smith et al. saw it, e.g. in mice.", "See the U.S. Patents of J. Doe."],
        ["The dose fell by 2.5 mg in 1954.", "Then it rose to p <.05 again."],
        ["It works.  but not here.", "Here it does."],
        ["Погода хорошая.", "Идём гулять!"],
        ["هل هذا صحيح؟", "نعم هو كذلك."],
        ["यह एक वाक्य है।", "यह दूसरा है।"],
    ],
)
def test_sentences_as_people_end_them(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts


def test_full_width_marks_need_no_space() -> None:
    assert sentences("今天很好。我们去！「真的？！」他说。") == ["今天很好。", "我们去！", "「真的？！」", "他说。"]


def test_a_line_break_alone_ends_nothing_and_a_blank_line_does() -> None:
    assert sentences("A heading\n\nthe text of\nit. \n\nmore of Fig.\nTwo and Mr.\n\nnone") == [
        "A heading",
        "the text of\nit.",
        "more of Fig.\nTwo and Mr.",
        "none",
    ]


def test_long_runs_of_one_character_take_no_longer_than_others() -> None:
    """Patterns that go back over what they read would need hours here."""
    for run in (" ", "\n", ".", "a.", "。", '"', " \n", "Mr. "):
        found = sentences(run * 100_000)
        assert "".join("".join(found).split()) == "".join((run * 100_000).split()), "a word is lost"

"""BERT's masking rule, batches, packing, and the order in which texts come."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data.texts import Texts
from gradir.engine.tokens import Tokens
from gradir.models.config import EncoderConfig
from gradir.models.folder import open_tokenizer
from gradir.train.mlm_masking import IGNORED, Collator, Masking, packed
from gradir.train.mlm_texts import Drawn, Draws, Places, split


@pytest.fixture(scope="module")
def tokenizer(tiny: Any) -> Any:
    return open_tokenizer(tiny("bert"))


def collator(tokenizer: Any, length: int = 32, pack: bool = False, rate: float = 0.15) -> Collator:
    config = EncoderConfig("splade", "max", max_passage_length=length)
    return Collator(Tokens(tokenizer, config, "passage"), Masking.of(tokenizer, rate), length, 7, pack)


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_tokens_are_hidden_as_often_as_bert_hides_them(tokenizer: Any, rate: float) -> None:
    masking, draw = Masking.of(tokenizer, rate), np.random.default_rng(3)
    ids = [2, *range(5, 105), 3]
    before = np.tile(ids, (2000, 1))
    rows = [masking.apply(ids, draw) for _ in before]
    after, labels = (np.stack(part) for part in zip(*rows, strict=True))
    chosen = labels != IGNORED
    assert (labels[chosen] == before[chosen]).all()
    assert (after[~chosen] == before[~chosen]).all()
    assert not chosen[:, [0, -1]].any()  # special tokens
    assert chosen[:, 1:-1].mean() == pytest.approx(rate, abs=0.005)
    assert (after[chosen] == tokenizer.mask_token_id).mean() == pytest.approx(0.8, abs=0.01)
    stayed = (after[chosen] == before[chosen]).mean()
    changed = (after[chosen] != before[chosen]) & (after[chosen] != tokenizer.mask_token_id)
    assert stayed == pytest.approx(0.1, abs=0.01)
    assert changed.mean() == pytest.approx(0.1, abs=0.01)
    found = Counter(after[chosen][changed].tolist())
    assert not set(found) & set(tokenizer.all_special_ids)
    assert len(found) == len(tokenizer) - len(tokenizer.all_special_ids)  # any other token may come


def test_masks_depend_on_the_place_and_not_on_the_batch(tokenizer: Any, sentences: list[str]) -> None:
    texts = [Drawn(place, f"d{place}", text) for place, text in enumerate(sentences[:8])]
    collate = collator(tokenizer)
    whole, alone = collate(texts), [collate([one]) for one in texts]
    assert whole["qids"] == [f"d{i}" for i in range(8)]
    assert whole["tokens"] == sum(one["tokens"] for one in alone) == int(whole["attention_mask"].sum())
    for i, one in enumerate(alone):
        size = one["tokens"]
        for name in ("input_ids", "labels"):
            assert whole[name][i, :size].tolist() == one[name][0, :size].tolist()
        assert (whole["labels"][i, size:] == IGNORED).all()
        assert not whole["attention_mask"][i, size:].any()
    again = collate([one._replace(place=one.place + 8) for one in texts])
    assert (again["labels"] != whole["labels"]).any()  # a new epoch, new masks


def restored(batch: dict[str, Any]) -> list[list[int]]:
    """The token ids as they were before masking, without padding."""
    ids = np.where(batch["labels"] == IGNORED, batch["input_ids"], batch["labels"])
    return [row[mask.astype(bool)].tolist() for row, mask in zip(ids, batch["attention_mask"].numpy(), strict=True)]


def test_batches_hold_the_tokens_of_their_texts(tokenizer: Any, sentences: list[str]) -> None:
    texts = [Drawn(i, "d", text) for i, text in enumerate([*sentences[:6], sentences[0] * 5, ""])]
    expected = tokenizer([one.text for one in texts], truncation=True, max_length=32)["input_ids"]
    assert restored(collator(tokenizer)(texts)) == expected


@settings(deadline=None, max_examples=100, database=None)
@given(st.lists(st.integers(0, 18), min_size=1, max_size=20))
def test_packing_loses_no_token_and_keeps_texts_whole(sizes: list[int]) -> None:
    number = iter(range(100, 10_000))
    bodies = [[next(number) for _ in range(size)] for size in sizes]
    rows = [(np.array([2, *body, 3]), np.array([IGNORED, *[-i for i in body], IGNORED])) for body in bodies]
    found = packed(rows, 20, np.array([0, 2, 3]))
    texts = []
    for ids, labels in found:
        assert len(ids) == len(labels) <= 20
        assert ids[0] == 2
        assert (ids[1:] != 2).all()
        assert (labels == np.where(ids >= 100, -ids, IGNORED)).all()
        texts += _bodies(ids)
    assert sorted(texts) == sorted(bodies)
    assert len(found) <= len(rows)


def _bodies(ids: np.ndarray) -> list[list[int]]:
    bodies: list[list[int]] = [[]]
    for one in ids[1:].tolist():
        if one == 3:
            bodies.append([])
        else:
            bodies[-1].append(one)
    assert bodies.pop() == []
    return bodies


def test_a_text_fits_exactly_once_its_first_token_is_gone() -> None:
    rows = [(np.array([2, *[9] * size, 3]), np.full(size + 2, IGNORED)) for size in (5, 6, 5)]
    assert [len(ids) for ids, _ in packed(rows, 20, np.array([0, 2, 3]))] == [20]
    assert [len(ids) for ids, _ in packed(rows, 19, np.array([0, 2, 3]))] == [14, 7]


def test_packing_fills_sequences(tokenizer: Any, sentences: list[str]) -> None:
    texts = [Drawn(i, "d", text) for i, text in enumerate(sentences)]
    loose, tight = collator(tokenizer, 64)(texts), collator(tokenizer, 64, pack=True)(texts)
    assert len(tight["input_ids"]) < len(loose["input_ids"]) / 2
    ends = tight["attention_mask"].sum(1).sort().values
    assert ends[0] + ends[1] - 1 > 64  # no two of them would go into one
    assert (tight["labels"] != IGNORED).sum() == (loose["labels"] != IGNORED).sum()


@pytest.fixture
def texts(tmp_path: Path) -> Any:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": f"d{i}", "text": f"text {i}"}) + "\n" for i in range(230)))
    with Texts(str(path)) as opened:
        yield opened


def test_every_epoch_has_every_text_once_in_a_new_order_and_never_those_held_out(texts: Any) -> None:
    rows, held_out = split(texts, 5)
    assert len(held_out) == 2
    assert sorted([*rows, *held_out]) == list(range(230))
    draws, epochs = Draws(texts, rows, 5), []
    places = [place for step in Places(38, 12) for place in step]
    assert places == list(range(456))
    found = [draws[place] for place in places]
    assert [one.place for one in found] == places
    for first in (0, 228):
        epochs.append([one.docid for one in found[first : first + 228]])
        assert sorted(epochs[-1]) == sorted(texts.at(row).docid for row in rows)
    assert epochs[0] != epochs[1]
    assert all(one.text == f"text {one.docid[1:]}" for one in found)
    assert Draws(texts, rows, 5)[300] == found[300]  # from any place
    assert Draws(texts, rows, 6)[300] != found[300]
    assert not np.array_equal(split(texts, 6)[1], held_out)

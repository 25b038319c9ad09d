"""The cross-encoder in training sees, scores and learns what the reranker does and what the losses say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from gradir.data.records import GradedDoc, GradedList
from gradir.engine.cross_encoder import Reranker
from gradir.engine.cross_inputs import MONO_PROMPT, pairs, prompts
from gradir.errors import GradirError, InputError
from gradir.export.reranker import is_reranker, open_reranker
from gradir.train.cross import CrossModel
from gradir.train.cross_learner import CrossLearner
from gradir.train.losses.infonce import infonce
from gradir.train.trainer import _batches


@pytest.fixture(scope="module")
def start(tiny: Any, tiny_t5: Path) -> dict[str, Path]:
    """The folders to start from."""
    return {"mono-bert": tiny("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), "mono-t5": tiny_t5}


@pytest.fixture(params=["mono-bert", "mono-t5"])
def cross(request: pytest.FixtureRequest, start: dict[str, Path]) -> CrossModel:
    return CrossModel.open(start[request.param])


def texts_of(lists: list[GradedList]) -> list[tuple[str, str]]:
    return [(one.query, str(doc.text)) for one in lists for doc in one.docs]


def rows(lists: list[GradedList]) -> list[list[int]]:
    return [[doc.grade for doc in one.docs] for one in lists]


def log_odds(cross: CrossModel, query: str, document: str) -> float:
    """The score of one pair alone, written out."""
    if cross.method == "mono-bert":
        made = pairs(cross.tokenizer, cross.max_length)([(query, document)])[0]
        given = {"input_ids": torch.tensor([made.ids])}
        if "token_type_ids" in cross.tokenizer.model_input_names:
            given["token_type_ids"] = torch.tensor([made.types])
        return float(cross.model(**given).logits[0, 0])
    made = prompts(cross.tokenizer, cross.max_length, MONO_PROMPT, 2)([(query, document)])[0]
    start = torch.zeros(1, 1, dtype=torch.int64)
    logits = cross.model(input_ids=torch.tensor([made.ids]), decoder_input_ids=start).logits[0, 0]
    true, false = cross.tokenizer.convert_tokens_to_ids(["true", "false"])
    return float(logits[true] - logits[false])


def test_scores_are_those_of_each_pair_alone_in_the_places_of_their_lists(cross: CrossModel, spar_lists: Any) -> None:
    lists = spar_lists(7)
    lists[2] = lists[2]._replace(docs=lists[2].docs[:1])
    cross.eval()
    with torch.no_grad():
        scored = cross(cross.collate(lists))
        longest = max(len(one.docs) for one in lists)
        assert scored.scores.shape == (7, longest)
        for i, one in enumerate(lists):
            for j in range(longest):
                labels = [value[i, j].item() for value in scored.labels]
                if j < len(one.docs):
                    doc = one.docs[j]
                    expected = log_odds(cross, one.query, str(doc.text))
                    assert scored.scores[i, j].item() == pytest.approx(expected, abs=2e-5)
                    assert labels == [doc.grade, True, pytest.approx(doc.score, abs=1e-5), False]
                else:
                    assert scored.scores[i, j] == 0
                    assert labels[:2] == [0, False]
                    assert math.isnan(labels[2])
                    assert labels[3] is True


def test_batches_of_a_step_are_the_lists_alone(cross: CrossModel, spar_lists: Any) -> None:
    lists = spar_lists(7)
    step = cross.collate(lists, batch_size=3)
    parts = _batches(step)
    assert len(parts) == 3
    cross.eval()
    with torch.no_grad():
        for part, alone in zip(parts, [lists[:3], lists[3:6], lists[6:]], strict=True):
            found, expected = cross(part), cross(cross.collate(alone))
            torch.testing.assert_close(found.scores, expected.scores, atol=2e-5, rtol=0)
            for ours, theirs in zip(found.labels, expected.labels, strict=True):
                torch.testing.assert_close(ours, theirs, equal_nan=True)
        whole = cross(step)
        one_by_one = torch.cat([found.scores[found.labels.own] for found in map(cross, parts)])
        torch.testing.assert_close(whole.scores[whole.labels.own], one_by_one, atol=2e-5, rtol=0)
    assert step["qids"] == [one.qid for one in lists]
    assert step["tokens"] == sum(len(one.ids) for one in cross.inputs(texts_of(lists)))


@pytest.mark.parametrize("labels", [1, 2])
def test_saved_folders_score_as_in_training(
    start: dict[str, Path], spar_lists: Any, tmp_path: Path, labels: int
) -> None:
    texts = texts_of(spar_lists(12))
    texts.append((texts[0][0], " ".join(["w3"] * 200)))  # is cut
    for method, folder in start.items():
        if labels == 2:
            folder = _with_two_logits(folder, tmp_path) if method == "mono-bert" else folder
        ours = CrossModel.open(folder, max_length=20)
        _shake(ours)
        target = tmp_path / f"{method}-{labels}"
        ours.save(target)
        theirs = Reranker.open(target, device="cpu", dtype="float32")
        assert (theirs.method, theirs.max_length) == (method, 20)
        found = ours.score(texts, batch_tokens=300)
        assert np.ptp(found) > 0.05
        np.testing.assert_allclose(found, theirs.score(texts), atol=1e-5)
        assert ours.training
        record = json.loads((target / "reranker.json").read_text())
        assert record["method"] == method
        again = CrossModel.open(target)
        assert again.new == []
        np.testing.assert_allclose(again.score(texts), found, atol=1e-5)


def test_sentence_transformers_and_export_open_the_folder(
    start: dict[str, Path], spar_lists: Any, tmp_path: Path
) -> None:
    from sentence_transformers import CrossEncoder

    texts = texts_of(spar_lists(6))
    ours = CrossModel.open(start["mono-bert"])
    _shake(ours)
    ours.save(tmp_path / "model")
    theirs = CrossEncoder(str(tmp_path / "model"), device="cpu").predict(texts, convert_to_numpy=True)
    np.testing.assert_allclose(ours.score(texts), theirs, atol=1e-5)
    assert is_reranker(tmp_path / "model")
    assert open_reranker(tmp_path / "model").activation == "Identity"


def _shake(cross: CrossModel) -> None:
    """A head that gives different scores."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in cross.head():
            parameter.add_(0.3 * torch.randn_like(parameter))


def _with_two_logits(folder: Path, tmp_path: Path) -> Path:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    target = tmp_path / "two"
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).save_pretrained(target)
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    return target


def test_a_new_head_is_named_and_drawn_by_the_seed(start: dict[str, Path], tiny: Any, spar_lists: Any) -> None:
    texts = texts_of(spar_lists(3))
    state = torch.random.get_rng_state()
    one, same, other = (CrossModel.open(start["mono-bert"], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert one.new == ["classifier.bias", "classifier.weight"]
    assert one.model.config.num_labels == 1
    np.testing.assert_array_equal(one.score(texts), same.score(texts))
    assert np.abs(one.score(texts) - other.score(texts)).max() > 1e-4
    for family in ("distilbert", "roberta", "modernbert"):
        assert CrossModel.open(tiny(family)).score(texts).shape == (len(texts),)
    assert CrossModel.open(tiny("bert", head=True)).method == "mono-bert"
    assert CrossModel.open(start["mono-t5"]).new == []


def test_losses_are_those_written_out(cross: CrossModel, spar_lists: Any) -> None:
    lists = spar_lists(6)
    cross.eval()
    batch = cross.collate(lists)
    with torch.no_grad():
        odds = [[log_odds(cross, one.query, str(doc.text)) for doc in one.docs] for one in lists]
        flat = [
            (s, g) for line, grades in zip(odds, rows(lists), strict=True) for s, g in zip(line, grades, strict=True)
        ]
        expected = np.mean([math.log1p(math.exp(-s if g >= 1 else s)) for s, g in flat])
        assert float(CrossLearner(cross, ["bce"])(batch)["loss"]) == pytest.approx(expected, abs=1e-5)
        alone = [
            float(infonce(torch.tensor([line]), torch.tensor([grades]).float(), torch.ones(1, len(line)).bool()))
            for line, grades in zip(odds, rows(lists), strict=True)
        ]
        parts = CrossLearner(cross, [{"name": "infonce", "weight": 0.5}, "bce"])(batch)
        assert float(parts["infonce"]) == pytest.approx(np.mean(alone), abs=1e-5)
        assert float(parts["loss"]) == pytest.approx(0.5 * np.mean(alone) + expected, abs=1e-5)


def test_generation_is_cross_entropy_over_all_words(start: dict[str, Path], spar_lists: Any) -> None:
    cross, lists = CrossModel.open(start["mono-t5"], labels=("yes", "no")), spar_lists(6)
    cross.eval()
    yes, no = cross.tokenizer.convert_tokens_to_ids(["yes", "no"])
    losses = []
    with torch.no_grad():
        for one in lists:
            for doc in one.docs:
                made = cross.inputs([(one.query, str(doc.text))])[0]
                zero = torch.zeros(1, 1, dtype=torch.int64)
                logits = cross.model(input_ids=torch.tensor([made.ids]), decoder_input_ids=zero).logits[0]
                losses.append(cross_entropy(logits, torch.tensor([yes if doc.grade >= 2 else no])).item())
        learner = CrossLearner(cross, positive_grade=2)  # what monoT5 was published with
        parts = learner(cross.collate(lists))
        assert list(parts) == ["loss", "generation"]
        assert float(parts["loss"]) == pytest.approx(np.mean(losses), abs=1e-5)
        none = CrossLearner(cross, [{"name": "generation", "positive_grade": 3, "weight": 2}])(cross.collate(lists))
        assert float(none["loss"]) == pytest.approx(2 * float(none["generation"]), abs=1e-6)
    assert learner.pointwise
    assert not CrossLearner(cross, ["generation", "listnet"]).pointwise


def _list(*grades: int, query: str = "w1 w2") -> GradedList:
    docs = tuple(GradedDoc(f"d{i}", grade, "x", None, f"w{i} spar") for i, grade in enumerate(grades))
    return GradedList("q", query, docs)


@pytest.mark.parametrize("loss", ["bce", "infonce", "listnet", "ranknet", "kl_labels", "graded_margin_mse"])
def test_lists_with_nothing_to_learn_from(cross: CrossModel, loss: str) -> None:
    learner = CrossLearner(cross, [loss])
    for lists in ([_list(0, 0, 0)], [_list(2)], [_list(0)], [_list(1, 1, 1)], [_list(0, 0), _list(2, 0, 1)]):
        learner.zero_grad()
        found = learner(cross.collate(lists))["loss"]
        assert torch.isfinite(found)
        found.backward()
        gradients = [p.grad for p in learner.parameters() if p.grad is not None]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
    with torch.no_grad():
        if loss == "bce":
            assert learner(cross.collate([_list(0, 0)]))["loss"] > 0
        if loss == "infonce":  # a list without relevant documents is left out
            alone = learner(cross.collate([_list(2, 0, 1)]))["loss"]
            torch.testing.assert_close(learner(cross.collate([_list(0, 0), _list(2, 0, 1)]))["loss"], alone)


def test_padding_of_short_lists_and_sequences_has_no_gradient_of_its_own(cross: CrossModel, spar_lists: Any) -> None:
    """The gradient of a step is the mean of those of its documents, each alone."""
    lists = spar_lists(4)
    learner = CrossLearner(cross, ["bce"])

    def gradient(given: list[GradedList]) -> torch.Tensor:
        learner.zero_grad()
        learner(cross.collate(given))["loss"].backward()
        return torch.cat([p.grad.flatten() for p in cross.parameters() if p.grad is not None])

    alone = [gradient([one._replace(docs=(doc,))]) for one in lists for doc in one.docs]
    torch.testing.assert_close(gradient(lists), torch.stack(alone).mean(0), atol=2e-5, rtol=1e-3)


def test_what_is_refused(start: dict[str, Path], tiny: Any, raises_error: Any, tmp_path: Path) -> None:
    bert, t5 = start["mono-bert"], start["mono-t5"]
    with raises_error("is not for method mono-t5", "Give mono-bert"):
        CrossModel.open(bert, "mono-t5")
    with raises_error("not for method mono-bert"):
        CrossModel.open(t5, "mono-bert")
    with raises_error("`prompt` and `labels` are for T5 models"):
        CrossModel.open(bert, labels=["true", "false"])
    with raises_error("`max_length` 65", "takes 64 tokens at most"):
        CrossModel.open(bert, max_length=65)
    with raises_error("the label 'not relevant' is not one token but", "Choose two words"):
        CrossModel.open(t5, labels=["true", "not relevant"])
    with raises_error("are the same token"):
        CrossModel.open(t5, labels=["true", "true"])
    with raises_error("labels are two words"):
        CrossModel.open(t5, labels=["true", "false", "maybe"])
    with raises_error("{query}, {document} once"):
        CrossModel.open(t5, prompt="{query} alone")
    with raises_error("the query 'w1 w1", "leaves no room for a document"):
        CrossModel.open(t5).collate([_list(1, query="w1 " * 40)])
    with raises_error("the list of query q has no documents"):
        CrossModel.open(t5).collate([_list()])
    model = CrossModel.open(bert)
    with raises_error("generation is for T5 models, not for mono-bert. Give bce"):
        CrossLearner(model, ["generation"])
    with raises_error("no loss 'infonse', did you mean", "3 is neither a name nor a mapping"):
        CrossLearner(model, ["infonse", 3])
    with raises_error("symmetric needs `scope: batch`"):
        CrossLearner(model, [{"name": "infonce", "symmetric": True}])
    with raises_error("infonce: a reranker scores a query with its own documents only"):
        CrossLearner(model, [{"name": "infonce", "scope": "batch"}])
    with raises_error("no option 'wait', did you mean 'weight'", "positive_grade is 0, not a number above 0"):
        CrossLearner(CrossModel.open(t5), [{"name": "generation", "wait": 1, "positive_grade": 0}])
    with raises_error("has its weights in model.bin only"):
        (tmp_path / "config.json").write_text((bert / "config.json").read_text())
        (tmp_path / "model.bin").write_text("x")
        CrossModel.open(tmp_path)


def test_a_classifier_of_three_is_refused(start: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    AutoModelForSequenceClassification.from_pretrained(start["mono-bert"], num_labels=3).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(start["mono-bert"]).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="gives 3 scores for a pair"):
        CrossModel.open(tmp_path)
    with pytest.raises(GradirError):
        CrossModel.open(tmp_path / "nowhere")

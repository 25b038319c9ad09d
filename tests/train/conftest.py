"""Tiny cross-encoders to start from, and graded lists by a rule that they can learn."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gradir.data.records import GradedDoc, GradedList

WORDS = [f"w{number}" for number in range(24)]
Make = Callable[..., list[GradedList]]


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random T5 whose tokenizer knows whole words; `true` and `false` are one token each."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    tokens = [
        "<pad>",
        "</s>",
        "<unk>",
        "true",
        "false",
        "yes",
        "no",
        "Query:",
        "Document:",
        "Relevant:",
        "spar",
        *WORDS,
    ]
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=24, **names)
    size = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
    torch.manual_seed(7)
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokens), decoder_start_token_id=0, **size))
    folder = tmp_path_factory.mktemp("tiny-t5") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def spar_lists() -> Make:
    """`spar_lists(number, seed)`: lists of 2 to 6 documents, of which those with the word `spar` are graded 2, and others 0."""

    def make(number: int, seed: int = 0) -> list[GradedList]:
        draw = random.Random(seed)

        def document(relevant: bool) -> str:
            words = draw.choices(WORDS, k=draw.randint(1, 9))
            return " ".join([*words[:3], "spar", *words[3:]] if relevant else words)

        found = []
        for i in range(number):
            grades = [2] + [draw.choice([0, 0, 2]) for _ in range(draw.randint(1, 5))]
            docs = [
                GradedDoc(f"s{seed}d{i}.{j}", grade, "rule", draw.gauss(3.0 * grade, 1), document(grade > 0))
                for j, grade in enumerate(grades)
            ]
            draw.shuffle(docs)
            found.append(GradedList(f"s{seed}q{i}", " ".join(draw.choices(WORDS, k=3)), tuple(docs)))
        return found

    return make

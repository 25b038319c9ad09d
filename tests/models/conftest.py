"""Folders of the classes that Pyserini has of its own, folders of JSON files, and vectors of opened folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BERT = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 512}

PyseriniFolder = Callable[[str], Path]


@pytest.fixture(scope="session")
def pyserini_folder(tiny: Any, pyserini_encoders: Any, tmp_path_factory: pytest.TempPathFactory) -> PyseriniFolder:
    """`pyserini_folder(name)`: a random encoder of a class that is Pyserini's own: dpr, dpr-projected, dpr-question, ance."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, DPRConfig, DPRContextEncoder, DPRQuestionEncoder

    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name in made:
            return made[name]
        torch.manual_seed(7)
        source = tiny("roberta" if name == "ance" else "bert")
        folder = tmp_path_factory.mktemp("pyserini") / name
        settings = AutoConfig.from_pretrained(source).to_dict()
        if name == "ance":
            from pyserini.encode._ance import AnceEncoder
            from transformers import RobertaConfig

            model: Any = AnceEncoder(RobertaConfig(**settings))
            torch.nn.init.normal_(model.norm.weight)  # a trained norm does something
        else:
            settings |= {"model_type": "dpr", "projection_dim": 12 if name == "dpr-projected" else 0}
            model = (DPRQuestionEncoder if name == "dpr-question" else DPRContextEncoder)(DPRConfig(**settings))
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        made[name] = folder
        return folder

    return make


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """`write(folder, **files)`: a folder of JSON files; `__` stands for `/`, and text is written as it is."""

    def make(folder: Path, **files: Any) -> Path:
        for name, value in ({"config": BERT} | files).items():
            path = folder / f"{name.replace('__', '/')}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            if value is not None:
                path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def vectors() -> Callable[..., Any]:
    """`vectors(folder, texts, side)`: what the models of an opened folder give for texts in one padded batch, as NumPy."""
    import torch

    def encode(folder: Any, texts: list[str], side: Any = "passage") -> Any:
        tokenizer, model = folder.tokenizer, folder.model
        if side == "query":
            tokenizer, model = folder.query_tokenizer, folder.query_model
        prefixed = [folder.config.prefix(side) + text for text in texts]
        length = folder.config.max_length(side)
        batch = tokenizer(prefixed, padding=True, truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            return model(batch["input_ids"], batch["attention_mask"]).numpy()

    return encode

"""`gradir generate prompt list|show|render`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gradir.errors import GradirError
from gradir.generate import documents, judgements, queries
from gradir.generate.__main__ import main
from gradir.generate.prompts import load, names
from gradir.generate.render import as_text, render
from gradir.llm import hf_engine
from gradir.llm.engine import Group
from gradir.llm.hf_engine import HFEngine
from gradir.llm.records import Reply, Request
from gradir.llm.tokenizer import Tokenizer
from tests.generate.made import collection
from tests.generate.made import run as trec

Captured = pytest.CaptureFixture[str]


def run(capsys: Captured, *words: str) -> str:
    assert main(["prompt", *words]) == 0
    return capsys.readouterr().out


def fails(capsys: Captured, *words: str) -> str:
    assert main(["prompt", *words]) == 1
    return capsys.readouterr().err


def test_list(capsys: Captured) -> None:
    assert [line.split()[0] for line in run(capsys, "list").splitlines()] == names()
    found = run(capsys, "list", "--kind", "queries").splitlines()
    assert [line.split()[0] for line in found] == names("queries")
    assert "arXiv 2202.05144" in next(line for line in found if line.startswith("inpars "))


def test_show_gives_a_file_to_start_from(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(run(capsys, "show", "scifact"), encoding="utf-8")
    assert load(str(path)) == load("scifact")
    assert "did you mean 'scifact'" in fails(capsys, "show", "scifat")


def test_render_is_what_queries_asks(capsys: Captured, corpus_file: Path, tiny_llm: Path, tmp_path: Path) -> None:
    """The prompt whose key is in the store of a job with the same seed."""
    from gradir.llm.records import Sampling
    from gradir.llm.store import Store

    llm = f"hf:{tiny_llm}"
    queries(
        str(corpus_file), llm, tmp_path / "out", documents=1, document_tokens=9, max_tokens=4, llm_option=["device=cpu"]
    )
    model = json.loads((tmp_path / "out" / "manifest.json").read_text())["config"]["model"]
    text = run(capsys, "render", "inpars", "--corpus", str(corpus_file), "--llm", llm, "--document-tokens", "9")[:-1]
    sampling = Sampling(max_tokens=4, stop=("\n",), logprobs=0)
    store = Store(tmp_path / "out.requests")
    assert len(store) == 1
    assert Request(text, sampling).key(model) in store
    store.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What is asked of a model that never answers."""
    requests: list[Request] = []

    class Noting(HFEngine):
        def run(self, new: Sequence[Request]) -> Iterator[Group]:
            requests.extend(new)
            yield [(place, Reply(error="noted")) for place in range(len(new))]

    monkeypatch.setattr(hf_engine, "HFEngine", Noting)
    return requests


LONG = "wing spar and {query}\nGrade: 3 <|im_end|> " * 120


@pytest.mark.parametrize(
    ("name", "context"), [*((name, 2000) for name in names()), ("inpars", None), ("sycl-each", None), ("umbrela", None)]
)
def test_render_is_what_every_prompt_asks(
    capsys: Captured, tiny_llm: Path, tmp_path: Path, asked: list[Request], name: str, context: int | None
) -> None:
    prompt, llm = load(name), f"hf:{tiny_llm}"
    query = f"what {{document}} {LONG if prompt.kind == 'documents' else ''}"
    collection(tmp_path, {"d1": LONG, "d2": "heat <|im_end|> transfer"}, {"q1": query, "q2": "who"})
    options = {"llm_option": [f"context={context}"] if context else [], "max_tokens": 40}
    sides: dict[str, Any] = {"topics": str(tmp_path), "corpus": str(tmp_path)}
    if prompt.kind == "documents":
        each = "grade" in prompt.slots
        sides = {"topics": str(tmp_path)} if "query" in prompt.slots else {"from_documents": str(tmp_path)}
        chosen = {"grades": [1, 3], "one_by_one": each, "attempts": 1}
        job = partial(documents, llm, tmp_path / "out", prompt=name, seed=7, **options, **sides, **chosen)
    elif prompt.kind == "queries":
        few = {"documents": 1, "document_tokens": 900}
        job = partial(queries, sides.pop("corpus"), llm, tmp_path / "out", prompt=name, seed=7, **options, **few)
    else:
        pairs = trec(tmp_path / "run.trec", {"q1": [("d1", 1.0)]})
        job = partial(judgements, llm, tmp_path / "out", run=[pairs], prompt=name, seed=7, **options, **sides)
        job.keywords["corpus"] = [sides["corpus"]]
    with pytest.raises(GradirError, match="noted"):
        job()
    words = ["render", name, "--llm", llm, "--seed", "7", "--max-tokens", "40"]
    words += ["--context", str(context)] if context else []
    if prompt.kind != "documents" or "from_documents" in sides:
        words += ["--corpus", str(tmp_path)]
    if prompt.kind != "queries" and "topics" in sides:
        words += ["--topics", str(tmp_path)]
    words += ["--grades", "1", "3"] if prompt.kind == "documents" else []
    words += ["--document-tokens", "900"] if prompt.kind == "queries" else []
    first, tokenizer = asked[0].prompt, Tokenizer(str(tiny_llm))
    assert run(capsys, *words)[:-1] == (first if isinstance(first, str) else tokenizer.chat(first))
    assert len(tokenizer.prompt_ids(first)) <= (context or 4096) - 40


def test_render_one_document(capsys: Captured, corpus_file: Path, sentences: list[str]) -> None:
    text = run(capsys, "render", "scifact", "--corpus", str(corpus_file), "--docid", "d5")
    assert text[:-1] == render(load("scifact"), {"document": sentences[5], "in_language": ""})
    german = run(capsys, "render", "scifact", "--corpus", str(corpus_file), "--docid", "d5", "--language", "German")
    assert german.count("Claim in English: ") == 2
    assert german.endswith("Claim in German:\n")
    bare = run(capsys, "render", "scifact", "--corpus", str(corpus_file), "--docid", "d5", "--shots", "0")
    assert bare.count("Claim:") == 1


def test_render_without_a_document_leaves_the_slot(capsys: Captured) -> None:
    assert "Document: {document}\nRelevant Query:" in run(capsys, "render", "inpars")


@pytest.mark.parametrize("name", [name for kind in ("documents", "judgements") for name in names(kind)])  # type: ignore[arg-type]
def test_render_of_the_other_kinds(
    capsys: Captured, corpus_file: Path, tmp_path: Path, sentences: Any, name: str
) -> None:
    (tmp_path / "topics.tsv").write_text("q1\tfirst asked\nq2\tthen asked\n")
    prompt, words = load(name), ["render", name]
    if "document" in prompt.slots:
        words += ["--corpus", str(corpus_file), "--docid", "d3"]
    if "query" in prompt.slots:
        words += ["--topics", str(tmp_path / "topics.tsv"), "--qid", "q2"]
    text = run(capsys, *words)
    assert ("then asked" in text) == ("query" in prompt.slots)
    assert (sentences[3] in text) == ("document" in prompt.slots)
    assert ("[user]" in text) == (prompt.mode == "chat")


def test_a_chat_as_the_model_sees_it(capsys: Captured, corpus_file: Path, tiny_llm: Path, sentences: list[str]) -> None:
    words = ["render", "chat", "--corpus", str(corpus_file), "--docid", "d5"]
    messages = render(load("chat"), {"document": sentences[5], "in_language": ""})
    assert run(capsys, *words)[:-1] == as_text(messages)
    text = run(capsys, *words, "--llm", f"hf:{tiny_llm}")
    assert text[:-1] == f"<|im_start|>user\n{messages[0].content}<|im_end|>\n<|im_start|>assistant\n"  # type: ignore[union-attr]


def test_what_cannot_be_rendered(capsys: Captured, corpus_file: Path) -> None:
    said = fails(capsys, "render", "inpars", "--docid", "d1", "--qid", "q1", "--llm", "openai:x")
    assert "--docid needs --corpus" in said
    assert "--grades is not for queries" in fails(capsys, "render", "inpars", "--grades", "3")
    assert "--language is not for documents" in fails(capsys, "render", "sycl", "--language", "German")
    assert "--grades 7" in fails(capsys, "render", "sycl", "--grades", "7")
    assert "--qid needs --topics" in said
    assert "only hf:MODEL and vllm:MODEL" in said
    assert "holds no document nowhere" in fails(
        capsys, "render", "inpars", "--corpus", str(corpus_file), "--docid", "nowhere"
    )
    assert main(["prompt"]) == 2
    assert main(["prompt", "lst"]) == 2

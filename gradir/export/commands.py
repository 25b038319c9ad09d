"""The commands of Pyserini that a model card shows, and what Pyserini's own encoders cannot do of an encoder."""

from __future__ import annotations

import shlex

from gradir.models.config import PYSERINI_SCALE, EncoderConfig

_PYSERINI_QUERY_LENGTH = 256  # its SPLADE query encoder's, whatever the folder says


def pyserini_commands(path: str, config: EncoderConfig, size: int) -> list[str]:
    """From a corpus to measures with Pyserini's own encoders, which are told their class.

    Args:
        path: The folder.
        config: Its configuration, one that `beyond_pyserini` finds nothing against.
        size: Numbers of a dense vector.
    """
    lines = _splade(path, config) if config.kind == "splade" else _dense(path, config, size)
    measures = ["eval.trec_eval", "-c", "-m", "ndcg_cut.10", "-m", "recall.100", "qrels.txt", "run.pyserini.trec"]
    return [shlex.join(["python", "-m", f"pyserini.{words[0]}", *words[1:]]) for words in [*lines, measures]]


def _encode(path: str, config: EncoderConfig, output: list[str], encoder: list[str]) -> list[str]:
    words = ["encode", "input", "--corpus", "corpus.jsonl", "--fields", "text", "output", *output]
    length = ["--max-length", str(config.max_passage_length)]
    return [*words, "encoder", "--encoder", path, *encoder, "--fields", "text", *length, "--batch-size", "32"]


def _splade(path: str, config: EncoderConfig) -> list[list[str]]:
    index = ["index.lucene", "--collection", "JsonVectorCollection", "--input", "pyserini-vectors"]
    search = ["search.lucene", "--impact", "--index", "pyserini-impact", "--topics", "topics.tsv"]
    return [
        _encode(path, config, ["--embeddings", "pyserini-vectors"], ["--encoder-class", "splade"]),
        [
            *(*index, "--index", "pyserini-impact", "--generator", "DefaultLuceneDocumentGenerator"),
            *("--threads", "4", "--impact", "--pretokenized"),
        ],
        [*search, "--encoder", path, "--min-idf", "-1", "--hits", "1000", "--output", "run.pyserini.trec"],
    ]


def _dense(path: str, config: EncoderConfig, size: int) -> list[list[str]]:
    how = ["--encoder-class", "auto", "--pooling", config.pooling, *(["--l2-norm"] if config.normalize else [])]
    passage = ["--prefix", config.passage_prefix[:-1]] if config.passage_prefix else []
    query = ["--query-prefix", config.query_prefix[:-1]] if config.query_prefix else []
    search = ["search.faiss", "--index", "pyserini-faiss", "--topics", "topics.tsv", "--encoder", path]
    return [
        _encode(
            path,
            config,
            ["--embeddings", "pyserini-faiss", "--to-faiss"],
            [*how, *passage, "--dimension", str(size)],
        ),
        [*search, *how, *query, "--hits", "1000", "--output", "run.pyserini.trec"],
    ]


def beyond_pyserini(config: EncoderConfig, projected: bool) -> list[str]:
    """What an encoder does that Pyserini's own encoders do not; empty if they give the same vectors.

    Args:
        config: The encoder's configuration.
        projected: The pooled vector goes through more layers.
    """
    if config.kind == "splade":
        found = {
            "sum pooling": config.pooling != "max",
            f"the activation {config.activation}": config.activation != "relu",
            "terms of the text only": not config.expansion,
            f"an impact scale other than {PYSERINI_SCALE}": config.impact_scale != PYSERINI_SCALE,
            "a limit on the terms of a text": bool(config.top_k_query or config.top_k_passage),
            "prefixes": bool(config.query_prefix or config.passage_prefix),
        }
    else:
        found = {
            f"{config.pooling} pooling": config.pooling not in ("mean", "cls"),
            "layers after the pooling": projected,
            "vectors that are cut": config.dimensions is not None,
            "prefixes left out of the pooling": not config.pool_prefix,
            "prefixes that do not end in one space": not all(map(_expressible, _prefixes(config))),
        }
    found["queries that take another way than documents"] = config.query_side != "encoder"
    return [words for words, does in found.items() if does]


def _prefixes(config: EncoderConfig) -> tuple[str, str]:
    return config.query_prefix, config.passage_prefix


def _expressible(prefix: str) -> bool:
    """Whether Pyserini, which puts a space after a prefix, can be given it."""
    return not prefix or (prefix.endswith(" ") and prefix[:-1].strip() != "")


def differences(config: EncoderConfig) -> list[str]:
    """Where Pyserini's own encoders differ on some texts although they know all that this encoder does."""
    notes = []
    if config.kind == "splade":
        if config.max_query_length != _PYSERINI_QUERY_LENGTH:
            notes.append(
                f"Pyserini cuts queries at {_PYSERINI_QUERY_LENGTH} tokens, gradir at {config.max_query_length}."
            )
        notes.append("An empty text has no terms in gradir; Pyserini gives it those of [CLS] and [SEP] alone.")
    elif config.max_query_length < config.max_passage_length:
        notes.append(
            f"Pyserini cuts queries at {config.max_passage_length} tokens, gradir at {config.max_query_length}."
        )
    return notes

"""`gradir encode`: a corpus or topics in, vector shards or Pyserini's own files out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradir.command import Outcome
from gradir.encode.formats import Format, check_format, next_command
from gradir.encode.rows import Texts, taken
from gradir.errors import GradirError

if TYPE_CHECKING:
    from gradir.engine.encoder import Encoder


def run(
    encoder: str,
    output: Path,
    corpus: str | None = None,
    topics: str | None = None,
    kind: Literal["dense", "splade"] | None = None,
    pooling: Literal["mean", "cls", "max", "last", "sum"] | None = None,
    max_length: int | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    backend: Literal["torch", "onnx", "onnx-int8"] = "torch",
    batch_tokens: int | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    shard_id: int = 0,
    shard_num: int = 1,
    format: Format = "shards",
    vector_dtype: Literal["float32", "float16"] = "float32",
    part_size: int = 4096,
    dry_run: bool = False,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Encode a corpus or topics into vector shards, or into files that Pyserini reads.

    Dense vectors become float32 rows, SPLADE vectors rows of term ids and impacts. An interrupted run goes on where it stopped.
    Pyserini's own form of this command works too: gradir encode input … output … encoder …; see gradir encode input --help.

    Args:
        encoder: Encoder folder (gradir, sentence-transformers, Hugging Face) or hub name.
        output: Folder for the vectors.
        corpus: BEIR folder, corpus file (JSONL, TSV, .gz, .zst), folder of such files, or ir_datasets:NAME.
        topics: Queries instead of a corpus: JSONL, TSV, TREC topics, or a name that Pyserini knows.
        kind: What the encoder is, where its folder does not say.
        pooling: How token states become one vector, where its folder does not say.
        max_length: Tokens of a text, special ones included; the encoder's own length if not given.
        device: auto, cpu, cuda:0 and so on; several (cuda:0,cuda:1) get a process each.
        dtype: Number format of the model; auto is bfloat16 where that is much faster.
        backend: What runs the model; onnx and onnx-int8 need a folder with the exported graph.
        batch_tokens: Padded tokens of a batch; chosen by device if not given.
        batch_size: The same as a number of texts of full length: batch_tokens = batch_size x max_length.
        limit: Encode only the first so many texts.
        shard_id: Encode only this one of shard_num contiguous shards; counted from 0.
        shard_num: Number of shards, all of one size but the last, which takes the rest.
        format: shards; pyserini (embeddings.jsonl, of topics queries.jsonl), faiss (index and docid), and of topics
            tokens (sparse: queries.tsv, searched without an encoder) or pickle (dense: embedding.pkl for --encoded-queries).
        vector_dtype: Number format of dense vectors in shards.
        part_size: Texts of a part: the window in which texts are sorted by length, and what a kill can cost.
        dry_run: Write nothing; estimate documents, tokens, seconds and bytes from a sample.
        trust_remote_code: Allow the model's own Python code to run.
        overwrite: Start afresh where the output exists.
    """
    if (corpus is None) == (topics is None):
        raise GradirError("give either --corpus or --topics.")
    if part_size < 1:
        raise GradirError(f"--part-size {part_size}: give a number above 0.")
    texts = Texts(str(topics if corpus is None else corpus), "passage" if topics is None else "query")
    check_format(format, texts.side, kind or "")
    changes: dict[str, Any] = {"kind": kind, "pooling": pooling, f"max_{texts.side}_length": max_length}
    opener = OpenEncoder(
        encoder,
        dtype,
        backend,
        batch_tokens,
        batch_size,
        texts.side,
        {"trust_remote_code": trust_remote_code, **changes},
    )
    devices = devices_of(device)
    source = taken(texts, limit, shard_id, shard_num)
    next(source.rows(), None)  # a wrong path shall not wait for the model to load
    from gradir.encode import estimate, perform

    opened = opener(devices[0])
    described = opened.description()
    check_format(format, texts.side, described["kind"])
    if vector_dtype == "float16" and (described["kind"] != "dense" or format != "shards"):
        raise GradirError("--vector-dtype float16 is for dense vectors in shards. Leave it out.")
    if dry_run:
        return Outcome(text=estimate.estimate(opened, source, format, vector_dtype, len(devices)))
    config: dict[str, Any] = {"side": texts.side, "limit": limit, "shard_id": shard_id, "shard_num": shard_num}
    config |= {"format": format, "vector_dtype": vector_dtype, "part_size": part_size, **described}
    plan = perform.Plan(source, opener, devices, format, output, part_size, vector_dtype)
    then = next_command(format, output, texts.side, topics or "TOPICS", encoder, described["kind"])
    return perform.perform(plan, opened, "gradir encode", config, source.files(), overwrite, then)


def devices_of(names: str) -> tuple[str, ...]:
    """The devices of `--device`; of several, none is touched: that would take memory on each.

    Raises:
        GradirError: One is none, or is not here.
    """
    devices = tuple(name.strip() for name in names.split(","))
    if len(devices) == 1:
        return devices
    import torch

    for name in devices:
        try:
            found = torch.device(name)
        except RuntimeError as error:
            raise GradirError(f"--device {names}: {str(error).splitlines()[0]}. Try --device cpu.") from None
        if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
            raise GradirError(f"--device {names}: there is no {name} here. Try --device cpu.")
    return devices


@dataclass(frozen=True)
class OpenEncoder:
    """Opens an encoder folder on a device; picklable, for workers.

    Attributes:
        encoder: Folder or hub name.
        dtype: As for `Encoder.open`, like the next two.
        backend: `torch`, `onnx`, `onnx-int8`.
        batch_tokens: Padded tokens of a batch.
        batch_size: Texts of full length of a batch, instead.
        side: Whose length is meant.
        changes: Of the encoder's configuration.
    """

    encoder: str
    dtype: str
    backend: Literal["torch", "onnx", "onnx-int8"]
    batch_tokens: int | None
    batch_size: int | None
    side: Literal["query", "passage"]
    changes: dict[str, Any]

    def __call__(self, device: str) -> Encoder:
        """The encoder, open.

        Raises:
            GradirError: Both `batch_tokens` and `batch_size` are given, or one is not above 0.
        """
        from gradir.engine.devices import choose_device
        from gradir.engine.encoder import Encoder

        if self.batch_size is not None and (self.batch_tokens is not None or self.batch_size < 1):
            raise GradirError("--batch-size takes a number above 0, and no --batch-tokens beside it.")
        choose_device(device)  # before the model is read
        opened = Encoder.open(self.encoder, device, self.dtype, self.batch_tokens, self.backend, **self.changes)
        if self.batch_size is not None:
            opened.batch_tokens = self.batch_size * opened.config.max_length(self.side)
        return opened

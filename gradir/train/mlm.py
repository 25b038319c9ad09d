"""`gradir train mlm`: masked-language modelling continued on the corpus that shall be searched, optionally with FLOPS."""

from __future__ import annotations

import math
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gradir.command import Outcome
from gradir.errors import GradirError, InputError

if TYPE_CHECKING:
    from gradir.models.config import EncoderConfig
    from gradir.models.encoders import SpladeEncoder


def run(
    encoder: str,
    corpus: str,
    output: Path,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 32,
    max_length: int = 256,
    mask: float = 0.15,
    pack: bool = False,
    flops: float = 0.0,
    flops_steps: float = 0.33,
    learning_rate: float = 5e-5,
    warmup: float = 0.06,
    weight_decay: float = 0.01,
    save_every: int = 500,
    log_every: int = 10,
    workers: int = 0,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 13,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Continue the masked-language modelling of an encoder on a corpus, as a start for training.

    The result is a SPLADE encoder folder with the tokenizer and head of what it started from. A hundredth of the documents, at
    most 500, is held out: the loss over them is told before and after. An interrupted run goes on from its last checkpoint with
    the losses that it would have had.

    Args:
        encoder: A masked-language model or SPLADE encoder to start from: folder or hub name.
        corpus: Texts to learn from: BEIR folder, corpus file (JSONL, TSV, .gz, .zst), folder of such files, ir_datasets:NAME.
        output: The encoder folder to write.
        steps: Steps to train; by epochs if not given.
        epochs: Passes over the documents; 1 if steps are not given either.
        batch_size: Documents of a step.
        max_length: Tokens of a document that are read, special ones included; recorded in gradir.json.
        mask: Share of the tokens that are hidden and predicted; of these 80% are masked, 10% changed, 10% left.
        pack: Put several short documents of a batch into one sequence.
        flops: Weight of the FLOPS of the SPLADE vectors of the texts, beside the masked-language loss; 0 to leave it out.
        flops_steps: Steps until this weight is whole, growing as a square; below 1 a share of all steps.
        learning_rate: Highest learning rate; it falls to 0 at the end.
        warmup: Steps until it is reached; below 1 a share of all steps.
        weight_decay: Of AdamW.
        save_every: Steps between checkpoints.
        log_every: Steps between lines of the log.
        workers: Processes that read ahead; 0 reads between the steps.
        device: auto, cpu, cuda and so on.
        dtype: Number format of the products; auto is bfloat16 where that is much faster. Weights stay float32.
        seed: Seed of order, masks, dropout and what is held out.
        trust_remote_code: Allow the model's own Python code to run.
        overwrite: Start afresh where the output exists.
    """
    settings = Settings(
        batch_size,
        max_length,
        mask,
        pack,
        flops,
        flops_steps,
        learning_rate,
        warmup,
        weight_decay,
        save_every,
        log_every,
    )
    _check_arguments(settings, steps, epochs, seed)
    from gradir.data.corpus import corpus_files
    from gradir.data.manifest import Job
    from gradir.data.texts import Texts
    from gradir.engine.devices import choose_device, choose_dtype
    from gradir.train.mlm_masking import Masking
    from gradir.train.mlm_run import Work, train
    from gradir.train.mlm_texts import split

    place = choose_device(device)
    chosen = choose_dtype(dtype, place)
    path, model, tokenizer, config = open_start(encoder, max_length, trust_remote_code)
    masking = Masking.of(tokenizer, mask)
    work = Work(
        model, tokenizer, config, masking, settings, steps, epochs, seed, workers, place, chosen, encoder, corpus
    )
    # The folder is begun only once all input has been found good.
    with Texts(corpus) as texts:
        split(texts, seed)
        decides = {"encoder": encoder, "steps": steps, "epochs": epochs, **settings._asdict(), "seed": seed}
        for name in ("save_every", "log_every"):  # these decide nothing
            del decides[name]
        decides["dtype"] = work.precision
        job = Job(output, "gradir train mlm", decides, [path, *corpus_files(corpus)], overwrite, resumable=True)
        then = shlex.join(["gradir", "train", "splade", "CONFIG.yaml", "--encoder", str(output)])
        if job.finished:
            return Outcome(output, f"{output} is there already; nothing to do", then)
        said = train(work, texts, job)
    return Outcome(output, f"{output}: {said}, {job.seconds():.0f} s", then)


class Settings(NamedTuple):
    """The numbers that decide the result; `run` describes them."""

    batch_size: int
    max_length: int
    mask: float
    pack: bool
    flops: float
    flops_steps: float
    learning_rate: float
    warmup: float
    weight_decay: float
    save_every: int
    log_every: int


def _check_arguments(settings: Settings, steps: int | None, epochs: float | None, seed: int) -> None:
    """Refuse what cannot be, all of it at once."""
    given = settings._asdict() | {"steps": 1 if steps is None else steps, "epochs": 1.0 if epochs is None else epochs}
    problems = ["give either --steps or --epochs"] if steps is not None and epochs is not None else []
    for name in ("batch_size", "save_every", "log_every", "steps", "epochs", "learning_rate"):
        if not 0 < given[name] < math.inf:
            problems.append(f"--{name.replace('_', '-')} {given[name]} is not above 0")
    for name in ("flops", "flops_steps", "warmup", "weight_decay"):
        if not 0 <= given[name] < math.inf:
            problems.append(f"--{name.replace('_', '-')} {given[name]} is below 0")
    problems += [f"--seed {seed} is below 0"] if seed < 0 else []
    if settings.max_length < 3:
        problems.append(f"--max-length {settings.max_length} leaves no room beside two special tokens")
    if not 0 < settings.mask < 1:
        problems.append(f"--mask {settings.mask} does not lie between 0 and 1")
    if settings.pack and settings.flops:
        problems.append("--pack does not go with --flops: a sequence of several documents has no vector of its own")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        problems.append(f"mlm trains in one process, and {processes} were started; leave out torchrun")
    if problems:
        raise GradirError("; ".join(problems) + ".")


def open_start(
    encoder: str, max_length: int, trust_remote_code: bool = False
) -> tuple[Path, SpladeEncoder, Any, EncoderConfig]:
    """(folder, model, tokenizer, its `gradir.json` as it shall be) of what pre-training starts from.

    Raises:
        GradirError: No such model; it has no trained masked-language head; its queries go another way; the texts are longer than
            it takes.
    """
    from gradir.models.config import EncoderConfig, check_config, position_limit, read_model_settings
    from gradir.models.encoders import SpladeEncoder
    from gradir.models.folder import check_vocabulary, load_pretrained, locate, open_tokenizer
    from gradir.models.layout import read_layout
    from gradir.models.vocabulary import ids_without_token, special_ids

    path = locate(encoder, trust_remote_code)
    layout = read_layout(path)
    config = layout.config if layout.config.kind == "splade" else EncoderConfig(kind="splade", pooling="max")
    if config.query_side not in ("encoder", "binary"):
        problem = (
            f"its queries go another way (`query_side` is {config.query_side}), and only documents are learnt from"
        )
        raise InputError(path, problem, "Pre-train the model that it was made of")
    config = replace(config, max_query_length=max_length, max_passage_length=max_length)
    check_config(config, position_limit(read_model_settings(layout.transformer)))
    mlm, missing = load_pretrained("AutoModelForMaskedLM", layout.transformer, trust_remote_code)
    if missing:
        fix = f"Give it one first: gradir train init-splade --encoder {encoder}"
        raise InputError(path, f"has no trained masked-language head (no weights for {missing[0]})", fix)
    tokenizer, decoder = open_tokenizer(layout.transformer, trust_remote_code), mlm.get_output_embeddings()
    check_vocabulary(path, tokenizer, min(decoder.out_features, mlm.get_input_embeddings().num_embeddings))
    dropped = ids_without_token(tokenizer, decoder.out_features)
    dropped += special_ids(tokenizer) if config.special_tokens == "drop" else []
    return path, SpladeEncoder(mlm, dropped, config.pooling, config.activation), tokenizer, config  # type: ignore[arg-type]

"""transformers as an engine: any causal language model, on a CPU or one GPU, with nothing else to install."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gradir.errors import GradirError
from gradir.llm.answers import all_of, drawn
from gradir.llm.engine import Group
from gradir.llm.options import read_options
from gradir.llm.records import Reply, Request, Usage
from gradir.llm.tokenizer import Tokenizer, name_and_revision
from gradir.models.loading import cause

if TYPE_CHECKING:
    from gradir.llm.decoding import Row
    from gradir.llm.structured import Grammars


@dataclass(frozen=True)
class Settings:
    """Options of this engine.

    Attributes:
        context: Most tokens of prompt and answer; None: as many as the model takes.
        dtype: float32, bfloat16, float16, or auto: bfloat16 where the hardware multiplies it. Only in float32 a request is
            answered alike whatever stands beside it in the batch; the same requests in the same order, on as many threads,
            always are.
        device: cpu, cuda, cuda:1, …; auto: the first GPU, or the CPU.
        batch_size: Answers that are written at a time.
    """

    context: int | None = None
    dtype: str = "auto"
    device: str = "auto"
    batch_size: int = 16

    def __post_init__(self) -> None:
        given = {"context": self.context, "batch_size": self.batch_size}
        low = [f"{name}={value} is below 1" for name, value in given.items() if value is not None and value < 1]
        if low:
            raise GradirError(f"--llm-option for hf: {'; '.join(low)}")


def open_engine(model: str, base_url: str | None, options: Mapping[str, str]) -> HFEngine:
    """The engine of a folder or a model on the hub; its weights are loaded when something is asked.

    Raises:
        GradirError: No such model, or options that it does not know.
    """
    return HFEngine(model, read_options(Settings, "hf", options))


class _Prompt(NamedTuple):
    place: int
    request: Request
    ids: list[int]
    limit: int  # tokens of an answer


class HFEngine:
    """A causal language model of transformers.

    Requests are sorted by the length of their prompts, longest first, and cut into blocks, each of which is one batch and one
    group. What is left after an interruption between two blocks is therefore cut at the same places.

    Args:
        model: A folder, or the name of a model on the hub, with `@revision` where one is meant.
        settings: Options.

    Attributes:
        context: Most tokens of a prompt and its answer together.
        deterministic: True: also the sums, since the batches are the same.
    """

    deterministic = True

    def __init__(self, model: str, settings: Settings):
        self._name, self._settings = model, settings
        self._tokenizer = Tokenizer(model)
        self.context = self._context()
        self._model: Any = None
        self._grammars: Grammars | None = None

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return self._tokenizer.count(text)

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text: whole tokens and whole characters, at most so many tokens."""
        return self._tokenizer.cut(text, tokens)

    def run(self, requests: Sequence[Request]) -> Iterator[Group]:
        """Answer all requests, a group per batch. A prompt that fills the context is answered with an error.

        Raises:
            GradirError: No chat template; the weights cannot be loaded; no memory for a batch.
            MissingDependency: A form is asked for, and xgrammar is not installed.
        """
        self._load()
        prompts: list[_Prompt] = []
        failed: Group = []
        for place, request in enumerate(requests):
            one = self._prepared(place, request)
            if isinstance(one, _Prompt):
                prompts.append(one)
            else:
                failed.append((place, one))
        if failed:
            yield failed
        for block in _blocks(prompts, self._settings.batch_size):
            yield self._answer(block)

    def close(self) -> None:
        """Let go of the weights."""
        if self._model is None:
            return
        self._model = self._grammars = None
        import gc

        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _context(self) -> int:
        from transformers import AutoConfig

        name, revision = name_and_revision(self._name)
        try:
            config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False).get_text_config()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GradirError(f"{self._name}: no language model can be loaded ({cause(error)}).") from None
        most: int | None = getattr(config, "max_position_embeddings", None)
        wanted = self._settings.context
        if wanted is None and most is None:
            raise GradirError(f"{self._name}: config.json names no longest context. Give --llm-option context=N.")
        if wanted is not None and most is not None and wanted > most:
            raise GradirError(f"--llm-option context={wanted}: {self._name} takes {most} tokens at most.")
        return wanted or most or 0

    def _prepared(self, place: int, request: Request) -> _Prompt | Reply:
        """Its token ids; or why it cannot be answered."""
        ids = self._tokenizer.prompt_ids(request.prompt)
        if not ids:
            return Reply(error="the prompt is empty")
        if len(ids) >= self.context:
            return Reply(error=f"the prompt has {len(ids):,} tokens, the context {self.context:,}")
        if _has_form(request):
            grammars = self._forms()
            try:
                grammars.matcher(request.sampling)
            except GradirError as error:  # known before the blocks are cut, of which it would be one less
                return Reply(error=str(error))
        # as vLLM does it, an answer ends where the context does
        return _Prompt(place, request, ids, min(request.sampling.max_tokens, self.context - len(ids)))

    def _load(self) -> None:
        if self._model is not None:
            return
        import transformers
        from safetensors import SafetensorError

        from gradir.engine.devices import choose_device, choose_dtype

        device = choose_device(self._settings.device)
        dtype = choose_dtype(self._settings.dtype, device)
        name, revision = name_and_revision(self._name)
        transformers.utils.logging.disable_progress_bar()
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                name, revision=revision, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise GradirError(f"{self._name}: cannot be loaded ({cause(error)}).") from None
        own = model.generation_config.eos_token_id
        ends = {*(own if isinstance(own, list) else [own]), self._tokenizer.backend.eos_token_id}
        self._stops = sorted(end for end in ends if end is not None)
        # The model's own defaults (temperature, repetition penalty …) must not mix with what a request says.
        padding = self._tokenizer.backend.pad_token_id
        self._padding = padding if padding is not None else (self._stops or [0])[0]
        model.generation_config = transformers.GenerationConfig(pad_token_id=self._padding)
        self._model = model.eval().to(device)

    def _forms(self) -> Grammars:
        if self._grammars is None:
            from gradir.llm.structured import Grammars

            rows = self._model.get_output_embeddings().weight.shape[0]
            self._grammars = Grammars(self._tokenizer.backend, rows, self._stops)
        return self._grammars

    def _answer(self, block: Sequence[_Prompt]) -> Group:
        """One batch: each prompt as often as it is answered."""
        rows = [self._rows(one) for one in block]
        ids = [one.ids for one, made in zip(block, rows, strict=True) for _ in made]
        self._generate(ids, [row for made in rows for row in made])
        group: Group = []
        for one, made in zip(block, rows, strict=True):
            choices = tuple(row.choice(self._tokenizer) for row in made)
            usage = Usage(len(one.ids), 0, sum(len(row.tokens) for row in made))
            group.append((one.place, Reply(all_of(choices, one.request.sampling), usage)))
        return group

    def _rows(self, one: _Prompt) -> list[Row]:
        from gradir.llm.decoding import Row

        sampling = one.request.sampling
        matchers = [self._forms().matcher(sampling) if _has_form(one.request) else None for _ in range(drawn(sampling))]
        return [Row(sampling, i, one.limit, matcher, self._model.device) for i, matcher in enumerate(matchers)]

    def _generate(self, ids: Sequence[list[int]], rows: Sequence[Row]) -> None:
        """Write the answers into the rows."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        from gradir.llm.decoding import AllEnded, Draw

        length = max(map(len, ids))
        padded = [[self._padding] * (length - len(one)) + one for one in ids]
        mask = [[0] * (length - len(one)) + [1] * len(one) for one in ids]
        device = self._model.device
        config = GenerationConfig(
            do_sample=False, max_new_tokens=max(row.limit for row in rows), pad_token_id=self._padding
        )
        try:
            with torch.inference_mode():
                self._model.generate(
                    torch.tensor(padded, device=device),
                    attention_mask=torch.tensor(mask, device=device),
                    generation_config=config,
                    logits_processor=LogitsProcessorList([Draw(rows, self._tokenizer, self._stops, self._forms)]),
                    stopping_criteria=StoppingCriteriaList([AllEnded(rows)]),
                )
        except torch.OutOfMemoryError:
            raise GradirError(
                f"{self._name}: no memory for {len(rows)} answers at a time. Give --llm-option "
                f"batch_size={max(1, len(rows) // 2)}; what is stored stays."
            ) from None


def _blocks(prompts: Sequence[_Prompt], size: int) -> Iterator[list[_Prompt]]:
    """Prompts in batches of at most `size` answers, longest first; one that asks for more answers stands alone."""
    block: list[_Prompt] = []
    answers = 0
    for one in sorted(
        prompts, key=lambda one: -len(one.ids)
    ):  # stable: equal lengths stay in the order of the requests
        wanted = drawn(one.request.sampling)
        if block and answers + wanted > size:
            yield block
            block, answers = [], 0
        block.append(one)
        answers += wanted
    if block:
        yield block


def _has_form(request: Request) -> bool:
    return request.sampling.choice is not None or request.sampling.json_schema is not None

"""A small language model and its tokenizer, new or begun elsewhere, and the objective that trains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradir.errors import GradirError
from gradir.models.loading import cause
from gradir.train.batches import to_device
from gradir.train.writer_data import IGNORED
from gradir.train.writer_stage import Shape

BEGIN, END, PADDING = "<s>", "</s>", "<pad>"
_WIDENING = 4  # of the middle of a feed-forward layer, which has three matrices: two thirds of it, in steps of 32
_PLAIN = {"llama", "mistral", "qwen2", "qwen3"}  # whose logits are states times matrix and nothing else


def new_tokenizer(texts: Iterator[str], shape: Shape) -> Any:
    """A byte-level BPE tokenizer learned on texts: any text can be read; each prompt begins with a token of its own.

    A number is read digit by digit, so that it can be copied.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    digits, level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        min_frequency=2,
        special_tokens=[PADDING, BEGIN, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    begin = backend.token_to_id(BEGIN)
    backend.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PADDING,
        model_max_length=shape.context,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: Any, shape: Shape) -> Any:
    """A Qwen2 with random weights whose input and output embeddings are one matrix."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=-(-shape.hidden * _WIDENING * 2 // 3 // 32) * 32,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


def open_model(folder: str | Path) -> Any:
    """The language model of a folder, in float32.

    Raises:
        GradirError: There is none, or it cannot be loaded.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise GradirError(f"--start {folder}: no language model can be loaded ({cause(error)}).") from None


class Sums(NamedTuple):
    """Cross-entropies of the tokens of a batch, summed, natural logarithm; and how many there are."""

    answers: Tensor
    answer_tokens: Tensor
    prompts: Tensor
    prompt_tokens: Tensor


class WriterObjective(nn.Module):
    """A language model with its loss:

        (sum of CE over tokens of answers + w * sum of CE over tokens of prompts) / (number of the first + w * number of the second)

    CE is the cross-entropy of the next token; the token that ends an answer is one of the answer's. Logits are computed only
    where one of them counts. Rows are causal and filled at their end, so that they need no mask and no row sees another.

    Args:
        model: A causal language model of transformers.
        prompt_loss: w.
        dtype: Number format of the products; weights stay float32.
    """

    def __init__(self, model: Any, prompt_loss: float = 0.0, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.model, self.prompt_loss, self.dtype = model, prompt_loss, dtype

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """`loss`, and for the log `answers`, the mean over tokens of answers; with a share of the prompts `prompts` as well."""
        sums, weight = self.sums(batch), self.prompt_loss
        number = sums.answer_tokens + weight * sums.prompt_tokens
        parts = {"loss": (sums.answers + weight * sums.prompts) / number.clamp(min=1)}
        parts["answers"] = sums.answers.detach() / sums.answer_tokens.clamp(min=1)
        if weight:
            parts["prompts"] = sums.prompts.detach() / sums.prompt_tokens.clamp(min=1)
        return parts

    def sums(self, batch: dict[str, Any]) -> Sums:
        """The parts of the loss before they are put together."""
        ids, labels, answers = batch["input_ids"], batch["labels"], batch["answers"].bool()
        chosen = (labels != IGNORED) if self.prompt_loss else answers
        with torch.autocast(ids.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self._logits(ids, chosen)
        losses = nn.functional.cross_entropy(logits.float(), labels[chosen], reduction="none")
        mine = answers[chosen]
        return Sums(losses[mine].sum(), mine.sum(), losses[~mine].sum(), (~mine).sum())

    def _logits(self, ids: Tensor, chosen: Tensor) -> Tensor:
        """Logits at the chosen places, [n, V]."""
        if self.model.config.model_type in _PLAIN:
            states = self.model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            found: Tensor = self.model.get_output_embeddings()(states[chosen])
            return found
        whole: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return whole[chosen]


@torch.no_grad()
def measure(objective: WriterObjective, batches: Iterable[dict[str, Any]]) -> float:
    """Mean cross-entropy of a token of the answers, over batches."""
    device, training = next(objective.parameters()).device, objective.training
    objective.eval()
    loss = tokens = 0.0
    for batch in batches:
        sums = objective.sums(to_device(batch, device))
        loss, tokens = loss + float(sums.answers), tokens + float(sums.answer_tokens)
    objective.train(training)
    return loss / max(1.0, tokens)

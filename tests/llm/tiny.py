"""A random Qwen2 of 64 dimensions and a tokenizer learned on the spot: a language model that runs anywhere and writes nonsense."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WHAT = (
    "wing spar",
    "boundary layer",
    "heat transfer",
    "query",
    "document",
    "passage",
    "relevant answer",
    "grade 0 1 2 3",
)
_DOES = (
    "was measured at high speed.",
    "depends on the pressure?",
    'is {"text": "good", "grade": 3}',
    "Straße, café, 日本語, 🚀!",
)
_TEXTS = [f"The {what} {does}\n" for what, does in product(_WHAT, _DOES)]


def make_tiny(folder: Path, seed: int = 0, context: int = 512, whole: bool = False) -> Path:
    """A model and its tokenizer in `folder`; equal seeds give equal weights. Returns the folder.

    The weights are large enough for the distributions to be far from even. The vocabulary has all bytes, so that any text can be
    read, and characters of several bytes are split over tokens; with `whole` the model writes no such pieces of characters,
    which at random hardly ever fit together.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in (("pad", PAD), ("eos", END))}
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 8,  # as real models, more rows than the tokenizer has tokens
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,  # vLLM's CPU build knows no heads below 32
        num_key_value_heads=1,
        max_position_embeddings=context,
        initializer_range=0.15,
        tie_word_embeddings=False,
        pad_token_id=ids["pad"],
        eos_token_id=ids["eos"],
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    if whole:
        _forbid(model, [token for token in range(len(tokenizer)) if "\ufffd" in tokenizer.decode([token])])
    model.generation_config.eos_token_id = [ids["eos"], ids["pad"]]
    model.generation_config.pad_token_id = ids["pad"]
    model.save_pretrained(folder)
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)
    return Path(folder)


def _forbid(model: Any, tokens: list[int]) -> None:
    """Have the model never write some tokens: the first channel is the same positive number everywhere, and speaks against them."""
    import torch

    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 0.5
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        model.lm_head.weight[:, 0] = 0
        model.lm_head.weight[tokens, 0] = -50


def _tokenizer() -> Any:
    """A byte-level BPE tokenizer with Qwen's special tokens and a chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    backend = Tokenizer(models.BPE())
    words = Regex(r"\s?\p{L}+|\p{N}|\s?[^\s\p{L}\p{N}]+|\s+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_TEXTS, trainer)
    return Qwen2TokenizerFast(tokenizer_object=backend, pad_token=PAD, eos_token=END, chat_template=TEMPLATE)

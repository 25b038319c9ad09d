"""Models made ready for inference give what the Hugging Face modules give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.engine.compact import CompactBert, compact, packs
from gradir.engine.prepare import PackedSplade, prepare
from gradir.engine.sparse_head import PackedHead
from gradir.models.encoders import DenseEncoder, SpladeEncoder
from gradir.models.folder import open_folder

CPU = torch.device("cpu")
FAMILIES = ["bert", "distilbert", "roberta", "xlm-roberta"]


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (none of padding's) and masks of six texts of different lengths."""
    lengths = torch.tensor([20, 7, 1, 13, 20, 2])
    mask = (torch.arange(20) < lengths[:, None]).long()
    ids = torch.randint(5, 150, mask.shape, generator=torch.Generator().manual_seed(5))
    return torch.where(mask.bool(), ids, 0), mask


def on_padding(ids: torch.Tensor, mask: torch.Tensor, padding: int) -> torch.Tensor:
    return torch.where(mask.bool(), ids, padding)


@pytest.mark.parametrize("family", FAMILIES)
def test_dense_states_are_those_of_hugging_face(tiny: Any, family: str, batch: Any) -> None:
    plain, opened = open_folder(tiny(family)), open_folder(tiny(family))
    ids, mask = on_padding(*batch, plain.tokenizer.pad_token_id), batch[1]
    ready = prepare(opened.model, CPU, torch.float32)
    assert isinstance(ready.backbone, CompactBert)
    with torch.inference_mode():
        torch.testing.assert_close(ready(ids, mask), plain.model(ids, mask), atol=1e-5, rtol=0)
        equal = torch.ones_like(mask)  # a batch of equal lengths goes without a mask
        torch.testing.assert_close(ready(ids, equal), plain.model(ids, equal), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", [*FAMILIES, "modernbert"])
def test_splade_weights_are_those_of_the_plain_model(tiny: Any, family: str, dtype: torch.dtype, batch: Any) -> None:
    folder = tiny(family, head=True)
    plain, opened = open_folder(folder), open_folder(folder)
    ids, mask = on_padding(*batch, plain.tokenizer.pad_token_id), batch[1]
    ready = prepare(opened.model, CPU, dtype)
    assert isinstance(ready, PackedSplade)
    with torch.inference_mode():
        weights, wanted = ready.activation(ready(ids, mask).float()), plain.model(ids, mask)
        lowered = plain.model.to(dtype)(ids, mask)
    assert (wanted > 0).any()
    if dtype is torch.float32:
        torch.testing.assert_close(weights, wanted, atol=1e-5, rtol=0)
    else:  # no further off than the whole model in that format; where only the head differs, by chance a little more or less
        assert 0 < (weights - wanted).abs().mean() <= 1.1 * (lowered - wanted).abs().mean()


def test_variants_keep_their_own_way(tiny: Any, batch: Any) -> None:
    """Sum pooling and the lexical variant do not go through the packed maximum; two logarithms do."""
    ids, mask = batch
    for changes, packed in (
        (dict(pooling="sum"), False),
        (dict(expansion=False), False),
        (dict(activation="log1p_relu"), True),
    ):
        plain, opened = (open_folder(tiny("bert", head=True), **changes) for _ in range(2))
        ready = prepare(opened.model, CPU, torch.float32)
        assert isinstance(ready, PackedSplade) == packed
        with torch.inference_mode():
            output = ready(ids, mask)
            weights = ready.activation(output) if packed else output  # type: ignore[operator]
            torch.testing.assert_close(weights, plain.model(ids, mask), atol=1e-5, rtol=0)


def test_half_precision_variants_run(tiny: Any, batch: Any) -> None:
    """Where the head is not packed, it takes the number format of the backbone's states."""
    ids, mask = batch
    plain, opened = (open_folder(tiny("bert", head=True), pooling="sum") for _ in range(2))
    with torch.inference_mode():
        weights = prepare(opened.model, CPU, torch.bfloat16)(ids, mask)
        torch.testing.assert_close(weights.float(), plain.model(ids, mask), atol=1.0, rtol=0.1)


@pytest.mark.parametrize(
    "changes", [dict(is_decoder=True), dict(hidden_act="relu"), dict(position_embedding_type="relative_key")]
)
def test_unknown_architectures_stay_as_they_are(tiny: Any, changes: dict[str, Any]) -> None:
    model = open_folder(tiny("bert")).model
    assert isinstance(model, DenseEncoder)
    for name, value in changes.items():
        setattr(model.backbone.config, name, value)
    assert compact(model.backbone, CPU, torch.float32) is None
    assert compact(open_folder(tiny("modernbert")).model.backbone, CPU, torch.float32) is None  # type: ignore[union-attr]


def test_every_known_layer_is_packed_on_a_cpu(tiny: Any) -> None:
    """oneDNN's operations are private to torch: should they go, this is where it shows."""
    assert packs(CPU, torch.float32)
    assert packs(CPU, torch.bfloat16)
    assert not packs(CPU, torch.float16)
    model = prepare(open_folder(tiny("bert")).model, CPU, torch.bfloat16)
    assert not [module for module in model.modules() if isinstance(module, torch.nn.Linear)]


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 4),
    length=st.integers(1, 9),
    rows=st.sampled_from([1, 31, 1024, 1500]),
    shift=st.floats(-3, 3),
    seed=st.integers(0, 999),
)
def test_the_maximum_of_integers_is_the_maximum(batch: int, length: int, rows: int, shift: float, seed: int) -> None:
    torch.manual_seed(seed)
    decoder = torch.nn.Linear(8, rows)
    decoder.bias.data.add_(shift)  # all below 0, all above, and in between
    hidden, lengths = torch.randn(batch, length, 8), torch.randint(1, length + 1, (batch,))
    mask = (torch.arange(length) < lengths[:, None]).long()
    hidden = hidden.masked_fill(mask.unsqueeze(-1) == 0, 1e6)  # rubbish on padding must not count
    dropped = torch.tensor([0])
    with torch.inference_mode():
        pooled = PackedHead(decoder, dropped, torch.float32)(hidden, mask)
        slow = (
            decoder(hidden).masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1).relu().index_fill(1, dropped, 0.0)
        )
    torch.testing.assert_close(pooled, slow, atol=1e-5, rtol=1e-5)


def test_nan_anywhere_is_told(splade_dir: Path, batch: Any) -> None:
    """The relu inside a product takes NaN for 0: states are looked at, and a head with NaN is not packed."""
    ids, mask = batch
    folder = open_folder(splade_dir)
    with torch.no_grad():
        folder.model.get_submodule("mlm.bert.encoder.layer.5.output.LayerNorm").weight[3] = torch.nan  # type: ignore[index,operator]
    with torch.inference_mode():
        assert prepare(folder.model, CPU, torch.float32)(ids, mask).isnan().any(1).all()
    folder = open_folder(splade_dir)
    with torch.no_grad():
        folder.model.decoder.bias[7] = torch.nan  # type: ignore[union-attr,index,operator]
    ready = prepare(folder.model, CPU, torch.float32)
    assert isinstance(ready, SpladeEncoder)
    with torch.inference_mode():
        assert ready(ids, mask).isnan().any(1).all()

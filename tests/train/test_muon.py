"""The optimiser of two parts against torch's own two, each on its share of the parameters."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from gradir.train.muon import MuonAdamW


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 9, bias=False))


def gradients(model: nn.Module, number: int) -> Iterator[None]:
    """One loss after another."""
    chance = torch.Generator().manual_seed(7)
    for _ in range(number):
        ids = torch.randint(0, 9, (4, 5), generator=chance)
        nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
        yield
        model.zero_grad()


def test_each_part_is_torchs_own() -> None:
    ours, theirs = network(), network()
    optimizer = MuonAdamW(ours, 0.02, 0.1)
    names = dict(theirs.named_parameters())
    matrices = [names.pop("1.weight"), names.pop("3.weight")]
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(names.values(), lr=0.02, weight_decay=0.0, betas=(0.9, 0.98))
    for step, _ in enumerate(zip(gradients(ours, 6), gradients(theirs, 6), strict=True)):
        for one in (optimizer, muon, adam):
            for group in one.param_groups:  # as a schedule does
                group["lr"] = 0.02 / (1 + step)
            one.step()
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name), weight, rtol=0, atol=0)
        assert not torch.equal(weight, network().get_parameter(name))


def test_it_goes_on_from_its_state() -> None:
    whole, parted = network(), network()
    first, second = MuonAdamW(whole, 0.02, 0.1), MuonAdamW(parted, 0.02, 0.1)
    for step, _ in enumerate(zip(gradients(whole, 6), gradients(parted, 6), strict=True)):
        if step == 3:
            state = second.state_dict()
            second = MuonAdamW(parted, 0.5, 0.0)
            second.load_state_dict(state)
        first.step()
        second.step()
    for name, weight in whole.named_parameters():
        torch.testing.assert_close(parted.get_parameter(name), weight, rtol=0, atol=0)


def test_an_embedding_that_is_also_the_output_is_not_muons() -> None:
    model = network()
    model[3] = nn.Linear(6, 9, bias=False)
    model[3].weight = model[0].weight
    optimizer = MuonAdamW(model, 0.1, 0.1)
    assert [id(one) for one in optimizer.param_groups[0]["params"]] == [id(model[1].weight)]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))

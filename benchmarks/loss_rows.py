"""The Wasserstein loss alone, forward and backward, against the published eigenvalue form; gradients are compared first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.table import Row, alternate, ratio_of
from gradir.train.losses import wasserstein

QUERIES, GRADES, STEPS = 64, (3.0, 2.0, 1.0, 0.0), 20


def rows(quick: bool) -> list[Row]:
    """64 queries x 256 documents in float32, four of them each query's own."""
    rounds = 5 if quick else 25
    draw = torch.Generator().manual_seed(13)
    grades = torch.tensor(GRADES).repeat(QUERIES, 1)  # [B, G]
    target = torch.block_diag(*grades)  # [B, N]
    mask = torch.ones_like(target, dtype=torch.bool)
    scores = torch.randn(target.shape, generator=draw) * 2
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": lambda one: wasserstein(one, target, mask),
        "published": lambda one: published(one, grades),
        "without covariances": lambda one: published(one, grades, covariances=False),
    }
    slopes = {name: _gradient(loss, scores) for name, loss in losses.items()}
    for name, slope in slopes.items():
        if not torch.allclose(slope, slopes["published"], rtol=0, atol=1e-4 * float(slopes["published"].abs().max())):
            raise RuntimeError(f"the gradient of {name} is another one than that of the published form")
    contenders = {name: _steps(loss, scores) for name, loss in losses.items()}
    alternate(contenders, 1)
    seconds = alternate(contenders, rounds)
    rates = {name: STEPS / float(np.median(taken)) for name, taken in seconds.items()}
    leaner = ratio_of(seconds, "ours", "without covariances")
    return [
        Row(
            f"Wasserstein loss, {QUERIES} queries x {target.shape[1]} documents",
            "published eigenvalue form, float64",
            ratio_of(seconds, "ours", "published"),
            5,
            True,
            rates["ours"],
            rates["published"],
            "forward and backward/s",
            rounds,
            f"{torch.get_num_threads()} threads; {leaner:.1f}x where its traces are taken without its [N, N] covariances",
        )
    ]


def published(scores: Tensor, grades: Tensor, covariances: bool = True) -> Tensor:
    """The formula as it is published: two covariance matrices, and the root's trace by eigenvalues of a matrix [B, B].

    Args:
        scores: [B, N].
        grades: [B, G], of each query's own documents, which stand one after another among the N.
        covariances: Make them whole for their traces; otherwise these are sums of squares.
    """
    found, wanted = scores.softmax(1).double().T, torch.block_diag(*grades).double().softmax(1).T  # [N, B]
    means = found.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
    left, right = found - means[0], wanted - means[1]
    scale = 1 / (len(scores) - 1)
    product = (left.T @ right) @ (right.T @ left) * scale**2
    root = (torch.linalg.eigvals(product) + 1e-15).sqrt().abs().sum()
    if covariances:
        traces = (left @ left.T * scale + right @ right.T * scale).trace()
    else:
        traces = scale * (left.square().sum() + right.square().sum())
    return (means[0] - means[1]).square().sum() + traces - 2 * root


def _gradient(loss: Callable[[Tensor], Tensor], scores: Tensor) -> Tensor:
    leaf = scores.clone().requires_grad_()
    loss(leaf).backward()
    if leaf.grad is None:
        raise RuntimeError("a loss without a gradient")
    return leaf.grad


def _steps(loss: Callable[[Tensor], Tensor], scores: Tensor) -> Callable[[], None]:
    def steps() -> None:
        for _ in range(STEPS):
            _gradient(loss, scores)

    return steps

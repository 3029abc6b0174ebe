"""Forward and backward of one optimiser step, over one batch or several that count as one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tempovla.objective import LossReport, Objective
from tempovla.timeline import LossTerm, LossTerms, Metric, Progress, TimelineSample


class LossGraph(nn.Module):
    """A policy together with its objective; it computes the loss of a sample.

    It is this module, not the policy, that `DistributedDataParallel` wraps or FSDP shards, so that every path to the
    policy's parameters goes through the wrapper, and parameters that take no part in the loss are seen to be unused.

    Attributes:
        keep_casts: whether autocast's copy of a weight is kept for the next layer that uses it; it would outlive the
            weight that FSDP drops.
        progress: the progress of the training, on which schedules of weights and some policies depend.
    """

    def __init__(self, policy: nn.Module, objective: Objective, autocast_dtype: torch.dtype | None) -> None:
        super().__init__()
        self.policy = policy
        self.objective = objective
        self.autocast_dtype = autocast_dtype
        self.keep_casts = True
        self.progress = Progress(0, 1)
        self._tells_progress = "progress" in inspect.signature(policy.forward).parameters

    def terms(self, sample: TimelineSample) -> LossTerms:
        """Return the policy's loss terms."""
        return self._terms(sample)

    def _terms(self, sample: TimelineSample) -> LossTerms:
        device, dtype = sample.seed.device.type, self.autocast_dtype
        with torch.autocast(device, dtype, enabled=dtype is not None, cache_enabled=self.keep_casts):
            terms: LossTerms = self.policy(sample, self.progress) if self._tells_progress else self.policy(sample)
            return terms

    def forward(self, sample: TimelineSample, cotangents: Mapping[str, Tensor] | None = None) -> LossReport:
        """Return the loss of a batch. Given the gradients of the loss at the predictions, return a total with the same
        gradients.
        """
        terms = self._terms(sample)
        if cotangents is None:
            return self.objective(terms, self.progress)
        products = [(_differentiable(terms)[name] * gradient).sum() for name, gradient in cotangents.items()]
        return LossReport(torch.stack(products).sum(), {})


def backward(graph: nn.Module, samples: Sequence[TimelineSample], seed: Callable[[int], None]) -> LossReport:
    """Add to the parameters' gradients those of the loss over all samples as if they were one batch.

    Masked means and batch regularisers over several batches are not means of those over each. So with more than one,
    a first pass without a graph collects the predictions; the loss of all of them together gives its gradients at the
    predictions; a second pass carries these to the parameters batch by batch ("gradient cache", Gao et al., 2021,
    arXiv:2101.06983). One more forward pass, exact, and the memory of one batch's graph.

    Args:
        graph: a `LossGraph`, or `DistributedDataParallel` around one.
        samples: prepared batches, all on the parameters' device.
        seed: called with the number of a batch before each forward pass of it, so that both draw the same dropout.
    """
    if len(samples) == 1:
        seed(0)
        report: LossReport = graph(samples[0])
        report.total.backward()
        return report
    parallel = isinstance(graph, DistributedDataParallel)
    inner: LossGraph = graph.module if parallel else graph  # type: ignore[assignment]
    with torch.no_grad():
        cached = []
        for index, sample in enumerate(samples):
            seed(index)
            cached.append(inner.terms(sample))
    report, cotangents = _loss_gradients(inner, cached)
    for index, sample in enumerate(samples):
        last = index == len(samples) - 1
        hold: AbstractContextManager[None] = graph.no_sync() if parallel and not last else nullcontext()  # type: ignore[operator]
        seed(index)
        with hold:
            graph(sample, cotangents[index]).total.backward()
    return report


def _differentiable(terms: Mapping[str, LossTerm | Metric]) -> dict[str, Tensor]:
    """Predictions and targets of loss terms by name: a gradient may flow through either."""
    trained = {name: term for name, term in terms.items() if isinstance(term, LossTerm)}
    tensors = {name: term.prediction for name, term in trained.items()}
    targets = {f"{name}/target": term.target for name, term in trained.items() if term.target is not None}
    return tensors | {name: target for name, target in targets.items() if target.is_floating_point()}


def _loss_gradients(graph: LossGraph, batches: Sequence[LossTerms]) -> tuple[LossReport, list[dict[str, Tensor]]]:
    """The loss of all batches as one, and its gradients at each batch's predictions and targets."""
    joined = {name: _join([terms[name] for terms in batches]) for name in batches[0]}
    leaves = {name: tensor.requires_grad_() for name, tensor in _differentiable(joined).items()}
    report = graph.objective(joined, graph.progress)
    report.total.backward()
    rows = [[len(tensor) for tensor in _differentiable(terms).values()] for terms in batches]
    cotangents: list[dict[str, Tensor]] = [{} for _ in batches]
    for column, (name, leaf) in enumerate(leaves.items()):
        if leaf.grad is not None:
            parts = leaf.grad.split([sizes[column] for sizes in rows])
            for batch, part in zip(cotangents, parts, strict=True):
                batch[name] = part
    return report, cotangents


def _join(terms: Sequence[LossTerm | Metric]) -> LossTerm | Metric:
    first = terms[0]
    target = None if first.target is None else torch.cat([term.target for term in terms])  # type: ignore[misc]
    prediction, valid = torch.cat([term.prediction for term in terms]), torch.cat([term.valid for term in terms])
    return replace(first, prediction=prediction, target=target, valid=valid)

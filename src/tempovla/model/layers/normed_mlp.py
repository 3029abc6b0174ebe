"""Perceptrons with LayerNorm between their layers, alone and as ensembles whose members are computed in one product."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.activation import Activation
from tempovla.model.layers.dtype import in_dtype_of

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"mish": F.mish, "silu": F.silu}
"""By name, what follows each LayerNorm. On a CPU, PyTorch's Mish takes nine times as long as its SiLU."""
SPREAD = 0.02
"""Standard deviation of weights at the start, cut off at two of it."""


class SimNorm(nn.Module):
    """Simplicial normalisation (Lavoie et al., 2022): each group of `group_dim` numbers becomes a distribution.

    Args:
        group_dim: numbers of a group.
    """

    def __init__(self, group_dim: int = 8) -> None:
        super().__init__()
        self.group_dim = group_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) from (..., D), a softmax within each group.

        On a CPU, PyTorch's softmax over few numbers is many times slower than exponentials and their sum.
        """
        groups = x.unflatten(-1, (-1, self.group_dim))
        if x.device.type != "cpu":
            return groups.softmax(dim=-1).flatten(-2)
        powers = (groups - groups.detach().amax(dim=-1, keepdim=True)).exp()
        return (powers / powers.sum(dim=-1, keepdim=True)).flatten(-2)


class NormedMLP(nn.Module):
    """Linear layers of the given sizes with LayerNorm and an activation between them; the last one is linear alone.

    Args:
        sizes: of the input, the hidden layers and the output.
        dropout: before the first LayerNorm.
        zero_output: whether the output is 0 at first.
        activation: name of what follows each LayerNorm.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dropout: float = 0.0,
        *,
        zero_output: bool = False,
        activation: Activation = "mish",
    ) -> None:
        super().__init__()
        self.activation = activation
        linears = [nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(sizes)]
        for linear in linears:
            nn.init.trunc_normal_(linear.weight, std=SPREAD)
            nn.init.zeros_(linear.bias)
        if zero_output:
            nn.init.zeros_(linears[-1].weight)
        self.linears = nn.ModuleList(linears)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in sizes[1:-1])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., sizes[-1]) from (..., sizes[0])."""
        x = in_dtype_of(self, x)
        for index, norm in enumerate(self.norms):
            x = self.linears[index](x)
            x = ACTIVATIONS[self.activation](norm(x if index else self.dropout(x)))
        return self.linears[-1](x)


class EnsembleMLP(nn.Module):
    """Several `NormedMLP`s of the same sizes, which read the same input.

    Args:
        members: number E of them.
        sizes: of the input, the hidden layers and the output.
        dropout: before the first LayerNorm.
        activation: name of what follows each LayerNorm.
    """

    def __init__(
        self, members: int, sizes: Sequence[int], dropout: float = 0.0, activation: Activation = "mish"
    ) -> None:
        super().__init__()
        self.dropout, self.activation = dropout, activation
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            is_last = index == len(sizes) - 2
            weight = torch.zeros(members, inputs, outputs)
            self.weights.append(weight if is_last else nn.init.trunc_normal_(weight, std=SPREAD))
            self.biases.append(torch.zeros(members, 1, outputs))
            if not is_last:
                self.scales.append(torch.ones(members, 1, outputs))
                self.shifts.append(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor, *, detach: bool = False) -> Tensor:
        """Return (E, ..., sizes[-1]) from (..., sizes[0]).

        Args:
            x: what all members read.
            detach: whether the members' own weights get no gradient from this; `x` does.
        """
        parts = [[each.detach() if detach else each for each in kind] for kind in self._kinds()]
        weights, biases, scales, shifts = parts
        x = in_dtype_of(self, x)
        hidden = x.reshape(1, -1, x.shape[-1]).expand(len(weights[0]), -1, -1)
        for index, weight in enumerate(weights):
            hidden = torch.baddbmm(biases[index], hidden, weight)
            if index < len(scales):
                if index == 0:
                    hidden = F.dropout(hidden, self.dropout, self.training)
                hidden = F.layer_norm(hidden, hidden.shape[-1:])
                hidden = ACTIVATIONS[self.activation](torch.addcmul(shifts[index], hidden, scales[index]))
        return hidden.unflatten(1, x.shape[:-1])

    def _kinds(self) -> tuple[nn.ParameterList, ...]:
        return self.weights, self.biases, self.scales, self.shifts

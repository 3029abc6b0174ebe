"""Laws 1, 2 and 5 of policies."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.laws.compare import Difference, not_finite
from tempovla.timeline.laws.perturb import FILLS, fill_invalid, has_gaps, scramble
from tempovla.timeline.laws.violation import TOLERANCE, LawViolation, expect_equal
from tempovla.timeline.policy import LossTerm, LossTerms, Metric, Policy
from tempovla.timeline.sample import Context, TimelineSample

S = TypeVar("S")
NO_DIFFERENCE = ("cross_entropy", "std_within")
"""Kinds of terms whose target is no value of the prediction, but a class of it."""


def check_policy(policy: Policy[S], sample: TimelineSample, contexts: Sequence[Context]) -> None:
    """Check all laws of a policy: determinism, 1, 2 and 5. The single checks explain the arguments."""
    check_determinism(policy, sample)
    check_future_blindness(policy, sample)
    check_padding_invariance(policy, sample)
    check_reset(policy, contexts)
    check_row_independence(policy, contexts)


def check_determinism(policy: Policy[S], sample: TimelineSample) -> None:
    """The ground under the laws: the same input twice gives the same actions, next state and loss terms.

    All noise comes from the state when acting, and from `sample.seed` when learning; the given state is not modified.
    """
    law = "determinism"
    _, state = _act(policy, sample.context, policy.initial_state(sample.batch_size))
    running = replace(sample.context, first=torch.zeros_like(sample.context.first))
    expected = _act(policy, running, state)
    again = _act(policy, running, state)
    expect_equal(law, "acting twice from one state (draw noise from it, and do not modify it)", expected, again)
    with torch.no_grad():
        expect_equal(law, "the same batch twice", policy.forward(sample), policy.forward(sample))


def check_future_blindness(
    policy: Policy[S],
    sample: TimelineSample,
    *,
    action_terms: Collection[str] = (),
    action_keys: Collection[str] = (ACTION_KEY,),
    tolerance: float = TOLERANCE,
) -> None:
    """Law 1: after learning from another future the policy acts the same.

    Args:
        policy: in eval mode.
        sample: with future tracks.
        action_terms: names of loss terms whose prediction is of actions; it may not depend on future observations
            either. Leave out those that look at the future by design, such as inverse dynamics.
        action_keys: streams that hold actions.
        tolerance: relative.
    """
    law = "law 1 (future-blindness)"
    state = policy.initial_state(sample.batch_size)
    with torch.no_grad():
        terms = policy.forward(sample)
        expected = _act(policy, sample.context, state)
        policy.forward(replace(sample, future=scramble(sample.future)))
        actual = _act(policy, sample.context, state)
        expect_equal(law, "actions after another future was seen in training", expected, actual, tolerance)
        other_terms = policy.forward(replace(sample, future=scramble(sample.future, except_keys=action_keys)))
    for name in action_terms:
        what = f"prediction of {name!r} with other future observations"
        expect_equal(law, what, terms[name].prediction, other_terms[name].prediction, tolerance)


def check_padding_invariance(policy: Policy[S], sample: TimelineSample, *, tolerance: float = TOLERANCE) -> None:
    """Law 2: NaN, infinities, huge numbers or zeros where `valid` is False change no loss, gradient or action.

    Loss terms are compared where they are valid, as the objective reduces them. Gradients are compared where the policy
    is a `torch.nn.Module`.

    Raises:
        ValueError: if the sample has no invalid entry; take one from an episode's end, or `perturb.with_gaps`.
    """
    law = "law 2 (padding invariance)"
    if not has_gaps(sample):
        raise ValueError("the sample has no invalid entry, so law 2 says nothing; pass with_gaps(sample)")
    state = policy.initial_state(sample.batch_size)
    expected: list[object] = []
    for name, fill in FILLS.items():
        filled = sample.map_tracks(lambda _, track, fill=fill: fill_invalid(track, fill))  # type: ignore[misc]
        terms = policy.forward(filled)
        kept = {key: _where_valid(term) for key, term in terms.items()}
        outcome = [kept, _gradients(policy, kept), _act(policy, filled.context, state)]
        expected = expected or outcome
        for part, left, right in zip(("loss terms", "gradients", "actions"), expected, outcome, strict=True):
            what = f"{part} with {name} where invalid"
            where = not_finite(right)
            if where is not None:
                raise LawViolation(law, what, Difference(where, math.inf, 1.0, "NaN or infinite"))
            expect_equal(law, what, left, right, tolerance)


def check_reset(policy: Policy[S], contexts: Sequence[Context], *, tolerance: float = TOLERANCE) -> None:
    """Law 5: rows that `context.first` marks as starting act as new; the other rows do not notice.

    Args:
        policy: in eval mode.
        contexts: successive contexts of the same two or more rows, two or more steps.
        tolerance: relative.
    """
    law = "law 5 (reset)"
    rows = contexts[0].batch_size
    if len(contexts) < 2 or rows < 2:
        raise ValueError(f"law 5 needs 2 steps and 2 rows, got {len(contexts)} steps of {rows} rows")
    at = len(contexts) // 2
    never = torch.zeros(rows, dtype=torch.bool, device=contexts[0].device)
    running = [replace(contexts[0], first=~never), *(replace(context, first=never) for context in contexts[1:])]
    restarted = [replace(contexts[at], first=~never), *running[at + 1 :]]
    undisturbed = _run(policy, running)[at:]
    new = _run(policy, restarted)
    for parity in (0, 1):
        chosen = (torch.arange(rows) % 2 == parity).to(never.device)
        mixed = _run(policy, [*running[:at], replace(contexts[at], first=chosen), *running[at + 1 :]])[at:]
        for step, action in enumerate(mixed):
            where = f"{step} steps after the reset of some rows,"
            expect_equal(law, f"{where} against a new start", new[step][chosen], action[chosen], tolerance)
            expect_equal(law, f"{where} the other rows", undisturbed[step][~chosen], action[~chosen], tolerance)


def check_row_independence(policy: Policy[S], contexts: Sequence[Context], *, tolerance: float = TOLERANCE) -> None:
    """Law 5: acting on rows together, in any order, equals acting on each alone.

    Args:
        policy: in eval mode.
        contexts: successive contexts of the same two or more rows; the first step starts all rows.
        tolerance: relative; batches of another size may round differently.
    """
    law = "law 5 (row independence)"
    rows = range(contexts[0].batch_size)
    together = _run(policy, contexts)
    backwards = _run(policy, [context.rows(reversed(rows)) for context in contexts])
    for step, (action, reordered) in enumerate(zip(together, backwards, strict=True)):
        expect_equal(law, f"step {step}, rows in reverse order", action, reordered.flip(0), tolerance)
    for row in rows:
        for step, action in enumerate(_run(policy, [context.rows([row]) for context in contexts])):
            expect_equal(law, f"step {step}, row {row} alone", action, together[step][row : row + 1], tolerance)


def _act(policy: Policy[S], context: Context, state: S) -> tuple[Tensor, S]:
    with torch.no_grad():
        chunk, state = policy.act(context, state)
    return chunk.value, state


def _run(policy: Policy[S], contexts: Sequence[Context]) -> list[Tensor]:
    state = policy.initial_state(contexts[0].batch_size)
    actions = []
    for context in contexts:
        action, state = _act(policy, context, state)
        actions.append(action)
    return actions


def _where_valid(term: LossTerm | Metric) -> LossTerm | Metric:
    """The term with zeros in place of what the objective masks out."""
    target = None if term.target is None else _zero_where_invalid(term.target, term.valid)
    return replace(term, prediction=_zero_where_invalid(term.prediction, term.valid), target=target)


def _zero_where_invalid(value: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid.reshape(valid.shape + (1,) * (value.dim() - valid.dim())), value, 0)


def _gradients(policy: object, terms: LossTerms) -> dict[str, Tensor]:
    """Gradients of some smooth function of all terms; none where the policy has no parameters."""
    if not isinstance(policy, nn.Module):
        return {}
    errors = [
        term.prediction if term.target is None or term.kind in NO_DIFFERENCE else term.prediction - term.target
        for term in terms.values()
    ]
    total = torch.stack([error.square().sum() for error in errors]).sum()
    named = {name: weight for name, weight in policy.named_parameters() if weight.requires_grad}
    if not (named and total.requires_grad):
        return {}
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(named, found, strict=True) if gradient is not None}

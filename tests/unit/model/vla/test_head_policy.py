"""An action head alone is a policy whose losses and actions are the head's."""

import torch

from tempovla.model.action_head.registry import build_action_head
from tempovla.model.vla.head_policy import HeadPolicy
from tempovla.timeline import laws


def built(name: str, **options: object) -> HeadPolicy:
    torch.manual_seed(0)
    return HeadPolicy(build_action_head(name, 8, 3, 4, options)).eval()


def test_losses_and_actions_are_those_of_the_head():
    policy = built("mlp", hidden_dim=8)
    sample = laws.random_sample(policy.windows(), policy.shapes)
    features, action = sample.context.now["observation.features"].value[:, 0], sample.future["action"]
    chunk, _ = policy.act(sample.context, policy.initial_state(4))
    torch.testing.assert_close(chunk.value, policy.head.sample(features))
    (term,) = policy(sample).values()
    (expected,) = policy.head.loss_terms(features, action.value, action.valid, sample.seed).values()
    torch.testing.assert_close(term.prediction, expected.prediction)


def test_a_head_that_draws_keeps_the_laws():
    policy = built("flow_matching", hidden_dim=8, num_layers=1, num_heads=2, num_steps=2)
    sample = laws.with_gaps(laws.random_sample(policy.windows(), policy.shapes))
    laws.check_policy(policy, sample, laws.random_contexts(policy.windows(), policy.shapes))

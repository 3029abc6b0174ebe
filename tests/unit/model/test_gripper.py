"""The gripper: {-1, +1} to {0, 1} and back."""

import torch

from tempovla.model.action_head.gripper import GripperClassifier, gripper_action, gripper_target


def test_minus_and_plus_one_become_zero_and_one():
    action = torch.tensor([-1.0, 1.0, -0.3, 0.3, 0.0])
    assert gripper_target(action).tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]


def test_actions_come_back_from_confident_logits():
    action = torch.tensor([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]])
    logits = 20.0 * gripper_target(action) - 10.0
    assert torch.equal(gripper_action(logits), action)


def test_there_is_one_logit_a_step_through_two_hidden_layers():
    classifier = GripperClassifier(state_dim=256, hidden_dim=256, action_horizon=10)
    assert classifier(torch.zeros(3, 256)).shape == (3, 10)
    sizes = [(256, 256), (256, 256), (256, 10)]
    assert sum(weight.numel() for weight in classifier.parameters()) == sum(i * o + o for i, o in sizes) == 134_154

"""Policies that remember are compared with recorded episodes as they act: step by step, with what they saw before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests import drives
from tests.contract.registry import POLICIES

from tempovla.control.controller import Controller
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.recipe.evaluation.carried import carries_memory, state_at
from tempovla.recipe.evaluation.offline import _errors
from tempovla.recipe.systems.driving import sensor_transforms
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_to_json
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction, WordTokenizer
from tempovla.transform.waypoints import Waypoints


def controller_of(name: str) -> Controller:
    policy = POLICIES[name].build()
    steps = [*sensor_transforms(policy.config), Waypoints(2.0), TokenizeInstruction(WordTokenizer(64), 6)]
    config = config_to_json(policy.config)
    bundle = Bundle("driving", config, policy.windows(), drives.CAR, {"steps": []}, policy.state_dict())
    return Controller(policy, TransformPipeline(steps), bundle)


@pytest.mark.parametrize(("name", "remembers"), [("driving-lstm", True), ("driving", False)])
def test_chunks_are_those_of_a_policy_that_goes_through_the_episodes(name, remembers):
    actor, source = controller_of(name), drives.drives(2, 5)
    assert carries_memory(actor) == remembers
    mixture = Mixture([source])
    found = torch.cat(_errors(actor, actor.windows, actor.transform, mixture, 4, keeps=True).predicted)
    expected, state = [], None
    for index in range(10):
        number = np.array([index])
        sample = collate(mixture, actor.windows, SampleBatch(np.zeros(1, int), number, torch.from_numpy(number)))
        chunk, state = actor.act(sample.context, state_at(actor, sample, state))
        expected.append(chunk.value.double())
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_a_policy_of_a_wider_stride_begins_anew_at_every_sample():
    actor = controller_of("driving")
    actor.policy = POLICIES["vla-mlp-lstm"].build()
    assert not carries_memory(actor)

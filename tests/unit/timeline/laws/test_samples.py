"""Random samples hold what a policy asks for, and follow from their seed."""

import torch

from tempovla.timeline import Window
from tempovla.timeline.laws import random_contexts, random_sample

WINDOWS = (Window("observation.state", (-1, 0)), Window("observation.images.front", (0,)), Window("action", (0, 1, 2)))
SHAPES = {"observation.state": (3,), "observation.images.front": (3, 8, 8), "action": (2,), "extra": (5,)}


def test_past_now_and_future_are_as_wide_as_the_windows():
    sample = random_sample(WINDOWS, SHAPES, rows=2)
    assert sample.context.past["observation.state"].value.shape == (2, 1, 3)
    assert sample.context.now["observation.state"].value.shape == (2, 1, 3)
    picture = sample.context.now["observation.images.front"].value
    assert (picture.shape, picture.dtype) == ((2, 1, 3, 8, 8), torch.uint8)
    assert sample.future["action"].value.shape == (2, 3, 2)
    assert sample.context.now["extra"].value.shape == (2, 1, 5)
    assert bool(sample.future["action"].valid.all())


def test_a_seed_gives_the_same_values_again_and_another_one_others():
    action = [random_sample(WINDOWS, SHAPES, seed=seed).future["action"].value for seed in (1, 1, 2)]
    assert torch.equal(action[0], action[1])
    assert not torch.equal(action[0], action[2])


def test_contexts_start_at_the_first_step_alone():
    contexts = random_contexts(WINDOWS, SHAPES, steps=3, rows=2)
    assert [context.first.tolist() for context in contexts] == [[True, True], [False, False], [False, False]]

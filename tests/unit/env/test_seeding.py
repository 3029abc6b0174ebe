"""Seeds of episodes."""

import itertools

from tempovla.env.seeding import episode_seed


def test_demonstrations_and_evaluations_share_no_seed() -> None:
    runs = list(itertools.product(range(3), ("push-v3", "door-open-v3"), range(50)))
    collect = {episode_seed("collect", *run) for run in runs}
    evaluate = {episode_seed("evaluate", *run) for run in runs}
    assert len(collect) == len(evaluate) == len(runs)
    assert not collect & evaluate
    assert all(0 <= seed < 2**31 for seed in collect | evaluate)


def test_seeds_are_the_same_on_every_machine() -> None:
    assert episode_seed("collect", 7, "push-v3", 3, 1) == 4270284
    assert episode_seed("collect", 7, "push-v3", 3) == episode_seed("collect", 7, "push-v3", 3, 0) != 4270284

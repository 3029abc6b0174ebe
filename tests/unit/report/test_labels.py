"""Names of tasks for the eye."""

import pytest

from tempovla.report.labels import task_labels


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (
            ["pick_up_the_alphabet_soup_and_place_it_in_the_basket", "pick_up_the_milk_and_place_it_in_the_basket"],
            ["alphabet soup", "milk"],
        ),
        (["turn_on_the_stove", "put_the_bowl_on_the_plate"], ["turn on the stove", "put the bowl on the plate"]),
        (["open_the_drawer", "open_the_drawer_and_close_the_drawer"], ["drawer", "drawer and close the drawer"]),
        (["put_it_put_it", "put_it_put_it_put_it"], ["it", "it put it"]),
        (["pick_up_the_milk"], ["pick up the milk"]),
        (["push-v3", "push-back-v3"], ["push-v3", "push-back-v3"]),
        (["push-v3", "pick_up_the_milk"], ["push-v3", "pick up the milk"]),
    ],
)
def test_words_that_all_names_share_at_their_ends_are_dropped_and_one_at_least_is_left(names, labels):
    assert task_labels(names) == dict(zip(names, labels, strict=True))

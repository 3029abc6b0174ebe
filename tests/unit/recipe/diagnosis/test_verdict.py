"""A change counts where its interval leaves out 0."""

from __future__ import annotations

import pytest

from tempovla.recipe.diagnosis.verdict import foreseen, verdict

UP, DOWN, NONE = (0.1, [0.05, 0.15]), (-0.1, [-0.15, -0.05]), (0.01, [-0.02, 0.04])


def figures(removed, another, shuffled=NONE, excess=(0.1, [-0.1, 0.3]), mean_action=0.8) -> dict:
    changes = {"shuffled": shuffled, "removed": removed, "another": another}
    blocks = {name: {"difference": value, "difference_ci95": ends} for name, (value, ends) in changes.items()}
    r2 = {name: {"value": value, "ci95": [0, 1]} for name, value in (("expert_r2", 0.5), ("policy_r2", 0.6))}
    value, ends = excess
    return {
        "conditions": {"full": {"error": 0.5}} | blocks,
        "mean_action": {"error": mean_action},
        "copycat": r2 | {"excess": {"value": value, "ci95": ends}},
    }


@pytest.mark.parametrize(
    ("removed", "another", "words"),
    [
        (UP, UP, "The policy uses its past: without it the error changes by +20.0% [+10.0%, +30.0%], with another"),
        (UP, NONE, "The policy uses its past, but any episode's does as well: without it"),
        (NONE, UP, "The policy looks at its past, but gains nothing by it"),
        (DOWN, NONE, "The past does harm: without it the error changes by -20.0% [-30.0%, -10.0%]"),
        (NONE, NONE, "No sign that the past is used: without it the error changes by +2.0% [-4.0%, +8.0%]"),
    ],
)
def test_what_is_said_of_the_past(removed, another, words):
    assert verdict(figures(removed, another), True, 10)[0].startswith(words)


def test_what_is_said_of_the_order_and_of_copying():
    assert verdict(figures(UP, UP, UP), True, 10)[1].startswith("The order of the past matters")
    assert verdict(figures(UP, UP), True, 10)[1].startswith("The order of the past shows no effect")
    told = "R^2 0.60 for the policy, 0.50 for the expert, excess +0.10 [+0.05, +0.15]"
    assert verdict(figures(UP, UP, excess=UP), True, 10)[2] == (
        f"The last action predicts the policy's next action better than the expert's: {told}."
    )
    assert verdict(figures(UP, UP), True, 10)[2].startswith("No sign of copying")
    assert "cannot be judged" in verdict(figures(UP, UP, excess=(None, None)), True, 10)[2]


def test_from_few_episodes_there_is_no_verdict():
    told = "No verdict: 9 episodes are too few to tell a difference from chance; look at 10 or more."
    assert verdict(figures(DOWN, NONE), True, 9) == [told]
    assert verdict(figures(DOWN, NONE), False, 9) == ["The policy sees one frame: it has no past.", told]
    assert verdict(figures(DOWN, NONE), True, 10)[0].startswith("The past does harm")


def test_a_policy_that_is_worse_than_the_mean_action_is_not_judged():
    (told,) = verdict(figures(DOWN, NONE, mean_action=0.4), True, 40)
    assert told.startswith("No verdict: the policy's error, 0.5000, is above 0.4000, that of always giving the mean")
    assert len(verdict(figures(DOWN, NONE, mean_action=0.5), True, 40)) == 3


def test_what_no_figures_can_tell_is_known_before_they_are_computed():
    assert foreseen(True, 10) == []
    one_frame, few = foreseen(False, 9)
    assert one_frame == "The policy sees one frame: it has no past. Only whether it copies its last action is judged."
    assert [few] == verdict(figures(DOWN, NONE), True, 9) == foreseen(True, 9)

"""What an evaluation in a simulator plays, draws and tells the policy, as its demonstrations were recorded."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("gymnasium")

from tempovla.env.libero import LiberoConfig
from tempovla.env.memory import MemoryConfig
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.recipe.evaluation import simulators
from tempovla.recipe.evaluation.simulators import evaluate

LIBERO = {"simulator": "libero", "suite": "libero_goal", "rendering": "fast", "image_size": 64}
MEMORY = {"simulator": "memory", "cue_steps": 3, "delay_steps": 30}


@pytest.fixture
def asked(monkeypatch):
    """Call with the demonstrations' facts and the arguments of `evaluate`; what `evaluate_checkpoint` is asked for."""

    def ask(provenance, *arguments, **settings):
        monkeypatch.setattr(simulators, "provenance_of", lambda _, name, env: provenance.get(name, provenance))
        monkeypatch.setattr(simulators, "evaluate_checkpoint", lambda *given, **more: (given, more))
        (_, env_config, tasks, _), more = evaluate("ckpt", *arguments, **settings)
        return env_config, tasks, more

    return ask


def test_pictures_are_made_as_the_demonstrations_were_recorded(caplog):
    caplog.set_level(logging.INFO, "tempovla")
    config = LiberoConfig.from_recording(LIBERO, "libero")
    assert (config.suite, config.rendering, config.image_size) == ("libero_goal", "fast", 64)
    assert config.max_steps == 300
    assert caplog.messages == ["suite libero_goal, rendering fast, image_size 64"]


def test_what_is_asked_for_goes_first_and_a_difference_is_said(caplog):
    caplog.set_level(logging.WARNING, "tempovla")
    config = LiberoConfig.from_recording(LIBERO, "libero", suite="libero_goal", rendering="exact", image_size=None)
    assert (config.suite, config.rendering, config.image_size) == ("libero_goal", "exact", 64)
    spans = MemoryConfig.from_recording(MEMORY, "memory", cue_steps=3, delay_steps=60)
    assert (spans.cue_steps, spans.delay_steps) == (3, 60)
    assert caplog.messages == [
        "rendering is exact, but the policy was trained on fast",
        "delay_steps is 60, but the policy was trained on 30: it is asked about moments that it has never seen",
    ]


def test_where_nobody_knows_the_benchmarks_own_is_taken_and_said(caplog):
    caplog.set_level(logging.WARNING, "tempovla")
    elsewhere = {"simulator": "metaworld", "image_size": 64}
    config = LiberoConfig.from_recording(elsewhere, "libero", suite="libero_object", image_size=256)
    assert (config.suite, config.rendering, config.image_size) == ("libero_object", "exact", 256)
    for recorded in ({}, {"simulator": "metaworld", "delay_steps": 30}):
        spans = MemoryConfig.from_recording(recorded, "memory", delay_steps=20)
        assert (spans.cue_steps, spans.delay_steps) == (8, 20)
    assert caplog.messages == [
        "the checkpoint does not know its demonstrations' rendering; taking exact",
        *["the checkpoint does not know its demonstrations' cue_steps; taking 8"] * 2,
    ]


def test_a_simulator_of_which_nothing_is_recorded_has_its_own_limits_alone(caplog):
    caplog.set_level(logging.INFO, "tempovla")
    assert MetaWorldConfig.from_recording({}, "metaworld") == MetaWorldConfig(max_steps=200)
    assert caplog.messages == []


TASK = "pick_up_the_butter_and_place_it_in_the_basket"
BENCHMARKS_WORDS = "pick up the butter and place it in the basket"
PROBLEMS_WORDS = "pick the butter and place it in the basket"


@pytest.mark.parametrize(
    ("trained", "told"),
    [
        ([], BENCHMARKS_WORDS),
        ([BENCHMARKS_WORDS, PROBLEMS_WORDS], BENCHMARKS_WORDS),
        ([PROBLEMS_WORDS, "open the drawer"], PROBLEMS_WORDS),
        (["open the drawer"], BENCHMARKS_WORDS),
    ],
)
def test_policies_are_told_what_their_demonstrations_said(trained, told):
    pytest.importorskip("libero")
    assert LiberoConfig().words(TASK, trained) == told


def test_without_names_the_tasks_are_those_of_training_or_the_suite(asked):
    trained = {"instructions": ["touch the pad that has the colour of the lamp"], "recording": MEMORY}
    assert asked(trained, "memory")[1] == ("colour-cue",)
    assert len(asked({}, "memory")[1]) == len(MemoryConfig().task_names())
    assert asked(trained, "memory", ["hidden-goal", "hidden-goal"])[1] == ("hidden-goal",)


def test_a_suite_is_played_whole_from_the_benchmarks_states(asked):
    pytest.importorskip("libero")
    config, tasks, more = asked({"instructions": [BENCHMARKS_WORDS], "recording": LIBERO}, "libero")
    assert (config.suite, len(tasks), more["init_states"]) == ("libero_goal", 10, "benchmark")
    assert asked({}, "libero", init_states="random")[2]["init_states"] == "random"
    assert asked({}, "metaworld", ["push-v3"])[2]["init_states"] == "random"


def test_the_dataset_that_the_policy_learned_from_is_asked(asked):
    known = {"other": {"recording": MEMORY | {"delay_steps": 14}}, None: {"recording": MEMORY}}
    for name, delay_steps in ((None, 30), ("other", 14)):
        config, _, more = asked(known, "memory", ["colour-cue"], dataset_name=name)
        assert (config.cue_steps, config.delay_steps) == (3, delay_steps)
        assert more["dataset_name"] == name


def test_unknown_names_are_refused_before_the_checkpoint_is_looked_at(tmp_path):
    with pytest.raises(ValueError, match="did you mean colour-cue"):
        evaluate(tmp_path / "absent", "memory", ["color-cue"])
    with pytest.raises(ValueError, match="simulator 'metawrld' is unknown; did you mean metaworld"):
        evaluate(tmp_path / "absent", "metawrld")


def test_impossible_settings_are_refused(asked):
    with pytest.raises(ValueError, match="delay_steps=0 must be at least 1"):
        asked({"recording": MEMORY}, "memory", settings={"delay_steps": 0})


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("memory", ["colour-cue"]), {"settings": {"delay": 3}}, "memory has no 'delay' .* cue_steps, delay_steps"),
        (("metaworld", ["push-v3"]), {"settings": {"image_size": 48}}, "metaworld has no 'image_size' .* it has none"),
        (("metaworld", "push-v3"), {}, r"tasks='push-v3' is a text; give a list, \['push-v3'\]"),
    ],
)
def test_settings_and_tasks_that_would_be_passed_over_are_refused(tmp_path, arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        evaluate(tmp_path, *arguments, **settings)

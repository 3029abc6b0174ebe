"""A diffusion head's clip reaches what was demonstrated."""

from dataclasses import replace

import numpy as np
import pytest
from tests.tiny import tiny_vla_config

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.recipe.datasets.config import ObservationConfig
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, Member
from tempovla.recipe.systems.clip import with_reaching_clip
from tempovla.timeline.source import StreamInfo
from tempovla.timeline.task import Embodiment

SPIKES = np.where(np.arange(200) % 200 == 199, 1.0, 0.0)  # (1 - 0.005) / std is 14.1
STEADY = np.where(np.arange(200) % 7 == 6, 1.0, 0.0)  # (1 - 0.14) / std is 2.48


def one_of(last) -> DatasetMixture:
    """A dataset alone whose last dimension goes so."""
    return DatasetMixture((Member("set", source_of(last), 1.0, {}, False),), is_one=True)


def source_of(last) -> MemorySource:
    values = np.stack([np.sin(np.arange(len(last))), last], axis=1)
    stream = StreamInfo("action", (2,), "float64", 10.0, ("turn", "push"))
    body = Embodiment("arm", 0, 2, 10.0)
    return MemorySource("set", body, {"action": stream}, [MemoryEpisode("go", len(last), {"action": values})])


def model_of(**diffusion):
    config = tiny_vla_config("diffusion", has_gripper=False, action_dim=2, robot_state_dim=None)
    options = {"denoiser": "transformer", "hidden_dim": 8, "num_heads": 2, "num_layers": 1} | diffusion
    return replace(config, action_head_options={**config.action_head_options, "diffusion": options})


def clip_of(model):
    return model.action_head_options["diffusion"].get("clip_sample", "default")


def test_rare_spikes_widen_it_with_a_warning_that_names_them(caplog) -> None:
    model = with_reaching_clip(model_of(), ObservationConfig(), one_of(SPIKES))
    assert clip_of(model) == 14.2
    assert "set: the action 1 of 'action' dimension 1 (push) is 14.11 when normalised" in caplog.text
    assert "clip of 5, which is widened to 14.2" in caplog.text


def test_what_it_reaches_already_changes_nothing(caplog) -> None:
    model = model_of()
    assert with_reaching_clip(model, ObservationConfig(), one_of(STEADY)) is model
    settings = ObservationConfig(action_normalization="min_max")
    assert with_reaching_clip(model, settings, one_of(SPIKES)) is model
    assert caplog.text == ""


def test_a_clip_that_was_given_stays_and_is_told(caplog) -> None:
    model = model_of(clip_sample=2.0)
    assert clip_of(with_reaching_clip(model, ObservationConfig(), one_of(STEADY))) == 2.0
    assert "set model.action_head_options.diffusion.clip_sample=2.5" in caplog.text


@pytest.mark.parametrize(
    ("head", "options", "told"),
    [
        (
            "transformer",
            {"num_bins": 64, "bin_range": 3.0},
            "limited to 3, cannot produce; set model.action_head_options",
        ),
        ("transformer", {"num_bins": 64, "bin_range": 3.0}, ".transformer.bin_range=14.2"),
        ("gaussian", {"squash": True}, "model.action_head_options.gaussian.squash=false, or transform"),
    ],
)
def test_limits_of_other_heads_are_told(caplog, head, options, told) -> None:
    model = tiny_vla_config(head, has_gripper=False, action_dim=2, robot_state_dim=None)
    model = replace(model, action_head_options={head: options})
    assert with_reaching_clip(model, ObservationConfig(), one_of(SPIKES)) is model
    assert told in caplog.text


@pytest.mark.parametrize("model", [model_of(clip_sample=None), tiny_vla_config("mlp", has_gripper=False)])
def test_other_heads_and_no_clip_need_nothing(model) -> None:
    assert with_reaching_clip(model, ObservationConfig(), one_of(SPIKES)) is model


def test_the_furthest_of_a_mixture_counts(caplog) -> None:
    members = [Member(name, source_of(last), 1.0, {}, False) for name, last in (("a", STEADY), ("b", SPIKES))]
    model = model_of()
    assert clip_of(with_reaching_clip(model, ObservationConfig(), DatasetMixture(tuple(members)))) == 14.2

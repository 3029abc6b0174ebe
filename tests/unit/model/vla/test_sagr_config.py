"""Settings of SA-GR that do not fit are refused in one line; those that fit are followed."""

from __future__ import annotations

import pytest
from tests.sagr_policies import contexts_of, sagr, sample_of
from tests.tiny import tiny_sagr_config

from tempovla.model.action_head.layerwise_config import LayerwiseFlowConfig
from tempovla.model.sensor.config import DepthGeometryConfig, PointTokensConfig


def test_a_config_decides_how_many_task_tokens_there_are():
    policy = sagr(task_token_num=5, task_token_heads=4)
    assert policy.task_tokens(contexts_of(policy)[0]).shape == (3, 5, 16)


ALONE = {"loss_w_dyn": 0, "loss_w_geo": 0, "use_drift": False, "enable_causal_feedback_token": True}
"""Feedback without a world predictor."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal_delta_k": 5}, "lies beyond the model.action_horizon=4"),
        ({**ALONE, "temporal_delta_k": 5}, "model.temporal_delta_k=5 .* model.action_horizon=4"),
        ({"horizons": (2,)}, "none of them temporal_delta_k=2"),
        ({"replan": True, "temporal_delta_k": 3}, "at least two looks"),
        ({"flare_weight": 0.2, "task_token_num": 4}, "num_target_vision_tokens=4"),
        ({"world_condition": "tokens"}, "set model.use_drift=false"),
        ({"world_target": "state", "robot_state_dim": None}, "set model.robot_state_dim"),
        ({"algorithm_version": "v5"}, "choose from v3, v4"),
        ({"algorithm_version": "v4", "world_target_encoder": "ema"}, "would copy the language model"),
        ({"loss_w_dyn": -1.0}, "model.loss_w_dyn=-1.0 must be finite, and not negative"),
        ({"loss_w_fm": 1e300}, r"model.loss_w_fm=1e\+300 must be finite, .* of 32 bits; give one from 0 to 3.4e\+38$"),
        ({"drift_eta": 4e38}, r"model.drift_eta=4e\+38 must be finite, .* of 32 bits"),
        ({"rrr_eps": 1e300}, r"model.rrr_eps=1e\+300 must be greater than 0, .*; give one from 1.2e-38 to 3.4e\+38$"),
        ({"rrr_replan_threshold": 1e-300}, r"model.rrr_replan_threshold=1e-300 must be greater than 0, and finite, as"),
        ({"world_num_heads": 3}, r"^model.world_num_heads=3 does not divide model.world_hidden_dim=8; choose one"),
        ({"drift_eta": float("nan")}, "model.drift_eta=nan must be finite"),
        ({"causal_feedback_aux_weight": 5.0}, "aux_weight=5.0 is .*; set model.enable_causal_feedback_token=true, or"),
        ({"causal_feedback_aux_dir_weight": 1.0}, "model.causal_feedback_aux_dir_weight=1.0 is the weight of a loss"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as refused:
        tiny_sagr_config(**options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"head_dim": 7},
            "model.action_head.head_dim=7 does not divide the width 16 of the head; choose one that does",
        ),
        ({"max_seq_len": 3}, "model.action_head.max_seq_len=3 is less than model.action_horizon=4; raise it"),
        (
            {"noise_beta_alpha": 1e300},
            r"model.action_head.noise_beta_alpha=1e\+300 must be .* of 32 bits; give one from",
        ),
    ],
)
def test_sizes_of_the_head_that_do_not_fit_are_refused_before_a_model_is_built(options, message):
    head = vars(tiny_sagr_config().action_head)
    with pytest.raises(ValueError, match=f"^{message}"):
        tiny_sagr_config(action_head=LayerwiseFlowConfig(**{**head, "hidden_dim": 16, **options}))


def test_numbers_that_32_bits_hold_are_taken():
    assert tiny_sagr_config(loss_w_fm=1e38, rrr_eps=1e-30).loss_w_fm == 1e38


def test_without_a_world_predictor_its_sizes_are_free():
    off = {"loss_w_dyn": 0, "loss_w_geo": 0, "use_drift": False, "world_num_heads": 3}
    assert tiny_sagr_config(**off).world_num_heads == 3


@pytest.mark.parametrize("name", ["task_token_heads", "geometry_heads"])
def test_heads_that_do_not_divide_the_language_model_are_named(name):
    with pytest.raises(ValueError, match=rf"^model.{name}=3 does not divide the width 16 of the language model; ch"):
        sagr(geometry=DepthGeometryConfig(tokens=PointTokensConfig(grid=2, output_dim=16)), **{name: 3})


def test_what_flare_alone_learns_from_may_lie_beyond_the_chunk():
    off = {"loss_w_dyn": 0, "loss_w_geo": 0, "use_drift": False, "flare_weight": 0.2}
    assert tiny_sagr_config(**off, temporal_delta_k=5).temporal_delta_k == 5


@pytest.mark.parametrize("layer", [-1, 2, 99])
def test_a_block_that_the_head_does_not_have_is_refused(layer):
    with pytest.raises(ValueError, match=rf"^model.flare_layer={layer} is none of the head's 2 blocks; .* 0 to 1,"):
        sagr(flare_weight=0.2, flare_layer=layer)


def test_the_last_block_of_the_head_can_be_aligned():
    policy = sagr(flare_weight=0.2, flare_layer=1)
    assert len(policy.action_head.blocks) == 2
    assert "flare_loss" in policy(sample_of(policy))


UNTRAINED = {"loss_w_dyn": 0.0, "loss_w_geo": 0.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (UNTRAINED, "control uses it (model.use_drift=true); raise one of the weights, or set model.use_drift=false"),
        (UNTRAINED | {"replan": True}, "or set model.use_drift=false and model.replan=false"),
        (UNTRAINED | {"use_drift": False}, None),
        ({"loss_w_dyn": 0.0, "replan": True}, None),
    ],
)
def test_a_prediction_that_control_uses_and_no_loss_trains_is_told(options, message):
    told = tiny_sagr_config(**options).unlearned
    assert told is None if message is None else message in told

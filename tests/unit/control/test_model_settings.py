"""Settings that control alone reads can be given anew to a trained policy; others and wrong values are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.policy_cases import sagr, world_model
from tests.unit.export import bundles
from tests.unit.export.bundles import CASES, save, tiny_bundle

import tempovla
from tempovla.control.model_settings import with_model_settings
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.model.vla.registry import POLICY_REGISTRY, load_policy

CHANGED = {
    "sagr": {"rrr_replan_threshold": 1.5, "action_head": {"num_inference_timesteps": 1}},
    "statevla": {"flow_steps": 1},
}


@pytest.fixture(autouse=True)
def policies(monkeypatch):
    monkeypatch.setitem(bundles.CASES, "sagr", sagr(has_gripper=False, replan=True))
    monkeypatch.setitem(bundles.CASES, "sagr-drift", sagr(has_gripper=False))
    monkeypatch.setitem(bundles.CASES, "tdmpc", world_model("tdmpc"))
    monkeypatch.setitem(bundles.CASES, "dreamer", world_model("dreamer"))


@pytest.mark.parametrize("name", CHANGED)
def test_they_are_changed_and_nothing_else_is(name):
    bundle = tiny_bundle(name)
    before, after = load_policy(bundle).config, load_policy(with_model_settings(bundle, CHANGED[name])).config
    assert with_model_settings(bundle, None) is bundle
    if name == "sagr":
        assert (after.rrr_replan_threshold, after.action_head.num_inference_timesteps) == (1.5, 1)
        assert with_model_settings(bundle, {"action_head.num_inference_timesteps": 1}).config["action_head"] == {
            **bundle.config["action_head"],
            "num_inference_timesteps": 1,
        }
    else:
        assert (before.flow_steps, after.flow_steps) == (CASES[name].build().config.flow_steps, 1)
    assert {**bundle.config, **CHANGED[name]}.keys() == bundle.config.keys()


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("sagr", {"rrr_replan_treshold": 1.5}, "did you mean 'rrr_replan_threshold'"),
        ("sagr", {"replan": True}, r"model\.replan is no setting of policy 'sagr' that can be changed without a train"),
        ("sagr", {"action_head": {"hidden_dim": 3}}, r"model\.action_head\.hidden_dim is no setting"),
        ("sagr", {"rrr_replan_threshold": float("nan")}, r"model\.rrr_replan_threshold=nan must be greater than 0"),
        ("sagr", {"rrr_replan_threshold": "high"}, r"model\.rrr_replan_threshold is 'high'; it must be a number"),
        (
            "sagr-drift",
            {"rrr_replan_threshold": 1.5},
            r"^model\.rrr_replan_threshold=1\.5 has no effect: the policy was trained with model\.replan=false, and "
            r"never breaks off a chunk; leave it out, or train a policy with model\.replan=true$",
        ),
        ("tdmpc", {"planner": {"kidn": "cem"}}, r"model\.planner\.kidn is no setting .* did you mean 'planner\.kind'"),
        ("tdmpc", {"planner": 3}, r"model\.planner is no setting of policy 'world-model'"),
        ("tdmpc", {"action_repeat": 2}, r"model\.action_repeat is no setting of policy 'world-model'"),
        ("tdmpc", {"planner.horizon": 0}, r"planner\.horizon=0 must be at least 1"),
        (
            "tdmpc",
            {"planner.num_samples": 3},
            r"planner\.num_policy_samples=4 must be at least 0, and less than",
        ),
        ("tdmpc", {"planner.kind": "cme"}, r"model\.planner\.kind is 'cme'; choose from mppi, cem, icem, shooting"),
        (
            "tdmpc",
            {"plans": False, "planner.horizon": 3},
            r"^model\.planner\.horizon=3 has no effect: the policy does not search for actions; give "
            r"model\.plans=true, too, or leave it out$",
        ),
        ("dreamer", {"planner.kind": "cem"}, r"model\.planner\.kind='cem' has no effect: the policy does not search"),
        (
            "tdmpc",
            {"planner.noise_beta": 1.0},
            r"^model\.planner\.noise_beta=1\.0 has no effect: a search of kind 'mppi' does not read it; choose kind "
            r"'icem', or leave it out$",
        ),
        ("mlp", {"flow_steps": 1}, "there are none that may be given"),
        ("mlp", 3, r"model=3: give names and values"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, settings, told):
    with pytest.raises(ValueError, match=told) as refused:
        with_model_settings(tiny_bundle(name), settings)
    assert "\n" not in str(refused.value)


def test_a_policy_that_never_breaks_off_a_chunk_takes_the_other_settings():
    changed = with_model_settings(tiny_bundle("sagr-drift"), {"action_head": {"num_inference_timesteps": 1}})
    assert load_policy(changed).config.action_head.num_inference_timesteps == 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tdmpc", {"planner": {"kind": "cem", "num_samples": 8, "horizon": 3}}),
        ("tdmpc", {"planner.kind": "icem", "planner.noise_beta": 1.0}),
        ("tdmpc", {"plans": False}),
        ("dreamer", {"plans": True, "planner": {"kind": "shooting", "num_samples": 6}}),
    ],
)
def test_a_world_model_searches_as_it_is_told_and_keeps_the_rest(name, settings):
    bundle = tiny_bundle(name)
    before, after = load_policy(bundle).config, load_policy(with_model_settings(bundle, settings)).config
    given = {key.removeprefix("planner."): value for key, value in settings.items() if key.startswith("planner.")}
    planner = replace(before.planner, **given | settings.get("planner", {}))
    assert after == replace(before, planner=planner, plans=settings.get("plans", before.plans))
    assert after != before


def test_loading_takes_them_but_not_for_an_exported_file(tmp_path):
    checkpoint = save(tmp_path, "statevla")
    assert tempovla.load(checkpoint, model={"flow_steps": 1}).windows == tempovla.load(checkpoint).windows
    exported = export_checkpoint(checkpoint, tmp_path / "script", ExportConfig("torchscript"))
    with pytest.raises(ValueError, match="the settings of an exported file are fixed; give its checkpoint with them"):
        tempovla.load(exported.file, model={"flow_steps": 1})


def test_fields_that_are_named_are_fields():
    for _, config_class in POLICY_REGISTRY.values():
        config = config_class()
        for name in getattr(config_class, "control_fields", ()):
            value = config
            for part in name.split("."):
                value = getattr(value, part)
        assert {*getattr(config, "without_effect", {})} <= {*getattr(config_class, "control_fields", ())}

"""Policies whose use of the past is known are found out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.tiny import vla_recipe
from tests.unit.recipe import remembering

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.recipe.diagnosis.frames import decide, encode
from tempovla.recipe.diagnosis.memory import (
    DiagnosisConfig,
    choose_episodes,
    conditions_of,
    context_lengths,
    diagnose_memory,
    figures_of,
)
from tempovla.recipe.diagnosis.verdict import verdict
from tempovla.recipe.systems.statevla import train_phase
from tempovla.recipe.systems.vla import train_vla
from tempovla.timeline import Bundle
from tempovla.timeline.bundle import bundle_sha256

CONFIG = DiagnosisConfig(resamples=200)


def diagnosed(policy, source) -> dict:
    decisions, encoded = encode(remembering.demonstrations(source, policy), policy, 8)
    instructions = [source.episode(episode).instruction for episode in range(len(source))]
    return figures_of(decisions, conditions_of(policy, decisions, encoded, instructions, CONFIG), instructions, CONFIG)


def test_who_copies_the_last_action_is_found_out():
    source = remembering.episodes(lambda state, random: random.normal(size=state.shape))
    found = diagnosed(remembering.copies(), source)
    assert found["copycat"]["policy_r2"]["value"] == pytest.approx(1.0, abs=0.01)
    assert found["copycat"]["expert_r2"]["value"] < 0.2
    assert found["copycat"]["excess"]["ci95"][0] > 0.5
    assert verdict(found, True, 10)[-1].startswith("No verdict: the policy's error, ")  # the mean would be nearer
    judged = found | {"mean_action": {"error": 10.0}}
    assert "predicts the policy's next action better than the expert's" in verdict(judged, True, 10)[-1]


def test_who_needs_the_first_frame_is_worse_without_it():
    source = remembering.episodes(lambda state, random: np.repeat(state[:1], len(state), axis=0))
    found = diagnosed(remembering.needs_the_first_frame(), source)
    assert found["conditions"]["full"]["error"] == 0.0
    for name in ("shuffled", "removed", "another"):
        assert found["conditions"][name]["difference_ci95"][0] > 0.0
    assert [block["frames"] for block in found["lengths"]] == [1, 2, 4, 8]
    errors = [block["error"] for block in found["lengths"]]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == found["conditions"]["removed"]["error"]
    assert errors[-1] == 0.0
    words = verdict(found, True, 10)
    assert words[0].startswith("The policy uses its past: without it the error changes by +")
    assert words[1].startswith("The order of the past matters")
    assert found["tasks"]["task 0"]["episodes"] == found["tasks"]["task 1"]["episodes"] == 3


def test_who_ignores_the_past_does_the_same_with_any():
    source = remembering.episodes(lambda state, random: state + 0.5 * random.normal(size=state.shape))
    found = diagnosed(remembering.ignores_the_past(), source)
    errors = {block["error"] for block in [*found["conditions"].values(), *found["lengths"]]}
    assert len(errors) == 1
    assert all(block["difference_ci95"] == [0.0, 0.0] for block in found["lengths"])
    assert verdict(found, True, 10)[0].startswith("No sign that the past is used")
    steps = sum(source.episode(episode).length for episode in range(6))
    assert found["steps"] == steps
    assert found["decisions"] == sum((source.episode(episode).length + 1) // 2 for episode in range(6))


def test_errors_are_of_the_executed_part_where_there_is_a_demonstration():
    source = remembering.episodes(lambda state, random: np.zeros_like(state), (5, 4))
    found = diagnosed(remembering.ignores_the_past(), source)
    states = [source.read(episode, remembering.STATE, range(length)).value for episode, length in enumerate((5, 4))]
    held = [state[step // 2 * 2] for state in states for step in range(len(state))]
    assert found["conditions"]["full"]["error"] == pytest.approx(np.abs(held).mean(), rel=1e-6)


def test_the_error_of_the_mean_action_is_that_of_one_answer_for_all():
    source = remembering.episodes(lambda state, random: random.normal(size=state.shape), (5, 4))
    found = diagnosed(remembering.ignores_the_past(), source)
    actions = np.concatenate([source.read(e, remembering.ACTION, range(n)).value for e, n in enumerate((5, 4))])
    expected = np.abs(actions - actions.mean(axis=0)).mean()
    assert found["mean_action"]["error"] == pytest.approx(expected, rel=1e-5)
    difference = found["mean_action"]["error"] - found["conditions"]["full"]["error"]
    assert found["mean_action"]["difference"] == pytest.approx(difference)


def test_lengths_double_up_to_all():
    assert [context_lengths(longest) for longest in (1, 2, 5, 8)] == [[1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8]]


def test_episodes_are_of_all_instructions_and_those_held_out_first():
    source = remembering.episodes(lambda state, random: state, (4,) * 12)
    chosen = choose_episodes(source, replace(CONFIG, episodes=4), [0, 1, 2, 3])
    assert chosen == (0, 1, 2, 3)
    chosen = choose_episodes(source, replace(CONFIG, episodes=4), None)
    assert sorted(episode % 2 for episode in chosen) == [0, 0, 1, 1]
    assert choose_episodes(source, CONFIG, None) == tuple(range(12))
    with pytest.raises(ValueError, match="toy: has 1 episode; at least 2 are needed"):
        choose_episodes(remembering.episodes(lambda state, random: state, (4,)), CONFIG, None)


def test_settings_without_meaning_are_refused():
    with pytest.raises(ValueError, match="episodes=1 must be at least 2"):
        DiagnosisConfig(episodes=1)
    with pytest.raises(ValueError, match="stride=0 must be at least 1"):
        DiagnosisConfig(stride=0)


@pytest.fixture
def remembering_vla(dataset, tmp_path):
    """A tiny VLA with an LSTM, trained for some steps."""
    recipe = vla_recipe(dataset)
    context = ContextConfig(temporal={"encoder_type": "lstm", "hidden_dim": 8}, stride=2, sequence_length=3)
    train_vla(replace(recipe, model=replace(recipe.model, context=context)), tmp_path / "run")
    return tmp_path / "run" / "checkpoint_latest"


def test_a_checkpoint_is_diagnosed_and_the_same_seed_repeats_it(remembering_vla, dataset):
    found = diagnose_memory(remembering_vla, dataset, CONFIG)
    again = diagnose_memory(remembering_vla, dataset, CONFIG)
    assert json.dumps(found) == json.dumps(again)
    assert (found["context"], found["stride"], found["decisions"], found["steps"]) == (True, 2, 20, 36)
    assert found["checkpoint_sha256"] == bundle_sha256(remembering_vla)
    assert found["dataset"]["episodes"] == [0, 1, 2, 3]
    assert found["dataset"]["held_out"] == 1
    assert [block["frames"] for block in found["lengths"]] == [1, 2, 4, 5]
    assert set(found["tasks"]) == {"task 0", "task 1"}
    assert "torch" in found["versions"]
    small = diagnose_memory(remembering_vla, dataset, replace(CONFIG, batch_size=3))
    assert small["conditions"]["another"]["error"] == pytest.approx(found["conditions"]["another"]["error"], rel=1e-4)


def test_a_policy_of_one_frame_has_no_length_to_sweep_but_is_judged_for_copying(recipe, dataset, tmp_path, caplog):
    for phase in (1, 2):
        train_phase(recipe, phase, tmp_path / "run")
    checkpoint = tmp_path / "run" / "phase2_flow_matching" / "checkpoint_latest"
    found = diagnose_memory(checkpoint, dataset, replace(CONFIG, stride=3))
    first, second = (line for line in caplog.messages if "verdict" in line or "one frame" in line)
    assert first.startswith("The policy sees one frame: it has no past.")
    assert second.startswith("No verdict: 4 episodes are too few")
    assert (found["context"], found["stride"], found["decisions"]) == (False, 3, 12)
    assert list(found["conditions"]) == ["full"]
    assert [block["frames"] for block in found["lengths"]] == [1]
    assert found["copycat"]["policy_r2"]["value"] is not None
    assert found["verdict"][0] == "The policy sees one frame: it has no past."
    assert found["verdict"][1].startswith("No verdict: 4 episodes are too few")
    with pytest.raises(ValueError, match="stride=5 exceeds the policy's chunk of 4 actions"):
        diagnose_memory(checkpoint, dataset, replace(CONFIG, stride=5))
    with pytest.raises(ValueError, match="of phase 1 has not learned to act yet"):
        diagnose_memory(tmp_path / "run" / "phase1_temporal_jepa" / "checkpoint_latest", dataset, CONFIG)


def test_exported_files_and_policies_of_several_datasets_are_refused(remembering_vla, dataset, tmp_path):
    (tmp_path / "policy.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"policy\.onnx: an exported file keeps no features"):
        diagnose_memory(tmp_path / "policy.onnx", dataset, CONFIG)
    bundle = Bundle.load(remembering_vla)
    both = {name: {"embodiment": bundle.embodiment.to_json()} for name in ("left", "right")}
    mixed = replace(bundle, provenance={**bundle.provenance, "datasets": both})
    mixed.save(tmp_path / "mixed")
    with pytest.raises(ValueError, match=r"learned from several datasets \(left, right\); give a checkpoint of one"):
        diagnose_memory(tmp_path / "mixed", dataset, CONFIG)


def test_the_policy_of_one_frame_is_asked_as_control_asks_it():
    source = remembering.episodes(lambda state, random: state, (5, 4))

    class Doubles:
        device = torch.device("cpu")

        def initial_state(self, batch_size):
            return None

        def act(self, context, state):
            seen = context.now[remembering.STATE].value
            return remembering.ActionChunk.of(2 * seen.expand(-1, 3, -1), range(3)), None

    looked_at = remembering.demonstrations(source, remembering.ignores_the_past(), stride=3)
    decisions, predicted = decide(looked_at, Doubles(), 2)
    assert decisions.number.tolist() == [0, 1, 0, 1]
    assert torch.equal(predicted[:, 0], 2 * decisions.target[:, 0])
    assert decisions.last_valid.tolist() == [False, True, False, True]
    assert decisions.target_valid.sum(dim=1).tolist() == [3, 2, 3, 1]

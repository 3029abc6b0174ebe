"""Phase 2 behind a frozen encoder: each observation encoded once gives what encoding it in every epoch gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.contract.policy_cases import seeded
from tests.contract.registry import METAWORLD
from tests.gripper_recordings import ACTION, FRONT, STATE, WRIST
from tests.rounding import smooth_steps, tolerance
from tests.tiny import original_recipe, tiny_vla_config, vla_recipe

from tempovla.data.lerobot import LeRobotSource, open_dataset
from tempovla.data.loader import collate
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.model.fusion.state_encoder import StateEncoder
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.vla_model import VLAModel
from tempovla.objective import Objective
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.datasets.encodings import encode, encoded_windows
from tempovla.recipe.systems import vla
from tempovla.recipe.systems.statevla import PHASE_NAMES, build_transform, train_phase
from tempovla.recipe.systems.statevla_config import StateVLARecipe
from tempovla.recipe.systems.vla import train_vla
from tempovla.timeline import Bundle, Embodiment, StreamInfo, Window
from tempovla.timeline.keys import ENCODING_KEY
from tempovla.training.metrics import read_metrics
from tempovla.training.result import FitResult


def cached(recipe: StateVLARecipe, on: bool = True) -> StateVLARecipe:
    phase2 = replace(recipe.training.phase2, cache_encodings=on)
    return replace(recipe, training=replace(recipe.training, phase2=phase2))


def kept(recipe: StateVLARecipe, folder: Path) -> StateVLARecipe:
    """The same, with encodings on disk."""
    return replace(cached(recipe), data=replace(recipe.data, encoding_cache=str(folder)))


def refuse_pictures(monkeypatch) -> None:
    """From now on no picture of a dataset on disk can be read."""
    read_many = LeRobotSource.read_many

    def read(source: LeRobotSource, key: str, *places: Any) -> Any:
        assert source.streams[key].kind != "image", f"{key} is decoded"
        return read_many(source, key, *places)

    monkeypatch.setattr(LeRobotSource, "read_many", read)


def losses(result: FitResult) -> list[dict[str, Any]]:
    other = ("phase", "samples_per_s", "cpu_s")
    lines = read_metrics(result.checkpoint.parents[1])
    return [{name: value for name, value in line.items() if name not in other} for line in lines]


@pytest.mark.parametrize(
    ("kind", "precision"), [("tiny", "float32"), ("original", "float32"), ("tiny", "bfloat16"), ("tiny", "auto")]
)
def test_losses_validation_and_weights_are_those_without(tmp_path, recipe, dataset, kind, precision):
    """Within rounding, which depends on a row's place in its batch; two epochs of 27 samples."""
    if kind == "original":
        recipe = original_recipe(dataset)
    recipe = replace(recipe, training=replace(recipe.training, train_steps=14, precision=precision))
    with smooth_steps():
        start = train_phase(recipe, 1, tmp_path / "run").checkpoint
        without, with_cache = (
            train_phase(cached(recipe, on), 2, tmp_path / str(on), phase1_checkpoint=start) for on in (False, True)
        )
    assert len(losses(without)) == 14
    near = tolerance() if precision == "float32" else tolerance(torch.bfloat16, roundings=10)
    for left, right in zip(losses(without), losses(with_cache), strict=True):
        assert right == pytest.approx(left, rel=near, abs=near / 20)
    before, after = (Bundle.load(result.checkpoint) for result in (without, with_cache))
    torch.testing.assert_close(dict(after.weights), dict(before.weights), rtol=near, atol=near / 10)
    assert (after.windows, after.transform) == (before.windows, before.transform)


def test_the_encoder_looks_at_each_observation_once(tmp_path, recipe, monkeypatch):
    train_phase(recipe, 1, tmp_path / "run")
    rows = []
    look = StateEncoder.forward
    monkeypatch.setattr(
        StateEncoder, "forward", lambda self, *inputs: (rows.append(len(inputs[0])), look(self, *inputs))[1]
    )
    recipe = replace(recipe, training=replace(recipe.training, train_steps=30, batch_size=5))
    train_phase(cached(recipe), 2, tmp_path / "run")
    assert rows == [5] * 8  # 36 steps; the last batch is filled up


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, recipe):
    recipe = cached(recipe)
    train_phase(recipe, 1, tmp_path / "run")
    whole = train_phase(recipe, 2, tmp_path / "run")
    halfway = whole.checkpoint.parent / "step_00000003"
    resumed = train_phase(recipe, 2, tmp_path / "again", resume=halfway)
    for name in ("weights.safetensors", "training.safetensors"):
        assert (resumed.checkpoint / name).read_bytes() == (whole.checkpoint / name).read_bytes()
    assert losses(resumed) == losses(whole)[3:]


def test_an_encoding_is_valid_where_all_observations_are(recipe):
    """A camera that is silent for a while: there z is what the policy makes of a black picture, and trains nothing."""
    body = Embodiment("toy", state_dim=3, action_dim=3, rate_hz=10.0)
    streams = {
        STATE: StreamInfo("state", (3,), "float32", 10.0),
        ACTION: StreamInfo("action", (3,), "float32", 10.0),
        FRONT: StreamInfo("image", (24, 32, 3), "uint8", 10.0),
        WRIST: StreamInfo("image", (16, 16, 3), "uint8", 10.0),
    }
    random = np.random.default_rng(0)

    def episode(length: int, seen: list[int]) -> MemoryEpisode:
        values = {
            STATE: random.normal(size=(length, 3)).astype(np.float32),
            ACTION: random.normal(size=(length, 3)).astype(np.float32),
            FRONT: random.integers(0, 256, (length, 24, 32, 3), dtype=np.uint8),
            WRIST: random.integers(0, 256, (len(seen), 16, 16, 3), dtype=np.uint8),
        }
        return MemoryEpisode("go", length, values, {WRIST: np.array(seen) / 10})

    source = MemorySource("toy", body, streams, [episode(5, [0, 1, 2, 3, 4]), episode(6, [0, 1, 5])])
    policy = StateVLA(recipe.model)
    training = recipe.training.of_phase(2)
    encoded = encode(
        source, policy, build_transform(recipe, recipe.model, DatasetMixture.of_one(source, recipe.model)), training
    )
    assert [window.key for window in encoded_windows(policy.windows())] == [ENCODING_KEY, ACTION]
    assert encoded.read(0, ENCODING_KEY, range(-1, 6)).valid.tolist() == [False, True, True, True, True, True, False]
    z, valid = encoded.read(1, ENCODING_KEY, range(6))
    assert valid.tolist() == source.read(1, WRIST, range(6)).valid.tolist()
    assert 0 < valid.sum() < 6
    assert np.isfinite(z).all()
    assert len(np.unique(z.round(4), axis=0)) == 6
    np.testing.assert_array_equal(encoded.read(1, ACTION, range(7)).value, source.read(1, ACTION, range(7)).value)
    np.testing.assert_array_equal(encoded.timestamps(1, ENCODING_KEY), np.arange(6) / 10)
    np.testing.assert_array_equal(encoded.timestamps(1, WRIST), [0.0, 0.1, 0.5])


def test_what_changes_from_epoch_to_epoch_is_not_kept(recipe):
    trained_on = replace(recipe, model=replace(recipe.model, freeze_encoder=False))
    with pytest.raises(ValueError, match=r"cache_encodings=true with model.freeze_encoder=false: .* leave the cache"):
        cached(trained_on)
    shifted = replace(recipe, transform=replace(recipe.transform, shift_px=2))
    with pytest.raises(ValueError, match=r"cache_encodings=true with transform.shift_px=2: encodings change"):
        cached(shifted)
    cached(replace(shifted, transform=replace(shifted.transform, blind=True)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_later_run_reads_the_disk_and_no_picture_and_learns_the_same_to_the_bit(
    tmp_path, recipe, precision, monkeypatch, caplog
):
    caplog.set_level("INFO")
    recipe = replace(recipe, training=replace(recipe.training, precision=precision))
    start = train_phase(recipe, 1, tmp_path / "run").checkpoint
    folder = tmp_path / "encodings"
    in_memory = train_phase(cached(recipe), 2, tmp_path / "memory", phase1_checkpoint=start)
    assert "36 encodings of 8 numbers (0.0 MB) are in memory only" in caplog.text
    first = train_phase(kept(recipe, folder), 2, tmp_path / "first", phase1_checkpoint=start)
    (file,) = folder.glob("*.safetensors")
    assert f"36 encodings of 8 numbers (0.0 MB) are kept in {file}" in caplog.text
    refuse_pictures(monkeypatch)
    again = train_phase(kept(recipe, folder), 2, tmp_path / "again", phase1_checkpoint=start)
    assert f"36 encodings of 8 numbers (0.0 MB) are read from {file}" in caplog.text
    resumed = train_phase(
        kept(recipe, folder), 2, tmp_path / "resumed", resume=again.checkpoint.parent / "step_00000003"
    )
    assert caplog.text.count("are read from") == 2
    assert losses(in_memory) == losses(first) == losses(again)
    assert losses(resumed) == losses(again)[3:]
    weights = {(run.checkpoint / "weights.safetensors").read_bytes() for run in (in_memory, first, again, resumed)}
    assert len(weights) == 1


def test_another_encoder_or_dataset_is_encoded_anew(tmp_path, recipe, dataset, monkeypatch):
    folder = tmp_path / "encodings"
    source = open_dataset(dataset)
    transform = build_transform(recipe, recipe.model, DatasetMixture.of_one(source, recipe.model))
    training = recipe.training.of_phase(2)
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        encode(source, StateVLA(recipe.model), transform, training, folder=str(folder))
    assert len(list(folder.glob("*.safetensors"))) == 2
    other_head = replace(recipe.model, action_seq_len=2, policy_layers=2)
    policy, other = StateVLA(recipe.model), StateVLA(other_head)
    other.encoder.load_state_dict(policy.encoder.state_dict())
    encode(source, policy, transform, training, folder=str(folder))
    refuse_pictures(monkeypatch)
    encode(source, other, transform, training, folder=str(folder))
    with pytest.raises(AssertionError, match="is decoded"):
        encode(source, policy, transform, replace(training, precision="bfloat16"), folder=str(folder))


def test_contexts_of_any_length_share_the_encodings_and_learn_what_they_learn_from_pictures(
    tmp_path, recipe, monkeypatch
):
    start = train_phase(recipe, 1, tmp_path / "run").checkpoint
    folder = tmp_path / "encodings"

    def phase2(name: str, frames: int, on_disk: bool) -> list[dict[str, Any]]:
        context = ContextConfig(temporal={"encoder_type": "lstm", "hidden_dim": 8}, stride=2, sequence_length=frames)
        longer = replace(recipe, model=replace(recipe.model, context=context))
        run = kept(longer, folder) if on_disk else longer
        return losses(train_phase(run, 2, tmp_path / name, phase1_checkpoint=start))

    from_pictures = phase2("pictures", 2, on_disk=False)
    first = phase2("first", 2, on_disk=True)
    refuse_pictures(monkeypatch)
    assert phase2("again", 2, on_disk=True) == first
    assert len(phase2("longer", 4, on_disk=True)) == 6
    assert len(list(folder.glob("*.safetensors"))) == 1
    for left, right in zip(from_pictures, first, strict=True):
        assert right == pytest.approx(left, rel=1e-4, abs=1e-6)


def test_what_learns_or_moves_is_not_encoded_once(recipe, dataset):
    source = open_dataset(dataset)
    arguments = (
        build_transform(recipe, recipe.model, DatasetMixture.of_one(source, recipe.model)),
        recipe.training.of_phase(2),
    )
    trained_on = StateVLA(replace(recipe.model, freeze_encoder=False))
    with pytest.raises(ValueError, match=r"encoder\.\S+ learns, but .* freeze the encoder"):
        encode(source, trained_on, *arguments)
    with pytest.raises(ValueError, match=r"transform.shift_px=2 changes pictures in every epoch"):
        encode(source, StateVLA(recipe.model), *arguments, shift_px=2)


def test_a_folder_is_of_no_use_where_nothing_is_encoded_once(recipe, dataset):
    data = replace(recipe.data, encoding_cache="somewhere")
    with pytest.raises(ValueError, match=r"encoding_cache=somewhere keeps .*cache_encodings=true, too"):
        replace(recipe, data=data)
    with pytest.raises(ValueError, match=r"data.encoding_cache is empty; give a folder, or null"):
        replace(recipe.data, encoding_cache="")
    with pytest.raises(
        ValueError, match=r"encoding_cache=somewhere: vla encodes anew in every epoch; leave it out, or"
    ):
        train_vla(replace(vla_recipe(dataset), data=data), dataset)


def test_windows_on_encodings_keep_the_offsets_of_observations_and_the_actions():
    history = (Window(STATE, (-4, -2, 0)), Window(FRONT, (-4, -2, 0)), Window(ACTION, (-2, -1, 0, 1)))
    assert encoded_windows(history) == (Window(ENCODING_KEY, (-4, -2, 0)), Window(ACTION, (-2, -1, 0, 1)))


def frozen_vla(**options: Any) -> VLAModel:
    """A tiny one of which the action head alone learns."""
    policy = seeded(lambda: VLAModel(tiny_vla_config("flow_matching", action_dim=3, **options)))
    for part in policy.encoder_parts().values():
        part.requires_grad_(False)
    return policy


def test_a_vla_learns_from_its_encodings_what_it_learns_from_pictures(tmp_path, dataset, monkeypatch):
    policy, recipe, source = frozen_vla(**METAWORLD), vla_recipe(dataset), open_dataset(dataset)
    transform = vla.build_transform(recipe, policy, DatasetMixture.of_one(source, recipe.model))
    training = replace(recipe.training, batch_size=6)
    encoded = encode(source, policy, transform, training, folder=str(tmp_path / "encodings"))
    assert policy.training  # as it was before
    assert encoded.streams[ENCODING_KEY].shape == (policy.feature_dim,) == (8,)
    index = np.arange(6)
    batch = SampleBatch(np.zeros(6, dtype=np.int64), index, torch.arange(6))
    sample = transform.forward_sample(collate(Mixture([source]), policy.windows(), batch))
    short = transform.forward_sample(collate(Mixture([encoded]), encoded_windows(policy.windows()), batch))
    assert set(short.context.now) == {ENCODING_KEY, "instruction_tokens"}
    whole, again = (Objective()(policy(each)) for each in (sample, short))
    assert whole.total > 0
    torch.testing.assert_close(again.total, whole.total, rtol=tolerance(roundings=100), atol=0)
    again.total.backward()
    learned = {name.split(".")[0] for name, weight in policy.named_parameters() if weight.grad is not None}
    assert learned == {"action_head", "behavior_cloning"}
    refuse_pictures(monkeypatch)
    encode(source, policy, transform, training, folder=str(tmp_path / "encodings"))


def test_a_vla_with_several_tokens_is_told_what_to_set(dataset):
    policy, recipe, source = frozen_vla(), vla_recipe(dataset), open_dataset(dataset)
    with pytest.raises(ValueError, match=r"token_dim=null gives the action head 2 tokens; .* set model.token_dim"):
        encode(
            source,
            policy,
            vla.build_transform(recipe, policy, DatasetMixture.of_one(source, recipe.model)),
            recipe.training,
        )


def test_weights_to_resume_from_must_fit_before_anything_is_encoded(tmp_path, recipe):
    train_phase(recipe, 1, tmp_path / "run")
    halfway = train_phase(cached(recipe), 2, tmp_path / "run").checkpoint
    other = cached(replace(recipe, model=replace(recipe.model, state_dim=16)))
    with pytest.raises(ValueError, match="give a checkpoint of this config"):
        train_phase(other, 2, tmp_path / "again", resume=halfway)
    assert not Path(tmp_path / "again" / PHASE_NAMES[2]).exists()


def test_a_context_on_a_frozen_vla_reads_no_picture_again_and_resumes_to_the_bit(tmp_path, dataset, monkeypatch):
    recipe = vla_recipe(dataset)
    start = train_vla(recipe, tmp_path / "base").checkpoint
    core = {"encoder_type": "lstm", "hidden_dim": 8, "num_layers": 1}
    context = ContextConfig(temporal=core, stride=2, sequence_length=3, burn_in=1, freeze_base=True)
    recipe = replace(
        recipe,
        model=replace(recipe.model, context=context),
        data=replace(recipe.data, encoding_cache=str(tmp_path / "encodings")),
        transform=replace(recipe.transform, shift_px=0),
    )
    first = train_vla(recipe, tmp_path / "first", base_checkpoint=start)
    refuse_pictures(monkeypatch)
    again = train_vla(recipe, tmp_path / "again", base_checkpoint=start)
    resumed = train_vla(recipe, tmp_path / "resumed", resume=first.checkpoint.parent / "step_00000003")
    base, *ends = (Bundle.load(result).weights for result in (start, *(r.checkpoint for r in (first, again, resumed))))
    for end in ends:
        assert [name for name in ends[0] if not torch.equal(end[name], ends[0][name])] == []
        kept = [name for name in base if name.startswith("vlm.")]
        assert kept
        assert all(torch.equal(end[f"base.{name}"], base[name]) for name in kept)
        assert not torch.equal(end["base.behavior_cloning.0.weight"], base["behavior_cloning.0.weight"])

"""Whatever training, exporting or `save_pretrained` left behind loads by one name; the rest is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contract.policy_cases import WRIST
from tests.contract.registry import POLICIES
from tests.contract.toys import FRONT, STATE
from tests.unit.export.bundles import BODY, INSTRUCTIONS, save, tiny_bundle

import tempovla
from tempovla.control.load import load
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.model.vla.registry import load_policy
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_to_json


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("run"), "gaussian")


def observation(step: int = 0) -> dict:
    random = np.random.default_rng(step)
    frames = {
        FRONT: random.integers(0, 256, (21, 27, 3), np.uint8),
        WRIST: random.integers(0, 256, (32, 32, 3), np.uint8),
    }
    return frames | {STATE: random.normal(size=3), "task": INSTRUCTIONS[0]}


def test_a_checkpoint_acts_in_the_robots_units_through_the_front_door(checkpoint):
    policy = tempovla.load(checkpoint, device="cpu")
    assert policy.embodiment == BODY
    assert policy.provenance["instructions"] == INSTRUCTIONS
    chunk = policy.act(observation())
    assert chunk.shape == (5, BODY.action_dim)
    assert chunk.dtype == np.float32
    shares = {key: torch.from_numpy(observation()[key] / 255).movedim(-1, 0) for key in (FRONT, WRIST)}
    policy.reset()
    same = policy.act({**observation(), **shares})
    np.testing.assert_array_equal(same.numpy(), chunk)
    policy.reset()
    policy.seed([0, 0])
    rows = policy.act({key: np.stack([value] * 2) for key, value in observation().items() if key != "task"})
    np.testing.assert_allclose(rows, np.stack([chunk, chunk]), rtol=1e-4, atol=1e-4)


def test_weights_of_half_the_size_act_nearly_alike(checkpoint):
    whole, half = load(checkpoint, device="cpu"), load(checkpoint, device="cpu", dtype="bfloat16")
    assert {weight.dtype for weight in half.actor.policy.parameters()} == {torch.bfloat16}
    expected, actual = whole.act(observation()), half.act(observation())
    assert actual.dtype == np.float32
    scale = np.abs(expected).max()
    assert 0 < np.abs(actual - expected)[..., :-1].max() < 16 * torch.finfo(torch.bfloat16).eps * scale
    with pytest.raises(ValueError, match="dtype='int8' is none of float32, bfloat16, float16"):
        load(checkpoint, dtype="int8")


def test_an_exported_file_gives_what_its_checkpoint_gives(checkpoint, tmp_path):
    file = export_checkpoint(checkpoint, tmp_path / "policy.pt", ExportConfig("torchscript")).file
    ours, theirs = load(file), load(checkpoint, device="cpu")
    for step in range(7):
        np.testing.assert_allclose(ours.step(observation(step)), theirs.step(observation(step)), rtol=1e-3, atol=1e-3)
    assert ours.provenance == theirs.provenance
    with pytest.raises(ValueError, match="an exported file acts on the CPU; leave out device cuda, or give cpu"):
        load(file, device="cuda")
    with pytest.raises(ValueError, match="keeps the type of its weights; leave out dtype='float32'"):
        load(file, dtype="float32")


def test_a_saved_model_needs_the_transforms_that_it_was_trained_with(checkpoint, tmp_path):
    load_policy(Bundle.load(checkpoint)).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"its actions have no units; give transforms_from=CHECKPOINT"):
        load(tmp_path / "model")
    ours = load(tmp_path / "model", transforms_from=checkpoint, device="cpu")
    np.testing.assert_array_equal(ours.act(observation()), load(checkpoint, device="cpu").act(observation()))
    with pytest.raises(ValueError, match="has its own transforms; leave out transforms_from="):
        load(checkpoint, transforms_from=checkpoint)


def test_a_saved_model_with_a_memory_keeps_it(checkpoint, tmp_path):
    policy = POLICIES["vla-mlp-gru-buffer"].build()
    fields, kept = config_to_json(policy.config), Bundle.load(checkpoint)
    replace(kept, config=fields, windows=policy.windows(), weights=policy.state_dict()).save(tmp_path / "run")
    load_policy(Bundle.load(tmp_path / "run")).save_pretrained(tmp_path / "model")
    ours = load(tmp_path / "model", transforms_from=tmp_path / "run", device="cpu")
    theirs = load(tmp_path / "run", device="cpu")
    assert ours.frame_stride == 2
    for step in range(5):
        np.testing.assert_array_equal(ours.step(observation(step)), theirs.step(observation(step)))
    load_policy(tiny_bundle("statevla")).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"is of policy 'statevla', not 'vla'"):
        load(tmp_path / "other", transforms_from=checkpoint)


@pytest.fixture
def hub_cache(checkpoint, tmp_path, monkeypatch) -> Path:
    """A cache as the hub's library lays it out, links into blobs included, with one checkpoint in it."""
    repository = tmp_path / "hub" / "models--lab--drawers"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for number, file in enumerate(sorted(path for path in checkpoint.iterdir() if path.is_file())):
        (repository / "blobs" / str(number)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_name_on_the_hub_is_looked_for_in_its_cache_alone(hub_cache, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = load("lab/drawers", device="cpu")
    np.testing.assert_array_equal(policy.act(observation()), load(checkpoint, device="cpu").act(observation()))
    told = r"^lab/doors: no such file or folder here, .* hub's cache; give a checkpoint, or give local_files_only=False"
    with pytest.raises(ValueError, match=told):
        load("lab/doors")


def test_a_name_is_downloaded_only_if_that_is_allowed_and_without_code(hub_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options["local_files_only"], options["allow_patterns"]))
        return str(hub_cache / "models--lab--drawers" / "snapshots" / ("0" * 40))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    load("lab/drawers", device="cpu")
    load("lab/drawers", device="cpu", local_files_only=False)
    assert [(name, local) for name, local, _ in asked] == [("lab/drawers", True), ("lab/drawers", False)]
    assert all(name.endswith((".json", ".safetensors", "assets/*")) for name in asked[1][2])


def test_a_misspelt_checkpoint_is_told_with_those_of_its_run(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint_latest").symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^run/checkpoint_lates: no such checkpoint; give run/checkpoint_latest"):
        load("run/checkpoint_lates")
    with pytest.raises(ValueError, match=r"run: holds checkpoints, but is none itself; give"):
        load("run")
    with pytest.raises(ValueError, match=r"absent.onnx: no such file; give one that `tempovla export` wrote"):
        load(tmp_path / "absent.onnx")


def test_what_has_not_learned_to_act_is_refused(tmp_path):
    replace(tiny_bundle("statevla"), provenance={"phase": 1}).save(tmp_path / "phase1")
    with pytest.raises(ValueError, match="phase 1 has not learned to act yet"):
        load(tmp_path / "phase1")
    replace(tiny_bundle("gaussian"), policy="vlm").save(tmp_path / "vlm")
    with pytest.raises(ValueError, match="a vision-language model, which has not learned to act"):
        load(tmp_path / "vlm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": ()}, r"damaged: its windows are of \[\], none of 'action'; copy the checkpoint again$"),
        ({"rate_hz": 0.0}, r"damaged: embodiment.rate_hz=0.0 is no control rate; copy the checkpoint again$"),
        ({"rate_hz": -5.0}, r"embodiment.rate_hz=-5.0 is no control rate"),
        (
            {"action_dim": 0, "action_names": ()},
            r"embodiment.action_dim=0 must be at least 1; copy the checkpoint again$",
        ),
    ],
)
def test_a_body_with_which_nothing_can_act_is_refused_when_it_is_loaded(checkpoint, tmp_path, changes, message):
    bundle = Bundle.load(checkpoint)
    body = {key: value for key, value in changes.items() if key != "windows"}
    changed = replace(bundle, embodiment=replace(bundle.embodiment, **body))
    replace(changed, windows=changes.get("windows", bundle.windows)).save(tmp_path / "damaged")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "damaged")

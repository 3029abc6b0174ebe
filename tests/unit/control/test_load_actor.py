"""Checkpoints and exported files alike are opened, and play the same episodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.contract.policy_cases import WRIST, seeded
from tests.contract.toys import ACTION, FRONT, STATE
from tests.tiny import tiny_vla_config

from tempovla.control.load_actor import open_policy, provenance_of
from tempovla.export.exporter import ExportConfig, Exported, export_checkpoint
from tempovla.model.vla.vla_model import VLAModel
from tempovla.rollout.evaluate import EvaluationConfig, evaluation_specs, run_specs
from tempovla.timeline import Bundle, Embodiment
from tempovla.timeline.bundle import bundle_sha256
from tempovla.timeline.config import config_to_json
from tempovla.transform.blind import BlankImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer


@pytest.fixture
def checkpoint(tmp_path):
    """A blind hand on a line, that has learned nothing."""
    options = {"flow_matching": {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "num_steps": 2}}
    config = tiny_vla_config("flow_matching", action_head_options=options, robot_state_dim=1, action_dim=2)
    policy = seeded(lambda: VLAModel(config).eval())
    moments = {key: {"mean": np.zeros(dim), "std": np.full(dim, 0.5)} for key, dim in ((STATE, 1), (ACTION, 2))}
    fit = {STATE: NormalizationConfig(), ACTION: NormalizationConfig("mean_std", (1,))}
    words = TokenizeInstruction(WordTokenizer(16), 6)
    transform = TransformPipeline([BlankImages((FRONT, WRIST), 16), Normalize.fit(moments, fit), words])
    body = Embodiment("hand", 1, 2, 10.0)
    fields = config_to_json(policy.config)
    known = {"instructions": ["go left", "go right"]}
    Bundle("vla", fields, policy.windows(), body, transform.to_json(), policy.state_dict(), known).save(tmp_path / "c")
    return tmp_path / "c"


@pytest.fixture
def exported(tmp_path, checkpoint) -> Exported:
    return export_checkpoint(checkpoint, tmp_path / "script", ExportConfig("torchscript"))


def test_an_exported_file_says_where_it_is_from_and_acts_on_the_cpu(checkpoint, exported):
    opened = open_policy(exported.file)
    assert opened.device == "cpu"
    assert opened.identity["checkpoint_sha256"] == bundle_sha256(checkpoint)
    assert opened.identity["exported"] == {"format": "torchscript", "file_sha256": exported.sidecar.file_sha256}
    assert opened.bundle.windows == open_policy(checkpoint).bundle.windows
    assert provenance_of(exported.file) == provenance_of(checkpoint) == {"instructions": ["go left", "go right"]}


def test_it_plays_the_episodes_that_its_checkpoint_plays(checkpoint, exported):
    pytest.importorskip("gymnasium")
    from tests.toy_simulator import LineConfig

    config = EvaluationConfig(episodes=2, num_envs=3, workers=1, execution_horizon=4, max_steps=8)
    specs = evaluation_specs(("left", "right"), config)
    specs = [replace(spec, record=True) for spec in specs]
    played = [run_specs(open_policy(path).actor(), specs, LineConfig(), config) for path in (checkpoint, exported.file)]
    for mine, theirs in zip(*played, strict=True):
        assert (mine.success, mine.steps) == (theirs.success, theirs.steps)
        np.testing.assert_allclose(mine.actions, theirs.actions, atol=1e-4)
    assert torch.tensor(np.concatenate([episode.actions for episode in played[0]]))[:, 0].std() > 0.1


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"bundle.json: no such file; give the folder that training saved"):
        open_policy(tmp_path)
    with pytest.raises(ValueError, match=r"absent.onnx: no such file; give one that `tempovla export` wrote"):
        open_policy(tmp_path / "absent.onnx")
    (tmp_path / "policy.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"policy.onnx.json: no such file; copy it from where"):
        open_policy(tmp_path / "policy.onnx")

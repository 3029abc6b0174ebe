"""`tempovla train smolvla`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import recordings
from tests.smolvla_tiny import tiny_policy

from tempovla.cli.train import build
from tempovla.recipe.systems.smolvla import build_policy
from tempovla.recipe.systems.smolvla_config import SmolVLARecipe
from tempovla.timeline import Bundle

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "smolvla_metaworld.yaml"

SMALL = f"""
data: {{validation_batches: 1}}
model:
  vlm:
    num_layers: 1
    resize: stretch
    architecture:
      model_type: smolvlm
      scale_factor: 2
      vision_config: {{image_size: 16, patch_size: 4, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1,
        num_attention_heads: 2}}
      text_config: {{model_type: llama, vocab_size: 64, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1,
        num_attention_heads: 2, num_key_value_heads: 2}}
  cameras: [{recordings.FRONT}]
  robot_state_dim: 3
  action_dim: 2
  has_gripper: false
  chunk_size: 4
  num_steps: 2
training: {{batch_size: 4, train_steps: 4, save_interval: 0, save_interval_steps: 2, keep_every: 2}}
"""


@pytest.fixture
def small_smolvla(tmp_path, dataset) -> list[object]:
    """Arguments that train a tiny SmolVLA within a second or two, but for --output-dir."""
    (tmp_path / "small.yaml").write_text(SMALL)
    return ["train", "smolvla", "--config", tmp_path / "small.yaml", "--dataset", dataset]


def test_the_metaworld_config_builds():
    parser = build("train smolvla", "")
    args = parser.instantiate(parser.parse_args(["--config", str(CONFIG)]))
    policy = build_policy(SmolVLARecipe(args.data, args.transform, args.model, args.training))
    assert policy.vlm.num_image_tokens == 16
    assert all(weight.requires_grad for weight in policy.parameters())
    assert sum(weight.numel() for weight in policy.parameters()) < 5e6


def test_it_trains_resumes_and_is_evaluated_offline(tmp_path, tempovla, small_smolvla):
    answer = tempovla(*small_smolvla, "--output-dir", tmp_path / "run", "--json")
    assert answer.code == 0, answer.err
    done = json.loads(answer.out)
    assert done["train_step"] == 4
    assert {"action_loss", "val_action_loss"} <= set(done["metrics"])
    assert Bundle.load(done["best_checkpoint"]).policy == "smolvla"
    latest = tmp_path / "run" / "checkpoint_latest"
    whole = (latest / "weights.safetensors").read_bytes()
    halfway = tmp_path / "run" / "checkpoints" / "step_00000002"
    answer = tempovla(*small_smolvla, "--output-dir", tmp_path / "run", "--checkpoint", halfway)
    assert answer.code == 0, answer.err
    assert (latest / "weights.safetensors").read_bytes() == whole
    answer = tempovla("eval", "offline", "--checkpoint", latest, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["mse"] > 0


def test_a_run_starts_from_another_policy(tmp_path, tempovla, small_smolvla):
    tiny_policy().save_pretrained(tmp_path / "start")
    words = ["--transform.tokenizer", "words", "--model.max_instruction_tokens", 12]
    run = [*small_smolvla, "--output-dir", tmp_path / "run", "--train_steps", 1]
    answer = tempovla(*run, *words, "--pretrained-policy", tmp_path / "start")
    assert answer.code == 0, answer.err
    config = Bundle.load(tmp_path / "run" / "checkpoint_latest").config
    assert (config["chunk_size"], config["max_action_dim"]) == (4, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.action_dim", "33"], "model.action_dim=33 is more than model.max_action_dim=32; raise that"),
        (["--model.vlm.num_layers", "2"], "vlm.num_layers=2: SmolVLM "),
        (["--model.vlm.image_size", "20"], "vlm.image_size=20 is not divisible by patch_size x scale_factor"),
        (["--model.robot_state_dim", "4"], "set --model.robot_state_dim=3"),
        (["--model.chunksize", "3"], "did you mean --model.chunk_size?"),
        (["--pretrained-policy", "/absent/folder"], "SmolVLA checkpoint '/absent/folder' does not load"),
        (["--transform.tokenizer", "absent"], "tokenizer 'absent' does not load"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, fails, small_smolvla, monkeypatch, arguments, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert message in fails(*small_smolvla, "--output-dir", tmp_path / "run", *arguments)

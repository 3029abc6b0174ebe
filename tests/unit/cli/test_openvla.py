"""`tempovla train openvla` and `tempovla convert openvla`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import recordings
from tests.openvla_tiny import save_published

from tempovla.cli.train import build
from tempovla.model.vla.lora import LoRAConfig
from tempovla.recipe.systems.openvla_config import OpenVLARecipe
from tempovla.timeline import Bundle

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "openvla_lora.yaml"


@pytest.fixture
def small(tmp_path, dataset) -> list[object]:
    """Arguments that fine-tune a tiny OpenVLA within a second, but for --output-dir."""
    pytest.importorskip("peft")
    save_published(tmp_path / "published", "task 0", "task 1")
    settings = {"model.cameras": f"[{recordings.FRONT}]", "model.action_dim": 2, "model.has_gripper": "false"}
    settings |= {"batch_size": 4, "train_steps": 4, "save_interval": 0, "save_interval_steps": 2, "keep_every": 2}
    settings |= {"validation_batches": 1, "max_prompt_tokens": 24}
    options = [word for key, value in settings.items() for word in (f"--{key}", value)]
    return ["train", "openvla", "--dataset", dataset, "--pretrained", tmp_path / "published", *options]


def test_it_trains_adapters_resumes_and_is_evaluated_offline(tmp_path, tempovla, small):
    small = [*small, "--model.lora.r", 2]
    answer = tempovla(*small, "--output-dir", tmp_path / "run", "--json")
    assert answer.code == 0, answer.err
    done = json.loads(answer.out)
    assert done["train_step"] == 4
    assert Bundle.load(done["checkpoint"]).config["lora"] == {"r": 2, "alpha": 16.0, "target_modules": []}
    whole = (tmp_path / "run" / "checkpoint_latest" / "weights.safetensors").read_bytes()
    halfway = tmp_path / "run" / "checkpoints" / "step_00000002"
    answer = tempovla(*small, "--output-dir", tmp_path / "run", "--checkpoint", halfway)
    assert answer.code == 0, answer.err
    assert (tmp_path / "run" / "checkpoint_latest" / "weights.safetensors").read_bytes() == whole
    answer = tempovla("eval", "offline", "--checkpoint", tmp_path / "run" / "checkpoint_latest", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["mse"] > 0


def test_the_config_has_the_published_settings_and_adapters_can_be_left_out():
    parser = build("train openvla", "")

    def read(*arguments: str) -> OpenVLARecipe:
        args = parser.instantiate(parser.parse_args(["--config", str(CONFIG), *arguments]))
        return OpenVLARecipe(args.data, args.transform, args.model, args.training)

    assert read().model.lora == LoRAConfig(r=32, alpha=16.0)
    assert read("--model.lora.r", "8").model.lora == LoRAConfig(r=8, alpha=16.0)
    assert read("--model.lora", "null").model.lora is None
    assert read().transform.action_normalization == "quantile"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pretrained", ""], "model.pretrained is empty"),
        (["--pretrained", "absent/none/here"], "'absent/none/here' does not load"),
        (["--transform.gripper_open", "-1"], "needs a gripper; set --model.has_gripper=true"),
        (["--transform.max_prompt_tokens", "5"], "tokens with its prompt, more than max_length=5"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, fails, small, arguments, message):
    assert message in fails(*small, "--output-dir", tmp_path / "run", *arguments)


def test_a_published_checkpoint_becomes_a_bundle(tmp_path, tempovla, fails):
    stats = {"libero": {"action": {"q01": [-1.0] * 7, "q99": [1.0] * 7, "mask": [True] * 6 + [False]}}}
    save_published(tmp_path / "published", "open", norm_stats=stats, action_dim=7)
    convert = ["convert", "openvla", "--pretrained", tmp_path / "published", "--camera", recordings.FRONT]
    answer = tempovla(*convert, "--gripper-open", -1, "--crop-area", 0.9, "--out", tmp_path / "bundle", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["unnorm_key"] == "libero"
    bundle = Bundle.load(tmp_path / "bundle")
    names = [step["name"] for step in bundle.transform["steps"]]
    assert names == ["resize_images", "crop_images", "remap_gripper", "normalize", "tokenize_instruction"]
    assert "is no dataset" in fails(*convert, "--unnorm-key", "bridge", "--out", tmp_path / "other")


@pytest.mark.slow
@pytest.mark.sim
def test_a_converted_checkpoint_acts_in_a_simulator(tmp_path, tempovla, fails):
    pytest.importorskip("metaworld")
    stats = {"mine": {"action": {"q01": [-1.0] * 4, "q99": [1.0] * 4, "mask": [True] * 3 + [False]}}}
    save_published(tmp_path / "published", "open", norm_stats=stats, action_dim=4)
    convert = ["convert", "openvla", "--pretrained", tmp_path / "published", "--robot", "metaworld"]
    convert += ["--camera", "observation.images.corner2", "--gripper-open", -1, "--out", tmp_path / "bundle"]
    assert tempovla(*convert).code == 0
    evaluate = ["eval", "metaworld", "--checkpoint", tmp_path / "bundle", "--tasks", "drawer-open-v3"]
    evaluate += ["--episodes", 1, "--max_steps", 4]
    assert "exceeds the policy's chunk of 1; give 1 at the most" in fails(*evaluate, "--execution_horizon", 2)
    answer = tempovla(*evaluate, "--json", tmp_path / "results.json")  # the default is the chunk of 1
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "results.json").read_text())["mean"]["episodes"] == 1

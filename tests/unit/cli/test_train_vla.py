"""`tempovla train vla`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tests import recordings
from tests.tiny import vla_yaml

from tempovla.cli.train import build
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.recipe.systems.vla import build_policy
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.timeline import Bundle

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "vla_metaworld.yaml"


@pytest.fixture
def small_vla(tmp_path, dataset) -> list[object]:
    """Arguments that train a tiny VLA within a second or two, but for --output-dir."""
    (tmp_path / "small.yaml").write_text(vla_yaml())
    return ["train", "vla", "--config", tmp_path / "small.yaml", "--dataset", dataset]


def read_recipe(*arguments: str) -> VLARecipe:
    parser = build("train vla", "")
    args = parser.instantiate(parser.parse_args(["--config", str(CONFIG), *arguments]))
    return VLARecipe(args.data, args.transform, args.model, args.training)


@pytest.mark.parametrize("head", sorted(ACTION_HEAD_REGISTRY))
def test_the_metaworld_config_builds_with_every_head(head):
    recipe = read_recipe("--model.action_head", head)
    policy = build_policy(recipe)
    assert type(policy.action_head) is ACTION_HEAD_REGISTRY[head]
    assert sum(weight.numel() for weight in policy.parameters()) < 5e6


def test_it_trains_where_the_output_directory_says_and_resumes(tmp_path, tempovla, small_vla):
    answer = tempovla(*small_vla, "--output-dir", tmp_path / "run", "--json")
    assert answer.code == 0, answer.err
    done = json.loads(answer.out)
    assert done["train_step"] == 4
    assert Path(done["checkpoint"]) == tmp_path / "run" / "checkpoints" / "step_00000004"
    assert {"action_loss", "val_action_loss"} <= set(done["metrics"])
    assert Bundle.load(done["best_checkpoint"]).policy == "vla"
    whole = (tmp_path / "run" / "checkpoint_latest" / "weights.safetensors").read_bytes()
    halfway = tmp_path / "run" / "checkpoints" / "step_00000002"
    answer = tempovla(*small_vla, "--output-dir", tmp_path / "run", "--checkpoint", halfway)
    assert answer.code == 0, answer.err
    assert "going on from step 2 of 4" in answer.err
    assert (tmp_path / "run" / "checkpoint_latest" / "weights.safetensors").read_bytes() == whole


def test_other_data_are_refused_with_an_option_that_works_and_a_run_that_diverges_has_its_exit_code(
    tmp_path, tempovla, small_vla, dataset
):
    unclipped = [*small_vla, "--training.gradient_clip", ".inf", "--output-dir", tmp_path / "run"]
    assert tempovla(*unclipped).code == 0
    for file in tmp_path.glob("run/checkpoints/*/*.json"):
        json.loads(file.read_text(), parse_constant=pytest.fail)
    resumed = [*unclipped, "--checkpoint", tmp_path / "run" / "checkpoints" / "step_00000002"]
    shutil.rmtree(dataset)
    recordings.record(dataset, (12, 7, 9, 8))
    answer = tempovla(*resumed)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert f"from; {dataset}: data/chunk-000/file-000.parquet has changed, " in answer.err
    option = answer.err.split(" by ")[-1].split()
    answer = tempovla(*resumed, *option)
    assert answer.code == 0, answer.err
    answer = tempovla(*small_vla, "--output-dir", tmp_path / "bad", "--training.learning_rate", "1e37")
    assert answer.code == 3
    assert "vla step " in answer.err.splitlines()[-1]


def test_another_vision_language_model_is_taken_over(tmp_path, tempovla, small_vla):
    assert tempovla(*small_vla, "--output-dir", tmp_path / "first").code == 0
    start = ["--pretrained-vlm", tmp_path / "first" / "checkpoint_latest"]
    answer = tempovla(*small_vla, "--output-dir", tmp_path / "second", *start, "--model.vlm.language.freeze", "true")
    assert answer.code == 0, answer.err
    first, second = (Bundle.load(tmp_path / run / "checkpoint_latest").weights for run in ("first", "second"))
    name = "vlm.language.decoder.layers.0.mlp.up_proj.weight"
    assert first[name].equal(second[name])


def test_a_checkpoint_is_evaluated_offline(tmp_path, tempovla, small_vla):
    assert tempovla(*small_vla, "--output-dir", tmp_path / "run").code == 0
    answer = tempovla("eval", "offline", "--checkpoint", tmp_path / "run" / "checkpoint_latest", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["mse"] > 0


def test_options_go_by_short_names_and_a_printed_config_reads_back(tmp_path, tempovla, small_vla):
    first = tempovla(*small_vla, "--batch_size", 2, "--model.lora.r", 4, "--print_config")
    printed = yaml.safe_load(first.out)
    assert printed["training"]["batch_size"] == 2
    assert printed["model"]["lora"]["r"] == 4
    assert printed["data"]["data_directory"] == str(tmp_path / "dataset")
    (tmp_path / "mine.yaml").write_text(first.out)
    assert tempovla("train", "vla", "--config", tmp_path / "mine.yaml", "--print_config").out == first.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.action_head", "flow_match"], "action head 'flow_match' is unknown; did you mean 'flow_matching'?"),
        (["--model.action_head_options.mlp.hidden", "3"], "MLPActionHead has no option 'hidden'; did you mean"),
        (["--model.vlm.projector", "lin"], "lin"),
        (["--model.robot_state_dim", "4"], "set --model.robot_state_dim=3"),
        (["--model.max_instruction_tokens", "1"], "more than max_length=1; raise it"),
        (["--pretrained-vlm", "absent"], "absent: holds no model.safetensors or weights.safetensors"),
        (["--training.batchsize", "3"], "did you mean --training.batch_size?"),
        (["--transform.tokenizer", "absent"], "tokenizer 'absent' does not load"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, fails, small_vla, arguments, message):
    assert message in fails(*small_vla, "--model.action_head", "mlp", "--output-dir", tmp_path / "run", *arguments)


def test_without_a_dataset_it_says_so(fails, tmp_path):
    assert "data.data_directory is empty" in fails("train", "vla", "--config", CONFIG, "--output-dir", tmp_path / "run")


def test_a_mixture_is_trained_and_evaluated_by_dataset(tmp_path, tempovla, fails, small_vla, dataset):
    shutil.copytree(dataset, tmp_path / "other")
    wrist = {recordings.FRONT: recordings.WRIST}
    mixture = [{"data_directory": str(dataset), "weight": 2.0}]
    mixture.append({"data_directory": str(tmp_path / "other"), "cameras": wrist, "name": "wrist"})
    train = ["train", "vla", "--config", tmp_path / "small.yaml", "--data.mixture", json.dumps(mixture)]
    printed = tempovla(*train, "--print_config").out
    assert yaml.safe_load(printed)["data"]["mixture"][1]["cameras"] == wrist
    (tmp_path / "mine.yaml").write_text(printed)
    assert tempovla("train", "vla", "--config", tmp_path / "mine.yaml", "--print_config").out == printed
    answer = tempovla(*train, "--output-dir", tmp_path / "run", "--json")
    assert answer.code == 0, answer.err
    assert {"val_total", "val_total_dataset", "val_total_wrist"} <= set(json.loads(answer.out)["metrics"])
    offline = ["eval", "offline", "--checkpoint", tmp_path / "run" / "checkpoint_latest"]
    assert "say which with --dataset-name NAME: ['dataset', 'wrist']" in fails(*offline)
    answer = tempovla(*offline, "--dataset-name", "wrist", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["dataset_name"] == "wrist"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ('{"weight": 1.0}', "data_directory"),
        ('{"data_directory": "a", "weight": -1.0}', "a has weight -1.0, which must be positive"),
        ('{"data_directory": "a", "wight": 2.0}', "an entry of it has no key 'wight'; did you mean weight?"),
    ],
)
def test_mistakes_in_a_mixture_are_named_in_one_line(tmp_path, fails, small_vla, member, message):
    assert message in fails("train", "vla", "--config", tmp_path / "small.yaml", "--data.mixture", f"[{member}]")


def test_a_dataset_beside_a_mixture_is_refused(fails, small_vla):
    told = fails(*small_vla, "--mixture", '[{"data_directory": "a"}]')
    assert "and data.mixture exclude each other; leave out one of them" in told


def test_a_policy_that_remembers_starts_from_one_that_does_not(tmp_path, tempovla, fails, small_vla):
    assert tempovla(*small_vla, "--output-dir", tmp_path / "base").code == 0
    flags = ["--use-temporal-encoder", "--temporal-encoder-type", "gru", "--num-temporal-layers", 1]
    flags += ["--sequence-length", 4, "--model.context.stride", 2, "--model.context.freeze_base", "true"]
    remember = [*small_vla, *flags, "--output-dir", tmp_path / "run"]
    assert "give --base-checkpoint or --pretrained-vlm" in fails(*remember)
    answer = tempovla(*remember, "--base-checkpoint", tmp_path / "base" / "checkpoint_latest", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["train_step"] == 4
    before, after = (Bundle.load(tmp_path / run / "checkpoint_latest") for run in ("base", "run"))
    name = "vlm.language.decoder.layers.0.mlp.up_proj.weight"
    assert after.weights[f"base.{name}"].equal(before.weights[name])
    saved = after.config["context"]["temporal"]
    assert (saved["encoder_type"], saved["num_layers"], saved["hidden_dim"]) == ("gru", 1, None)
    assert "in the model; give a checkpoint of this config" in fails(
        *remember, "--base-checkpoint", tmp_path / "base" / "checkpoint_latest", "--model.feature_dim", 16
    )

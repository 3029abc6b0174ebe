"""`tempovla train align`, `tempovla train instruct`, and a policy that starts from what they save."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import yaml
from tests.chats import item, write_conversations
from tests.rounding import smooth_steps, tolerance
from tests.tiny import VLM_SETTINGS, vla_yaml

from tempovla.cli.train import build
from tempovla.recipe.systems.vlm import build_model
from tempovla.recipe.systems.vlm_config import VLMRecipe
from tempovla.timeline import Bundle
from tempovla.training.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs"
TRAINING = {"batch_size": 4, "train_steps": 4, "save_interval": 0, "save_interval_steps": 2, "keep_every": 2}


def arguments_in(folder: Path) -> list[object]:
    """Arguments that train a tiny model on ten pictures, but for the stage and --output-dir; files are in `folder`."""
    path = write_conversations(folder / "captions")
    recipe = {
        "data": {"train_split": 0.8, "validation_batches": 1},
        "model": {"vlm": VLM_SETTINGS},
        "training": TRAINING,
    }
    (folder / "vlm.yaml").write_text(yaml.safe_dump(recipe))
    return ["--config", folder / "vlm.yaml", "--dataset", path, "--image-root", path.parent]


@pytest.fixture
def small(tmp_path) -> list[object]:
    return arguments_in(tmp_path)


def test_both_stages_train_resume_and_a_policy_starts_from_them(tmp_path, tempovla, small, dataset):
    answer = tempovla("train", "instruct", *small, "--output-dir", tmp_path / "first", "--json")
    assert answer.code == 0, answer.err
    done = json.loads(answer.out)
    assert {"caption_loss", "token_accuracy", "texts_cut", "val_caption_loss"} <= set(done["metrics"])
    first = tmp_path / "first" / "checkpoint_latest"
    align = ["train", "align", *small, "--output-dir", tmp_path / "align", "--pretrained-vlm", first, "--new-projector"]
    answer = tempovla(*align)
    assert answer.code == 0, answer.err
    assert answer.out == f"4 steps, {tmp_path / 'align' / 'checkpoints' / 'step_00000004'}\n"
    whole = (tmp_path / "align" / "checkpoint_latest" / "weights.safetensors").read_bytes()
    answer = tempovla(*align, "--checkpoint", tmp_path / "align" / "checkpoints" / "step_00000002")
    assert answer.code == 0, answer.err
    assert "going on from step 2 of 4" in answer.err
    assert (tmp_path / "align" / "checkpoint_latest" / "weights.safetensors").read_bytes() == whole

    (tmp_path / "vla.yaml").write_text(vla_yaml())
    start = ["--pretrained-vlm", tmp_path / "align" / "checkpoint_latest", "--model.vlm.language.freeze", "true"]
    policy = ["train", "vla", "--config", tmp_path / "vla.yaml", "--dataset", dataset, *start]
    answer = tempovla(*policy, "--output-dir", tmp_path / "vla")
    assert answer.code == 0, answer.err
    aligned, acting = (Bundle.load(tmp_path / run / "checkpoint_latest").weights for run in ("align", "vla"))
    name = "vlm.language.decoder.layers.0.mlp.up_proj.weight"
    assert acting[name].equal(aligned[name])


def test_what_cannot_act_is_not_evaluated(tmp_path, tempovla, fails, small):
    assert tempovla("train", "instruct", *small, "--output-dir", tmp_path / "run").code == 0
    checkpoint = tmp_path / "run" / "checkpoint_latest"
    message = f"train a policy that starts from it with `tempovla train vla --pretrained-vlm {checkpoint}`"
    assert message in fails("eval", "offline", "--checkpoint", checkpoint)
    if pytest.importorskip("metaworld"):
        assert message in fails("eval", "metaworld", "--checkpoint", checkpoint, "--tasks", "push-v3")


@pytest.mark.parametrize("config", ["vlm_align_tiny.yaml", "vlm_siglip_qwen2.yaml"])
def test_the_configs_read(config):
    parser = build("train align", "")
    args = parser.instantiate(parser.parse_args(["--config", str(CONFIGS / config)]))
    recipe = VLMRecipe(args.data, args.transform, args.model, args.training)
    if config == "vlm_align_tiny.yaml":
        model = build_model(recipe, "align")
        learning = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        assert learning == sum(weight.numel() for weight in model.vlm.projector.parameters())
        assert sum(weight.numel() for weight in model.parameters()) < 1e6
    assert recipe.model.vlm.language.lm_head is False  # the stage sets it


@pytest.mark.parametrize(
    ("taught", "acting"), [("vlm_align_tiny", "vla_metaworld"), ("vlm_siglip_qwen2", "vla_siglip_qwen2")]
)
def test_the_policy_of_a_config_starts_from_the_model_of_another(taught, acting):
    models = []
    for command, config in (("train instruct", taught), ("train vla", acting)):
        parser = build(command, "")
        vlm = parser.instantiate(parser.parse_args(["--config", str(CONFIGS / f"{config}.yaml")])).model.vlm
        models.append([vlm.vision, vlm.projector, vlm.projector_options, vlm.language])
    assert models[0] == models[1]


def test_a_printed_config_reads_back(tmp_path, tempovla, small):
    first = tempovla("train", "align", *small, "--max_text_tokens", 20, "--model.lora.r", 4, "--print_config")
    printed = yaml.safe_load(first.out)
    assert printed["transform"]["max_text_tokens"] == 20
    assert printed["data"]["image_root"] == str(tmp_path / "captions")
    (tmp_path / "mine.yaml").write_text(first.out)
    assert tempovla("train", "align", "--config", tmp_path / "mine.yaml", "--print_config").out == first.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "none.jsonl"], "none.jsonl: no such file; give a JSONL file"),
        (["--image-root", "none"], "none: no such folder; give the one that holds the images"),
        (["--model.lora.r", "4"], "model.lora is set, but align trains the projector alone"),
        (["--learn_vision", "true"], "training.learn_vision is set, but align trains the projector alone"),
        (["--max_text_tokens", "3"], "conversations.jsonl:1: its first prompt has 5 tokens"),
        (["--pretrained-vlm", "absent"], "absent: holds no model.safetensors or weights.safetensors"),
        (["--transform.templat", "plain"], "did you mean --transform.template?"),
        (["--model.vlm.num_cameras", "2"], "num_cameras=2: a conversation has one picture; set it to 1"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, fails, small, arguments, message):
    assert message in fails("train", "align", *small, "--output-dir", tmp_path / "run", *arguments)


def test_a_line_that_is_wrong_is_named(tmp_path, fails, small):
    path = write_conversations(tmp_path / "captions", [item(), item(image="gone.png")])
    message = fails("train", "instruct", *small, "--output-dir", tmp_path / "run")
    assert message.startswith(f"{path}:2: 'image' 'gone.png' is no file in {tmp_path / 'captions'}; add it")


KINDS = ["ddp", "fsdp"] + ["fsdp-lora"] * (importlib.util.find_spec("peft") is not None)


def instruct(kind: str, run: Path, batch_size: int) -> list[str]:
    """The command line of a kind, whose files lie beside the run's folder; batches are of one process."""
    settings = ["--training.log_interval", 1, "--training.weight_decay", 0, "--training.parallel", kind.split("-")[0]]
    settings += ["--model.lora.r", 2] if kind == "fsdp-lora" else []
    command = ["train", "instruct", *arguments_in(run.parent), *settings, "--batch_size", batch_size]
    return [str(word) for word in (*command, "--output-dir", run)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, nursery) -> Path:
    """What two processes trained, by kind."""
    folder = tmp_path_factory.mktemp("pairs")
    nursery.run(2, "tests.unit.cli.session:main_all", [instruct(kind, folder / kind, 2) for kind in KINDS])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_processes_learn_what_one_does_with_the_batches_of_all(tmp_path, tempovla, pairs, kind):
    with smooth_steps():
        assert tempovla(*instruct(kind, tmp_path / "one", 4)).code == 0
    runs = tmp_path / "one", pairs / kind
    one, two = map(read_metrics, runs)
    for left, right in zip(one, two, strict=True):
        names = [name for name in ("total", "caption_loss", "token_accuracy", "texts_cut", "grad_norm") if name in left]
        assert len(names) == 5
        assert [right[name] for name in names] == pytest.approx(
            [left[name] for name in names], rel=tolerance(), abs=1e-5
        )
    bundles = [Bundle.load(run / "checkpoint_latest") for run in runs]
    torch.testing.assert_close(dict(bundles[1].weights), dict(bundles[0].weights), rtol=1e-4, atol=1e-5)

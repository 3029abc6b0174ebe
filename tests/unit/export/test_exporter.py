"""Exported files compute what the checkpoint does; what cannot be exported is refused; nothing is left half done."""

from __future__ import annotations

import json
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests import openvla_tiny
from tests.contract.policy_cases import WRIST, vla
from tests.contract.toys import ACTION, FRONT, STATE
from tests.exported import check_acts_alike
from tests.unit.export import bundles
from tests.unit.export.bundles import CASES, save, tiny_bundle, traced_once
from tests.unit.export.every_part import every_part
from torch.export import export

from tempovla.control.exported import operators
from tempovla.control.exported.policy import ExportedPolicy
from tempovla.control.exported.runners import RUNNERS, run_torchscript
from tempovla.export import exporter
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.export.formats import FORMATS, TorchScriptFormat
from tempovla.model.action_head.base import ActionHeadBase
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.storage.lock import holding
from tempovla.storage.problems import NotWrittenError
from tempovla.storage.whole import working_folder
from tempovla.timeline import Bundle, Embodiment, Window
from tempovla.timeline.config import config_to_json
from tempovla.transform.blind import BlankImages
from tempovla.transform.image import ResizeImages
from tempovla.transform.text import HashedNgramEmbedder
from tempovla.transform.tokenizer import WordTokenizer

SCRIPT = ExportConfig("torchscript")


def needs(name: str) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if name == "diffusion":
        pytest.importorskip("diffusers")


def check(exported: exporter.Exported) -> None:
    """It ran for batches of 1, 2 and 5 rows, none of which was traced, and gave what PyTorch gives."""
    assert list(exported.differences) == [1, 2, 5]
    assert max(exported.differences.values()) <= 1e-4
    assert exported.file.is_file()
    assert {path.name for path in exported.file.parent.iterdir()} == {exported.file.name, f"{exported.file.name}.json"}


@pytest.mark.slow
def test_onnx_gives_what_pytorch_gives_for_any_batch_whatever_the_parts(tmp_path):
    needs("diffusion")
    with every_part() as name:
        config = ExportConfig(noise="numbers")
        check(export_checkpoint(save(tmp_path, name), tmp_path / "onnx" / "policy.onnx", config))


@pytest.mark.parametrize("name", [name for name in CASES if name != "mamba"])
def test_torchscript_gives_what_pytorch_gives_for_any_batch(tmp_path, name):
    if name == "diffusion":
        pytest.importorskip("diffusers")
    check(export_checkpoint(save(tmp_path, name), tmp_path / "script" / "policy.pt", SCRIPT))


@contextmanager
def full_disk():
    """No file may exceed 4 kB, which is less than any graph takes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["torchscript", "torch-export"])
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, name):
    class Doubles(torch.nn.Module):
        def forward(self, x):
            return x * torch.arange(2048.0)

    monkeypatch.setattr("tempovla.export.formats.export_program", lambda policy, example: export(policy, (*example,)))
    target, example = tmp_path / "policy", [torch.ones(1, 2048)]
    told = pytest.raises(NotWrittenError, match=rf"^{target}: not written \(File too large\); free some space and try")
    with told, full_disk(), holding(target, "exports", remedy="wait"), working_folder(target) as staging:
        FORMATS[name].write(Doubles().eval(), example, staging / "policy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "mamba"])
def test_torch_export_gives_what_pytorch_gives_for_any_batch(tmp_path, name):
    with traced_once(name):
        check(export_checkpoint(save(tmp_path, name), tmp_path / "graph" / "policy.pt2", ExportConfig("torch-export")))


@pytest.mark.slow
def test_a_scan_over_time_is_one_node_of_onnx_however_long_it_is(tmp_path):
    onnx = pytest.importorskip("onnx")
    needs("mamba")
    with traced_once("mamba"):
        exported = export_checkpoint(save(tmp_path, "mamba"), tmp_path / "onnx" / "policy.onnx")
    check(exported)
    kinds = [node.op_type for node in onnx.load(exported.file).graph.node]
    policy = CASES["mamba"].build()
    flow = policy.config.flow_steps * policy.config.policy_layers
    assert kinds.count("Scan") == policy.config.encoder_depth + flow


def test_random_numbers_may_be_inputs(tmp_path):
    config = ExportConfig("torchscript", noise="numbers")
    exported = export_checkpoint(save(tmp_path, "transformer"), tmp_path / "script" / "policy.pt", config)
    check(exported)
    shapes = {spec.name: spec.shape for spec in exported.sidecar.inputs}
    assert (shapes["normal"], shapes["uniform"]) == ((2, 4), (2,))
    assert "seed" not in shapes


def test_inputs_are_raw_observations_and_a_head_without_noise_asks_for_none(tmp_path):
    exported = export_checkpoint(save(tmp_path, "mlp"), tmp_path / "script", SCRIPT)
    assert [spec.to_json() for spec in exported.sidecar.inputs] == [
        {"name": FRONT, "shape": ["batch", 3, 21, 27], "dtype": "uint8"},
        {"name": WRIST, "shape": ["batch", 3, 32, 32], "dtype": "uint8"},
        {"name": STATE, "shape": ["batch", 3], "dtype": "float32"},
        {"name": "instruction_tokens", "shape": ["batch", 6], "dtype": "int64"},
    ]
    assert exported.sidecar.output.to_json() == {"name": ACTION, "shape": ["batch", 5, 4], "dtype": "float32"}


def test_a_blind_policy_takes_no_pictures(tmp_path):
    checkpoint = save(tmp_path, "statevla", image=BlankImages((FRONT, WRIST), 16))
    exported = export_checkpoint(checkpoint, tmp_path / "script", SCRIPT)
    check(exported)
    assert [spec.name for spec in exported.sidecar.inputs] == [STATE, "language", "seed", "decision"]


def test_pictures_of_another_size_and_those_that_the_model_pads_itself(tmp_path):
    given = ExportConfig("torchscript", image_shapes={"wrist": (16, 16), "": (35, 27)})
    exported = export_checkpoint(save(tmp_path, "mlp"), tmp_path / "given", given)
    check(exported)
    assert [spec.shape for spec in exported.sidecar.inputs[:2]] == [(3, 35, 27), (3, 16, 16)]
    checkpoint = save(tmp_path, "gaussian", image=ResizeImages(None))
    same = ExportConfig("torchscript", image_shapes={"": (24, 32)})
    check(export_checkpoint(checkpoint, tmp_path / "own", same))


@pytest.mark.parametrize("shape", [(480, 640), (100, 160)])
def test_pictures_of_any_size_are_compared_behind_their_resizing(tmp_path, shape):
    """Where the mean of pixels lies halfway between two levels, two ways of summing round it to one or the other."""
    config = ExportConfig("torchscript", image_shapes={"": shape})
    exported = export_checkpoint(save(tmp_path, "flow_matching"), tmp_path / "script", config)
    assert max(exported.differences.values()) <= 1e-5


def test_pictures_that_are_resized_otherwise_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempovla.export.deployed._bilinear", lambda side, size: torch.full((size, side), 1 / side))
    with pytest.raises(
        ValueError, match=r"pictures of '.*front' that the exported policy makes differ .* by up to \d+"
    ):
        export_checkpoint(save(tmp_path, "mlp"), tmp_path / "script", SCRIPT)
    assert not (tmp_path / "script").exists()


@pytest.mark.parametrize(("name", "length"), [("mlp", 6), ("statevla", 12)])
def test_the_sidecar_holds_the_instructions_of_training_as_the_graph_takes_them(tmp_path, name, length):
    exported = export_checkpoint(save(tmp_path, name), tmp_path / "script", SCRIPT)
    said = json.loads((exported.file.parent / f"{exported.file.name}.json").read_text())["encoded_instructions"]
    assert list(said) == bundles.INSTRUCTIONS
    assert [len(numbers) for numbers in said.values()] == [length] * 2
    if name == "mlp":
        assert said["open the drawer"] == [*WordTokenizer(16).encode("open the drawer"), -1, -1, -1]
    else:
        assert torch.equal(
            torch.tensor(said["push the red button"]), HashedNgramEmbedder(12).embed(["push the red button"])[0]
        )


def test_a_checkpoint_that_knows_no_instruction_tells_none(tmp_path):
    exported = export_checkpoint(save(tmp_path, "mlp", provenance={"instructions": []}), tmp_path / "script", SCRIPT)
    assert "encoded_instructions" not in exported.sidecar.figures


def test_an_operator_that_files_may_not_have_is_told_at_the_export(tmp_path, monkeypatch):
    monkeypatch.setattr(operators, "TENSOR_OPERATORS", operators.TENSOR_OPERATORS - {"gelu"})
    message = "cannot be run as torchscript: its code calls 'torch.gelu', which is not arithmetic; choose onnx"
    with pytest.raises(ValueError, match=message):
        export_checkpoint(save(tmp_path, "mlp"), tmp_path / "script", SCRIPT)
    assert not (tmp_path / "script").exists()


def test_adapters_are_merged(tmp_path):
    pytest.importorskip("peft")
    policy = CASES["mlp"].build()
    policy.enable_lora(r=2, alpha=4.0)
    torch.nn.init.normal_(policy.vlm.language.decoder.layers[0].self_attn.q_proj.lora_B["default"].weight)
    plain = tiny_bundle("mlp")
    fields = {**vars(plain), "config": config_to_json(policy.config), "weights": policy.state_dict()}
    Bundle(**fields).save(tmp_path / "lora")
    check(export_checkpoint(tmp_path / "lora", tmp_path / "script", SCRIPT))


def shifted(path, inputs):
    """Answers a little more than it should, for five rows."""
    run = run_torchscript(path, inputs)
    return lambda tensors: (run(tensors)[0] + 2e-4 * (len(tensors[0]) == 5),)


def test_a_file_that_differs_is_not_written_and_what_was_there_stays(tmp_path, monkeypatch):
    checkpoint = save(tmp_path, "mlp")
    out = tmp_path / "script" / "policy.pt"
    first = export_checkpoint(checkpoint, out, SCRIPT)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    monkeypatch.setitem(RUNNERS, "torchscript", shifted)
    with pytest.raises(ValueError, match=r"differs from PyTorch by 0.0067 of .* for 5 rows, more than tolerance"):
        export_checkpoint(checkpoint, tmp_path / "other" / "policy.pt", SCRIPT)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="nothing was written"):
        export_checkpoint(checkpoint, out, SCRIPT)
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before
    assert ExportedPolicy(first.file).sidecar.file_sha256 == first.sidecar.file_sha256


@pytest.mark.parametrize("broken", ["write", "load"])
def test_an_interruption_leaves_nothing(tmp_path, monkeypatch, broken):
    class Interrupted(TorchScriptFormat):
        def write(self, policy, example, path: Path):
            done = super().write(policy, example, path)
            if broken == "write":
                raise KeyboardInterrupt
            return done

    def interrupted(path, inputs):
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "torchscript", Interrupted())
    monkeypatch.setitem(RUNNERS, "torchscript", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(save(tmp_path, "mlp"), tmp_path / "script" / "policy.pt", SCRIPT)
    assert not (tmp_path / "script").exists()


def test_a_policy_that_answers_nan_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tempovla.model.vla.weights.check_learned", lambda weights, where: None)
    bundle = tiny_bundle("mlp")
    name = next(name for name in bundle.weights if name.startswith("action_head.") and name.endswith("bias"))
    bundle.weights[name].fill_(torch.nan)
    bundle.save(tmp_path / "nan")
    with pytest.raises(ValueError, match="by nan of a normalised action"):
        export_checkpoint(tmp_path / "nan", tmp_path / "script", SCRIPT)


@pytest.mark.slow
def test_large_weights_go_into_a_second_file(tmp_path, monkeypatch):
    needs("mlp")
    monkeypatch.setattr("tempovla.export.formats.LARGEST_ONNX_FILE", 0)
    checkpoint = save(tmp_path, "mlp")
    with traced_once("mlp"):
        exported = export_checkpoint(checkpoint, tmp_path / "onnx" / "policy.onnx")
    assert list(exported.differences) == [1, 2, 5]
    names = sorted(path.name for path in exported.file.parent.iterdir())
    assert names == ["policy.onnx", "policy.onnx.data", "policy.onnx.json"]
    assert ExportedPolicy(exported.file).sidecar.figures["difference"]["largest"] <= 1e-4
    check_acts_alike(exported.file, checkpoint)


class LookingHead(ActionHeadBase):
    """Decides in Python on what a tensor holds, which no graph can."""

    def sample(self, features, generator=None, *, feature_valid=None):
        pooled = self.pooled(features, feature_valid)
        low = bool((pooled > 0).any())
        return pooled.new_full((len(pooled), self.action_horizon, self.action_dim), float(low))


def test_what_torch_cannot_export_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(ACTION_HEAD_REGISTRY, "looking", LookingHead)
    monkeypatch.setitem(bundles.CASES, "looking", vla("looking", (), {"has_gripper": False}))
    with pytest.raises(ValueError, match=r"torch cannot export this policy as torch-export \(.*--debug") as error:
        export_checkpoint(save(tmp_path, "looking"), tmp_path / "graph", ExportConfig("torch-export"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "graph").exists()


def openvla(folder: Path) -> Path:
    policy = openvla_tiny.tiny_policy(action_dim=4)
    fields = config_to_json(policy.config)
    transform = tiny_bundle("mlp").transform
    body = Embodiment("toy", 3, 4, 10.0)
    Bundle("openvla", fields, policy.windows(), body, transform, policy.state_dict()).save(folder / "openvla")
    return folder / "openvla"


def refusal(checkpoint: Path, out: Path, config: ExportConfig = SCRIPT) -> str:
    with pytest.raises(ValueError, match=r".+") as error:
        export_checkpoint(checkpoint, out, config)
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_exported_is_refused_and_what_can_is_named(tmp_path, monkeypatch):
    out = tmp_path / "out"
    said = refusal(openvla(tmp_path), out)  # before the sizes of its pictures, which are not known, are asked for
    assert "policy 'openvla' cannot be exported: it writes its actions word by word" in said
    assert "policies 'sagr', 'smolvla', 'statevla' and 'vla' can" in said
    said = refusal(save(tmp_path, "mamba"), out)
    assert "Mamba layers cannot be exported as torchscript" in said
    assert "choose onnx or torch-export" in said
    long = vla("transformer", (), {"action_horizon": 40}, num_bins=4, max_seq_len=200)
    monkeypatch.setitem(bundles.CASES, "long", long)
    assert "a transformer head of 160 tokens cannot be exported" in refusal(save(tmp_path, "long"), out)
    cropped = {"steps": [*tiny_bundle("mlp").transform["steps"], {"name": "crop_images", "area": 0.9}]}
    Bundle(**{**vars(tiny_bundle("mlp")), "transform": cropped}).save(tmp_path / "cropped")
    assert "transforms ['crop_images'] cannot be exported; those that can" in refusal(tmp_path / "cropped", out)
    several = {"steps": [{"name": "per_dataset", "views": []}]}
    Bundle(**{**vars(tiny_bundle("mlp")), "transform": several}).save(tmp_path / "several")
    assert "learned from several datasets cannot be exported" in refusal(tmp_path / "several", out)
    assert "phase 1 has not learned to act" in refusal(save(tmp_path, "statevla", provenance={"phase": 1}), out)
    plain = tiny_bundle("mlp")
    past = (Window(STATE, (-1, 0)), *plain.windows[1:])
    Bundle(**{**vars(plain), "windows": past}).save(tmp_path / "past")
    assert f"it reads the past of ['{STATE}']" in refusal(tmp_path / "past", out)


def test_mistakes_are_named_in_one_line(tmp_path):
    checkpoint, out = save(tmp_path, "mlp"), tmp_path / "out"
    assert "does not end in .pt" in refusal(checkpoint, out / "policy.onnx")
    unknown = save(tmp_path / "unknown", "mlp", provenance={"image_shapes": {}})
    assert f"how large the pictures of '{FRONT}' are; give --image_size" in refusal(unknown, out)
    with pytest.raises(ValueError, match=r"format 'onx' is unknown; choose from onnx, torchscript, torch-export"):
        ExportConfig("onx")
    with pytest.raises(ValueError, match=r"tolerance=0 must be above 0"):
        ExportConfig(tolerance=0)
    with pytest.raises(ValueError, match=r"noise='inside' is unknown"):
        ExportConfig(noise="inside")


@pytest.mark.parametrize("name", ["mlp", "statevla"])
def test_a_checkpoint_whose_transforms_have_lost_the_words_is_named(tmp_path, name):
    file = save(tmp_path, name) / "transform.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"steps": kept["steps"][:-1]}))
    message = refusal(file.parent, tmp_path / "out")
    assert message.startswith(f"{file.parent}: ")
    assert message.endswith("which its policy reads; copy the checkpoint again")


def test_the_sidecar_says_all_that_is_needed(flow_script):
    said = json.loads((flow_script.file.parent / f"{flow_script.file.name}.json").read_text())
    assert flow_script.file.name == "policy.pt"
    assert said["format"] == "torchscript"
    assert said["instruction"]["name"] == "tokenize_instruction"
    assert said["instruction"]["tokenizer"] == {"kind": "words", "vocab_size": 16}
    assert said["instruction"]["max_length"] == 6
    assert said["difference"]["largest"] == max(flow_script.differences.values())
    assert set(said["difference"]["by_batch_size"]) == {"1", "2", "5"}
    assert said["embodiment"]["name"] == "toy"
    assert said["windows"][-1] == {"key": ACTION, "offsets": [0, 1, 2, 3, 4]}
    assert said["versions"].keys() == {"tempovla", "torch"}
    assert len(said["checkpoint_sha256"]) == len(said["file_sha256"]) == 64

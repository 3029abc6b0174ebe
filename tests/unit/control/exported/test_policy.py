"""An exported file acts as its checkpoint does, decision after decision."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tests.contract.policy_cases import WRIST
from tests.contract.toys import FRONT, STATE
from tests.exported import check_acts_alike, raw_context
from tests.foreign import edit_json
from tests.unit.export.bundles import save, traced_once

from tempovla.control.exported.policy import ExportedPolicy
from tempovla.control.exported.sidecar import sidecar_path
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.timeline import Track


def test_it_acts_as_the_controller_does(flow_script, flow_checkpoint):
    check_acts_alike(flow_script.file, flow_checkpoint)


@pytest.mark.slow
def test_onnx_with_the_sampling_loop_inside_acts_as_the_controller_does(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    checkpoint = save(tmp_path, "statevla")
    with traced_once("statevla"):
        exported = export_checkpoint(checkpoint, tmp_path / "policy.onnx")
    assert list(exported.differences) == [1, 2, 5]
    assert max(exported.differences.values()) <= 1e-4
    assert exported.sidecar.figures["opset"] >= 18
    check_acts_alike(exported.file, checkpoint)
    edit_json(sidecar_path(exported.file), lambda description: description["inputs"].pop())
    with pytest.raises(ValueError, match=r"policy.onnx: takes the inputs \[.*\], but its description names \["):
        ExportedPolicy(exported.file)


def test_statevla_is_told_its_instruction_as_a_vector(tmp_path):
    checkpoint = save(tmp_path, "statevla")
    file = export_checkpoint(checkpoint, tmp_path / "script", ExportConfig("torchscript")).file
    check_acts_alike(file, checkpoint)


def test_observations_that_it_cannot_take_are_refused(flow_script):
    policy = ExportedPolicy(flow_script.file)
    state, context = policy.initial_state(3), raw_context(0, [True] * 3)

    def refusal(key: str, track: Track | None) -> str:
        now = {**context.now, key: track} if track is not None else {k: v for k, v in context.now.items() if k != key}
        with pytest.raises(ValueError, match=r".+") as error:
            policy.act(replace(context, now=now), state)
        return str(error.value)

    small = Track.of(torch.zeros(3, 1, 16, 16, 3, dtype=torch.uint8), (0,))
    takes = (
        f"stream '{FRONT}' has pictures %s, but the file takes (height, width, RGB) = (21, 27, 3) uint8; give them so"
    )
    assert refusal(FRONT, small).endswith(
        f"{takes % '(16, 16, 3) torch.uint8'}, or export again with `tempovla export --image_size 16x16`"
    )
    turned = Track.of(torch.zeros(3, 1, 3, 21, 27, dtype=torch.uint8), (0,))
    assert refusal(FRONT, turned).endswith(takes % "(3, 21, 27) torch.uint8")
    seven = Track.of(torch.zeros(3, 1, 7), (0,))
    assert f"stream '{STATE}' is (7,), but the file takes (" in refusal(STATE, seven)
    assert f"the policy needs streams ['{WRIST}'], but is given" in refusal(WRIST, None)
    earlier = replace(context.now[STATE], offset=torch.tensor([-1]))
    assert f"reads stream '{STATE}' in the context's `now` at offset 0, but is given it in `now` at [-1]" in refusal(
        STATE, earlier
    )
    unseen = Track(context.now[STATE].value, torch.tensor([[True], [False], [True]]), torch.tensor([0]))
    assert f"stream '{STATE}' is not valid in every row" in refusal(STATE, unseen)
    broken = context.now[STATE].value.clone()
    broken[1, 0, 2] = torch.nan
    assert f"row 1 has nan in dimension 2 of '{STATE}'; give finite numbers" in refusal(STATE, Track.of(broken, (0,)))
    with pytest.raises(ValueError, match=r"input 'observation.images.front' is missing"):
        policy.run({})
    inputs = {spec.name: torch.zeros(3, *spec.shape, dtype=spec.torch_dtype) for spec in policy.sidecar.inputs}
    with pytest.raises(ValueError, match=r"is \(3, 3, 16, 16\) torch.uint8, but was exported as .*; give it so$"):
        policy.run(inputs | {FRONT: torch.zeros(3, 3, 16, 16, dtype=torch.uint8)})


def test_a_sidecar_without_the_step_for_words_is_named(flow_script, tmp_path):
    for name in (flow_script.file.name, f"{flow_script.file.name}.json"):
        (tmp_path / name).write_bytes((flow_script.file.parent / name).read_bytes())
    sidecar = tmp_path / f"{flow_script.file.name}.json"
    said = json.loads(sidecar.read_text())
    said["transform"]["steps"] = [step for step in said["transform"]["steps"] if "instruction" not in step["name"]]
    sidecar.write_text(json.dumps(said))
    with pytest.raises(ValueError, match=r"policy.pt.json: not readable .no step .* gives 'instruction_tokens'"):
        ExportedPolicy(tmp_path / flow_script.file.name)


@pytest.mark.parametrize("kind", ["torchscript", "torch-export"])
def test_a_description_with_other_inputs_than_the_file_is_refused(tmp_path, kind):
    with traced_once("statevla"):
        exported = export_checkpoint(save(tmp_path, "statevla"), tmp_path / "file", ExportConfig(kind))
    edit_json(sidecar_path(exported.file), lambda description: description["inputs"].pop())
    with pytest.raises(ValueError, match=r"takes \d inputs, but its description names \[.*\]; export it again"):
        ExportedPolicy(exported.file)


def test_a_description_with_fewer_actions_than_the_file_gives_is_refused(flow_script, tmp_path):
    for name in (flow_script.file.name, f"{flow_script.file.name}.json"):
        (tmp_path / name).write_bytes((flow_script.file.parent / name).read_bytes())

    def shorten(description):
        next(window for window in description["windows"] if window["key"] == "action")["offsets"].pop()

    edit_json(tmp_path / f"{flow_script.file.name}.json", shorten)
    with pytest.raises(ValueError, match=r"outputs are \d actions, but windows name \d steps of actions; copy"):
        ExportedPolicy(tmp_path / flow_script.file.name)


def test_a_file_that_takes_random_numbers_does_not_act_by_itself(tmp_path):
    config = ExportConfig("torchscript", noise="numbers")
    exported = export_checkpoint(save(tmp_path, "gaussian"), tmp_path / "script", config)
    with pytest.raises(
        ValueError, match=r"takes its random numbers as inputs, .* export it again with `tempovla export --noise seed`"
    ):
        ExportedPolicy(exported.file)

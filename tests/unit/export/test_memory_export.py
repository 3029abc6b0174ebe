"""Policies that remember, exported: what they remember goes in and out of the graph, row by row."""

from __future__ import annotations

import json
import re
import runpy
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contract.policy_cases import CONTEXTS, remembering, sagr, statevla, vla
from tests.contract.registry import POLICIES
from tests.contract.toys import ACTION, FRONT
from tests.exported import raw_context
from tests.tiny import tiny_sagr_config
from tests.unit.export import bundles
from tests.unit.export.bundles import DEPTHS, IMAGE_SHAPES, MOMENTS, save, tiny_bundle, traced_once

import tempovla
from tempovla.control.controller import Controller
from tempovla.control.exported.memory import NEXT
from tempovla.control.exported.policy import ExportedPolicy
from tempovla.export.comparison import Reference, largest_differences
from tempovla.export.deployed import DeployedPolicy
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.export.memory_tensors import memory_specs, memory_state, named_tensors
from tempovla.model.sensor import DepthGeometryConfig, PointTokensConfig
from tempovla.timeline import Bundle, Context, Track
from tempovla.transform.blind import BlankImages

PLAIN = {"has_gripper": False}
FEEDBACK = {"enable_causal_feedback_token": True}
TOGETHER = {
    "mamba, history and buffer": CONTEXTS["mamba"] | CONTEXTS["history"] | CONTEXTS["buffer"],
    "transformer and hierarchical": CONTEXTS["transformer"] | CONTEXTS["hierarchical"],
    "gru and buffer": CONTEXTS["gru"] | CONTEXTS["buffer"],
    "lstm and retrieval": CONTEXTS["lstm"] | CONTEXTS["retrieval"],
}
DEPTH_GEOMETRY = DepthGeometryConfig(tokens=PointTokensConfig(grid=2, output_dim=8, hidden_dim=8))
CASES = {
    **{kind: vla("mlp", (), remembering(**parts) | PLAIN) for kind, parts in {**CONTEXTS, **TOGETHER}.items()},
    "flow": vla("flow_matching", (), remembering(**CONTEXTS["all"]) | PLAIN, num_steps=2),
    "statevla": statevla(
        2, (), encoder_type="transformer", policy_type="transformer", **remembering(**CONTEXTS["all"])
    ),
    "smolvla": POLICIES["smolvla-all"],
    "sagr-replan": sagr(has_gripper=False, replan=True, enable_causal_feedback_token=True, vlm=tiny_sagr_config().vlm),
    "sagr-drift": sagr(has_gripper=False),
    "sagr-feedback": sagr(has_gripper=False, use_drift=False, loss_w_dyn=0.0, loss_w_geo=0.0, **FEEDBACK),
    "sagr-v4": sagr(has_gripper=False, replan=True, robot_state_dim=None, algorithm_version="v4"),
    "sagr-vision": sagr(
        has_gripper=False, world_target="vision", world_target_encoder="ema", world_detach_input=False, replan=True
    ),
    "sagr-depth": sagr(has_gripper=False, replan=True, geometry=DEPTH_GEOMETRY, geometry_heads=2),
    "sagr-latent": POLICIES["sagr-geometry"],
    "sagr-state": sagr(has_gripper=False, world_target="state"),
}
SIZE = (32, 32)
"""Of all pictures, halved by the transforms: the very same arithmetic in the file."""
SCRIPT, STRIDE, ROWS = ExportConfig("torchscript", image_shapes={"": SIZE}), 2, 3
DECISIONS = 30
"""Each row begins anew at least twice."""
DEPTH_SHAPES = {"image_shapes": IMAGE_SHAPES | {FRONT: [*SIZE, 3]} | {key: [*SIZE, 1] for key in DEPTHS}}
"""What the provenance of a policy that was trained with depth holds."""
SHAPES = {key: (shape[0], shape[1]) for key, shape in IMAGE_SHAPES.items()} | dict.fromkeys(DEPTHS, SIZE)


@pytest.fixture(autouse=True)
def cases(monkeypatch):
    for name, case in CASES.items():
        monkeypatch.setitem(bundles.CASES, name, case)


def with_depth(context: Context, seed: int) -> Context:
    """A context with depth [m], a tenth of whose pixels have no reading."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(DEPTHS), context.batch_size, 1, *SIZE, 1)
    seen = (torch.rand(shape, generator=generator) > 0.1) * torch.rand(shape, generator=generator) * 3
    return replace(context, now=context.now | {key: Track.of(seen[at], (0,)) for at, key in enumerate(DEPTHS)})


def observation() -> dict[str, object]:
    """What one robot with depth sees, as its user gives it."""
    seen = with_depth(raw_context(0, [True], rows=1, front=SIZE), 0).now
    return {key: track.value[0, 0].numpy() for key, track in seen.items()} | {"task": bundles.INSTRUCTIONS[0]}


def largest_difference(file, checkpoint) -> float:
    """Of a normalised action, over decisions of three rows that begin anew at different times."""
    actors = [ExportedPolicy(file), Controller.from_bundle(Bundle.load(checkpoint))]
    assert [actor.frame_stride for actor in actors] == [STRIDE, STRIDE]
    assert actors[0].windows == actors[1].windows
    states = [actor.with_seeds(actor.initial_state(ROWS), [3, 4, 5]) for actor in actors]
    scale, largest = torch.tensor(MOMENTS[ACTION][1]), 0.0
    done = torch.zeros(ROWS, STRIDE, 4)
    for step in range(DECISIONS):
        first = [step % (7 + 4 * row) == 0 for row in range(ROWS)]
        taken = ~torch.tensor(first)[:, None].expand(ROWS, STRIDE)
        past = {ACTION: Track.of(done, range(-STRIDE, 0), taken)}
        context = with_depth(replace(raw_context(step, first, front=SIZE), past=past), step)
        chunks = []
        for place, actor in enumerate(actors):
            chunk, states[place] = actor.act(context, states[place])
            chunks.append(chunk.value)
        largest = max(largest, float(((chunks[0] - chunks[1]) / scale).abs().max()))
        done = chunks[1][:, :STRIDE]
    return largest


@pytest.mark.parametrize(
    "name",
    [
        "flow",
        "transformer and hierarchical",
        "gru and buffer",
        "frames",
        "retrieval",
        "statevla",
        "smolvla",
        "sagr-replan",
    ],
)
def test_a_file_gives_what_pytorch_gives_over_30_decisions_with_rows_that_begin_anew(tmp_path, name):
    checkpoint = save(tmp_path, name)
    exported = export_checkpoint(checkpoint, tmp_path / "script", SCRIPT)
    assert list(exported.differences) == [1, 2, 5]
    assert largest_difference(exported.file, checkpoint) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("onnx", "mamba, history and buffer"),
        ("onnx", "lstm and retrieval"),
        ("onnx", "sagr-depth"),
        ("torch-export", "lstm and retrieval"),
    ],
)
def test_so_do_the_files_of_onnx_and_torch_export(tmp_path, kind, name):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    checkpoint = save(tmp_path, name)
    with traced_once(name):
        exported = export_checkpoint(checkpoint, tmp_path / kind, replace(SCRIPT, format=kind))
    assert largest_difference(exported.file, checkpoint) <= 1e-5


@pytest.mark.parametrize("name", CASES)
def test_the_module_that_is_exported_remembers_as_the_policy_does(name):
    bundle = tiny_bundle(name)
    deployed, reference = DeployedPolicy(bundle, SHAPES).eval(), Reference(bundle)
    with torch.no_grad():
        differences = largest_differences(reference, deployed, lambda tensors: deployed(*tensors), (2, 5))
    assert max(differences.values()) <= 1e-5


@pytest.mark.parametrize("name", ["lstm", "working", "all", "sagr-drift"])
def test_what_is_remembered_matters_until_a_row_begins_anew(name):
    bundle = tiny_bundle(name)
    deployed, reference = DeployedPolicy(bundle, SHAPES).eval(), Reference(bundle)
    with torch.no_grad():
        _, *memory = deployed(*reference.observe(deployed, 2, seed=1, first=torch.tensor([True, True])).tensors)
        begins = torch.tensor([False, True])
        fresh, known = (
            deployed(*reference.observe(deployed, 2, 0, begins, given).tensors)[0] for given in (None, memory)
        )
    assert (fresh[0] - known[0]).abs().max() > 1e-4
    assert torch.equal(fresh[1], known[1])


def test_the_sidecar_names_what_is_remembered_and_how_it_begins(tmp_path):
    exported = export_checkpoint(save(tmp_path, "all"), tmp_path / "script", SCRIPT)
    said = json.loads((exported.file.parent / f"{exported.file.name}.json").read_text())
    assert said["frame_stride"] == STRIDE
    inputs, outputs = ([spec["name"] for spec in said[key]] for key in ("inputs", "outputs"))
    assert inputs[4:7] == ["executed_actions", "executed_valid", "first"]
    assert outputs[0] == ACTION
    remembered = [entry["input"] for entry in said["state"]]
    assert inputs[7:] == remembered
    assert outputs[1:] == [entry["output"] for entry in said["state"]] == [NEXT + name for name in remembered]
    assert {entry["initial"] for entry in said["state"]} == {0}
    assert {"state.temporal.hidden", "state.history.waiting"} <= set(remembered)
    assert {name.split(".")[1] for name in remembered} == {"temporal", "history", "memory"}


def test_the_page_names_the_inputs_in_the_order_of_the_exporter():
    page = (Path(__file__).parents[3] / "docs" / "systems" / "export.md").read_text()
    observed, remembered = page.split("## Inputs\n")[1], page.split("## Policies that remember\n")[1]
    rows = [line.split(" | ")[0] for text in (observed, remembered) for line in table_of(text)]
    patterns = [name.replace(".", r"\.").replace("*", ".*") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    deployed = DeployedPolicy(tiny_bundle("sagr-depth"), SHAPES)
    names = [spec.name for spec in deployed.inputs]
    places = [[at for at, pattern in enumerate(patterns) if re.fullmatch(pattern, name)][:1] for name in names]
    assert [] not in places, names
    assert places == sorted(places), names
    assert {"observation.state", "executed_actions", "executed_valid", "first"} < set(names)


def table_of(text: str) -> list[str]:
    """The rows of the first table."""
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|---"))
    return list(takewhile(lambda line: line.startswith("|"), lines[start + 1 :]))


CHANGES = {
    "state names 'state.none', which is no input": lambda said: said["state"][0].update(input="state.none"),
    "initial of state '.*' is inf, not a number": lambda said: said["state"][0].update(initial=float("inf")),
    "state names .*, one of them twice": lambda said: said["state"].append(said["state"][0]),
    r"state '.*' is \(4294967296,\), which no memory is": lambda said: said["inputs"][-1].update(
        shape=["batch", 2**32]
    ),
    "initial of state '.*' is '0', not a number": lambda said: said["state"][0].update(initial="0"),
    "frame_stride is None, not a number of control steps": lambda said: said.update(frame_stride=None),
}


def test_a_sidecar_that_does_not_fit_is_refused(tmp_path):
    exported = export_checkpoint(save(tmp_path, "gru"), tmp_path / "script", SCRIPT)
    names = [spec.name for spec in exported.sidecar.inputs]
    assert "first" in names
    assert "executed_actions" not in names  # no history is read
    path = exported.file.parent / f"{exported.file.name}.json"
    sound = path.read_text()
    for message, change in CHANGES.items():
        said = json.loads(sound)
        change(said)
        path.write_text(json.dumps(said))
        with pytest.raises(ValueError, match=message):
            ExportedPolicy(exported.file)


def test_actions_that_are_read_must_be_given_and_unknown_ones_count_for_nothing_as_in_pytorch(tmp_path):
    checkpoint = save(tmp_path, "history")
    exported = export_checkpoint(checkpoint, tmp_path / "script", SCRIPT)
    actors = [ExportedPolicy(exported.file), Controller.from_bundle(Bundle.load(checkpoint))]
    states, scale = [actor.initial_state(ROWS) for actor in actors], torch.tensor(MOMENTS[ACTION][1])
    with pytest.raises(ValueError, match="the policy reads the 2 actions before its decision; give them in"):
        actors[0].act(raw_context(0, [True] * ROWS, front=SIZE), states[0])
    known = torch.tensor([[False, False], [False, True], [True, True]])
    for step in range(4):
        done = torch.full((ROWS, STRIDE, 4), float(step)).masked_fill(~known[..., None], torch.nan)
        context = replace(
            raw_context(step, [step == 0] * ROWS, front=SIZE), past={ACTION: Track.of(done, range(-STRIDE, 0), known)}
        )
        chunks = []
        for place, actor in enumerate(actors):
            chunk, states[place] = actor.act(context, states[place])
            chunks.append(chunk.value)
        assert float(((chunks[0] - chunks[1]) / scale).abs().max()) <= 1e-5


def test_mamba_is_refused_where_its_scan_cannot_be_a_loop(tmp_path):
    with pytest.raises(ValueError, match="a policy with Mamba layers cannot be exported as torchscript"):
        export_checkpoint(save(tmp_path, "mamba"), tmp_path / "script", SCRIPT)


def test_tensors_with_names_are_the_state_again():
    policy = CASES["all"].build()
    state = policy.context.initial_state(2)
    tensors = [tensor + index for index, (_, tensor) in enumerate(named_tensors(policy, state))]
    again = memory_state(state, tensors)
    found = named_tensors(policy, again)
    assert [name for name, _ in found] == [spec.input.name for spec in memory_specs(policy)]
    assert all(torch.equal(tensor, given) for (_, tensor), given in zip(found, tensors, strict=True))


def test_sagr_remembers_only_what_it_reads_and_says_so_in_the_sidecar(tmp_path):
    exported = export_checkpoint(save(tmp_path, "sagr-drift"), tmp_path / "script", SCRIPT)
    names = [spec.input.name for spec in exported.sidecar.memory]
    assert names == ["state.sagr.known", "state.sagr.target.0", "state.sagr.state.0"]
    assert exported.sidecar.frame_stride == STRIDE
    assert "executed_actions" in [spec.name for spec in exported.sidecar.inputs]


def test_depth_is_an_input_in_metres_and_its_calibration_a_part_of_the_graph(tmp_path):
    checkpoint = save(tmp_path, "sagr-depth", provenance=DEPTH_SHAPES)
    exported = export_checkpoint(checkpoint, tmp_path / "script", SCRIPT)
    shapes = {spec.name: (spec.shape, spec.dtype) for spec in exported.sidecar.inputs}
    assert [shapes[key] for key in DEPTHS] == [((1, *SIZE), "float32")] * 2
    assert largest_difference(exported.file, checkpoint) <= 1e-5
    with pytest.raises(ValueError, match="has the calibrations of the training's cameras inside; leave cameras out"):
        tempovla.load(exported.file, cameras=bundles.BODY.cameras)
    assert tempovla.load(exported.file).act(observation()).shape == (4, 4)
    acts_on_the_robot_of_the_examples(exported.file)
    policy, context = ExportedPolicy(exported.file), with_depth(raw_context(0, [True] * ROWS, front=SIZE), 0)
    small = replace(
        context, now={**context.now, DEPTHS[0]: context.now[DEPTHS[0]].map(lambda depth: depth[..., :8, :])}
    )
    with pytest.raises(
        ValueError, match=rf"{DEPTHS[0]}' is depth \(32, 8, 1\) .* \(32, 32, 1\) floats in metres"
    ) as told:
        policy.act(small, policy.initial_state(ROWS))
    assert "\n" not in str(told.value)


def test_a_blind_policy_takes_neither_pictures_nor_depth(tmp_path):
    checkpoint = save(tmp_path, "sagr-depth", image=BlankImages(tuple(IMAGE_SHAPES), 16), provenance=DEPTH_SHAPES)
    exported = export_checkpoint(checkpoint, tmp_path / "script", SCRIPT)
    assert {spec.name for spec in exported.sidecar.inputs}.isdisjoint({*IMAGE_SHAPES, *DEPTHS})
    assert largest_difference(exported.file, checkpoint) <= 1e-5


def test_a_robot_whose_cameras_are_not_known_is_told_where_to_give_them(tmp_path, monkeypatch):
    cameras = bundles.BODY.cameras
    monkeypatch.setattr(bundles, "BODY", replace(bundles.BODY, cameras=cameras[:1]))
    checkpoint = save(tmp_path, "sagr-depth")
    told = (
        f"{checkpoint}: {DEPTHS[1]!r} of 'toy' has no calibration, which the geometry encoder needs; "
        "give cameras=[CameraCalibration(...)] to tempovla.load, or write the calibration into meta/info.json of the "
        "dataset that is evaluated"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        tempovla.load(checkpoint).act(observation())
    assert tempovla.load(checkpoint, cameras=cameras).act(observation()).shape == (4, 4)


def acts_on_the_robot_of_the_examples(file: Path) -> None:
    """The stand-in of examples/robot.py shows a policy that reads depth what it needs, in metres."""
    example = runpy.run_path(str(Path(__file__).resolve().parents[3] / "examples" / "robot.py"))
    policy = tempovla.load(file, device="cpu")
    robot = example["Robot"](policy)
    shown = robot.observe()
    assert {key: (shown[key].dtype, shown[key].shape) for key in DEPTHS} == dict.fromkeys(
        DEPTHS, (np.dtype(np.float32), (*SIZE, 1))
    )
    assert policy.step({**shown, "task": bundles.INSTRUCTIONS[0]}).shape == (4,)


def test_a_checkpoint_that_reads_depth_acts_on_the_robot_of_the_examples(tmp_path):
    acts_on_the_robot_of_the_examples(save(tmp_path, "sagr-depth", provenance=DEPTH_SHAPES))


def test_without_its_calibration_depth_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "BODY", replace(bundles.BODY, cameras=bundles.BODY.cameras[:1]))
    with pytest.raises(ValueError, match=rf"{DEPTHS[1]}' of 'toy' has no calibration") as refused:
        export_checkpoint(save(tmp_path, "sagr-depth"), tmp_path / "script", SCRIPT)
    assert "\n" not in str(refused.value)

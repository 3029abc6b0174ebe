"""An ONNX file reads nothing but itself and what lies beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tempovla.control.exported.onnx_check import check_onnx
from tempovla.storage.paths import LINKED_FOLDERS_VARIABLE

onnx = pytest.importorskip("onnx")


def saved(path: Path, location: str, *, nested: bool = False) -> Path:
    """A model with one weight of three numbers that lies in `location`, perhaps inside a node's own graph."""
    weight = onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT, dims=[3])
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        weight.external_data.add(key=key, value=value)
    output = onnx.helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, [3])
    graph = onnx.helper.make_graph([], "g", [], [output], [weight])
    if nested:
        condition = onnx.helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        graph = onnx.helper.make_graph([condition], "outer", [], [])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("location", ["../secret.data", "/etc/passwd", "sub/weights.data", "", "a\\b"])
def test_weights_elsewhere_are_refused(tmp_path, location, nested):
    (tmp_path / "secret.data").write_bytes(bytes(12))
    folder = tmp_path / "export"
    folder.mkdir()
    file = saved(folder / "policy.onnx", location, nested=nested)
    with pytest.raises(ValueError, match=r"weight 'weight' is said to lie in .*, which is no file beside it; export"):
        check_onnx(file)


def test_a_link_that_leads_away_is_refused_unless_its_place_is_allowed(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_bytes(bytes(12))
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "policy.data").symlink_to("../elsewhere/secret")
    file = saved(folder / "policy.onnx", "policy.data")
    with pytest.raises(ValueError, match="a link that leads out"):
        check_onnx(file)
    monkeypatch.setenv(LINKED_FOLDERS_VARIABLE, str(tmp_path / "elsewhere"))
    check_onnx(file)


def test_weights_beside_the_file_are_read_and_damage_is_told(tmp_path):
    file = saved(tmp_path / "policy.onnx", "policy.onnx.data")
    with pytest.raises(ValueError, match=r"policy.onnx.data: no such file"):
        check_onnx(file)
    (tmp_path / "policy.onnx.data").write_bytes(bytes(12))
    check_onnx(file)
    file.write_bytes(b"not protobuf at all")
    with pytest.raises(ValueError, match=r"policy.onnx: is no ONNX file, or a damaged one"):
        check_onnx(file)


def graph_of(path: Path, nodes: list, constants: dict[str, object], functions: list | None = None) -> Path:
    """A model of some nodes on constants, its output that of the last."""
    from onnx import numpy_helper

    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    output = onnx.helper.make_tensor_value_info(nodes[-1].output[0], onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(nodes, "g", [], [output], initializers)
    path.write_bytes(onnx.helper.make_model(graph, functions=functions or []).SerializeToString())
    return path


def test_a_graph_that_repeats_without_a_bound_is_refused(tmp_path):
    node = onnx.helper.make_node
    body = onnx.helper.make_graph([node("Identity", ["c"], ["d"])], "b", [], [])
    loop = node("Loop", ["trips", "go", "x"], ["y"], body=body)
    file = graph_of(tmp_path / "loop.onnx", [loop], {"trips": 1 << 62, "go": True, "x": np.float32(0)})
    with pytest.raises(ValueError, match=r"loop\.onnx: has a Loop .*, as no exported policy has; export"):
        check_onnx(file)
    twice = onnx.helper.make_function("d", "f", ["x"], ["y"], [node("Add", ["x", "x"], ["y"])], [])
    file = graph_of(tmp_path / "f.onnx", [node("f", ["x"], ["y"], domain="d")], {"x": np.float32(0)}, [twice])
    with pytest.raises(ValueError, match=r"f\.onnx: has functions of its own"):
        check_onnx(file)


@pytest.mark.parametrize(
    ("operator", "inputs", "is_refused"),
    [
        ("ConstantOfShape", {"shape": [3_000_000_000]}, True),
        ("ConstantOfShape", {"shape": [4, 8]}, False),
        ("Expand", {"x": np.float32(0), "shape": [1 << 15, 1 << 15]}, True),
        ("Tile", {"x": np.float32([0]), "repeats": [1 << 40]}, True),
        ("Range", {"start": 0, "limit": 1 << 50, "delta": 1}, True),
    ],
)
def test_tensors_without_a_bound_are_refused(tmp_path, operator, inputs, is_refused):
    file = graph_of(tmp_path / "policy.onnx", [onnx.helper.make_node(operator, [*inputs], ["y"])], inputs)
    if not is_refused:
        check_onnx(file)
        return
    with pytest.raises(ValueError, match=rf"policy\.onnx: {operator} .* makes more than 268,435,456 numbers"):
        check_onnx(file)

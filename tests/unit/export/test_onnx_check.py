"""An ONNX file reads nothing but itself and what lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tempovla.export.onnx_check import check_onnx
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

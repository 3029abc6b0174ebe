"""A .pt2 file that could run code is refused before torch reads it."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tempovla.control.exported.graph_check import check_graph
from tempovla.control.exported.runners import RUNNERS
from tempovla.control.exported.signature import TensorSpec

PROGRAM, WEIGHTS, SAMPLES = "models/model.json", "data/weights/model_weights_config.json", "data/sample_inputs/model.pt"


class Doubles(nn.Module):
    """Two products, the second of twice as many rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, *tensors: Tensor) -> Tensor:
        first, second = tensors
        return torch.cat([self.layer(first), self.layer(second)]).mean(1)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory) -> Path:
    """A graph of the same form as an exported policy's."""
    path = tmp_path_factory.mktemp("graph") / "policy.pt2"
    batch = torch.export.Dim("batch")
    tensors = (torch.zeros(2, 3), torch.ones(2, 3))
    program = torch.export.export(
        Doubles(), tensors, dynamic_shapes={"tensors": ({0: batch}, {0: batch})}, strict=False
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path)
    return path


class Payload:
    """A pickle that touches a file as it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    """A copy whose members were changed."""
    with zipfile.ZipFile(source) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"policy/{name}", content)
    return target


def with_json(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        data = json.loads(members[name])
        change(data)
        members[name] = json.dumps(data).encode()

    return apply


def code(canary: Path) -> str:
    return f"__import__('os').system('touch {canary}')"


def pickled_weight(canary: Path) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        members["data/weights/weight_0"] = pickle.dumps(Payload(canary))
        with_json(WEIGHTS, lambda data: data["config"]["layer.weight"].update(use_pickle=True))(members)

    return apply


def opaque_constant(canary: Path) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        members["data/constants/opaque_obj_0"] = pickle.dumps(Payload(canary))

    return apply


def samples(canary: Path) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        stored = io.BytesIO()
        torch.save(((Payload(canary),), {}), stored)
        members[SAMPLES] = stored.getvalue()

    return apply


def first_node(data: Any) -> Any:
    return data["graph_module"]["graph"]["nodes"][0]


def size_expression(text: str) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        values = data["graph_module"]["graph"]["tensor_values"]
        size = next(
            size for value in values.values() for size in value["sizes"] if isinstance(size.get("as_expr"), dict)
        )
        size["as_expr"]["expr_str"] = text

    return change


ATTACKS: dict[str, tuple[Callable[[Path], Callable[[dict[str, bytes]], None]], str]] = {
    "weight": (pickled_weight, "weight 'layer.weight' is a pickle, which could run code and is not opened"),
    "constant": (opaque_constant, "holds 'policy/data/constants/opaque_obj_0', which no export has"),
    "samples": (samples, "is a pickle of more than tensors, which could run code and is not opened"),
    "size": (
        lambda canary: with_json(PROGRAM, size_expression(code(canary))),
        "its expr_str is \"__import__('os').system",
    ),
    "guard": (
        lambda canary: with_json(PROGRAM, lambda data: data["guards_code"].append(code(canary))),
        "its guards_code is \"__import__('os').system",
    ),
    "node": (
        lambda canary: with_json(PROGRAM, lambda data: first_node(data).update(name=f"x = {code(canary)}; y")),
        "its name is \"x = __import__('os').system",
    ),
    "tree": (
        lambda canary: with_json(
            PROGRAM,
            lambda data: data["graph_module"]["module_call_graph"][0]["signature"].update(
                in_spec='[1, {"type": "evil.Type", "context": "null", "children_spec": []}]'
            ),
        ),
        'its in_spec is \'[1, {"type": "evil.Type"',
    ),
    "constraint": (
        lambda canary: with_json(
            PROGRAM, lambda data: data["range_constraints"].update(Symbol={"min_val": 0, "max_val": 2})
        ),
        "has 'Symbol' as range_constraints",
    ),
    "file": (
        lambda canary: with_json(
            PROGRAM, lambda data: first_node(data).update(target="torch.ops.aten.from_file.default")
        ),
        "its graph calls 'torch.ops.aten.from_file.default', which is not arithmetic",
    ),
    "function": (
        lambda canary: with_json(PROGRAM, lambda data: first_node(data).update(target="torch.hub.load")),
        "its graph calls 'torch.hub.load', which is not arithmetic",
    ),
    "getter": (
        lambda canary: with_json(PROGRAM, lambda data: first_node(data).update(target="_operator.methodcaller")),
        "its graph calls '_operator.methodcaller', which is not arithmetic",
    ),
    "compiled": (
        lambda canary: lambda members: members.update({"data/aotinductor/model/evil.so": b"ELF"}),
        "holds 'policy/data/aotinductor/model/evil.so', which no export has",
    ),
    "away": (
        lambda canary: lambda members: members.update({"data/weights/../../../evil": b""}),
        "holds 'policy/data/weights/../../../evil', which no export has",
    ),
    "legacy": (
        lambda canary: lambda members: members.update({"data/weights/model.pt": pickle.dumps(Payload(canary))}),
        "holds 'policy/data/weights/model.pt', which no export has",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_could_run_code_is_refused_before_torch_reads_it(tmp_path, harmless, name):
    canary = tmp_path / "canary"
    attack, message = ATTACKS[name]
    file = rewritten(harmless, tmp_path / "policy.pt2", attack(canary))
    with pytest.raises(ValueError, match=r".+") as refused:
        RUNNERS["torch-export"](file, ())
    said = str(refused.value)
    assert said.startswith(f"{file}: ")
    assert message in said
    assert said.endswith("; export the policy again with `tempovla export`, or ask for it as ONNX")
    assert "\n" not in said
    assert not canary.exists()


@pytest.mark.parametrize("name", ["weight", "size"])
def test_without_the_check_torch_would_run_it(tmp_path, harmless, name, monkeypatch):
    canary = tmp_path / "canary"
    file = rewritten(harmless, tmp_path / "policy.pt2", ATTACKS[name][0](canary))
    monkeypatch.setattr("tempovla.control.exported.runners.check_graph", lambda path: None)
    with pytest.raises(ValueError, match="does not read it"):
        RUNNERS["torch-export"](file, ())
    assert canary.exists()


def test_what_torch_wrote_is_read_and_runs(harmless):
    check_graph(harmless)
    names = [TensorSpec(name, (3,), "float32") for name in "ab"]
    run = RUNNERS["torch-export"](harmless, names)
    (output,) = run((torch.zeros(4, 3), torch.zeros(4, 3)))
    assert output.shape == (8,)


def test_archives_that_two_readers_could_read_differently_are_refused(tmp_path, harmless):
    whole = harmless.read_bytes()
    file = tmp_path / "policy.pt2"
    file.write_bytes(b"PK\x03\x04" + whole)
    with pytest.raises(ValueError, match="is no archive as torch writes them"):
        check_graph(file)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is no archive as torch writes them"):
        check_graph(file)
    rewritten(harmless, file, lambda members: None)
    check_graph(file)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(f"policy/{PROGRAM}", b"{}")
    with pytest.raises(ValueError, match=r"holds 'policy/models/model.json' twice"):
        check_graph(file)

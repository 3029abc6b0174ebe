"""A TorchScript file that reaches out is refused before torch reads it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tempovla.control.exported.operators import TENSOR_OPERATORS
from tempovla.control.exported.runners import RUNNERS
from tempovla.control.exported.script_check import check_script
from tempovla.control.exported.signature import TensorSpec


class WritesFile(nn.Module):
    """Makes a file as it runs: mapped memory that is shared."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def forward(self, value: Tensor) -> Tensor:
        return value + torch.from_file(self.path, True, 4)


class Saves(nn.Module):
    """Writes a tensor to a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def forward(self, value: Tensor) -> Tensor:
        torch.save(value, self.path)
        return value


class Adds(nn.Module):
    """Arithmetic."""

    def forward(self, value: Tensor) -> Tensor:
        return value.softmax(0) * 2 + 1


pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.mark.parametrize(("kind", "called"), [(WritesFile, "torch.from_file"), (Saves, "torch.save")])
def test_an_operator_that_writes_files_is_refused(tmp_path, kind, called):
    canary, file = tmp_path / "canary", tmp_path / "policy.pt"
    torch.jit.save(torch.jit.script(kind(canary)), file)
    with pytest.raises(ValueError, match=rf"policy.pt: its code calls '{called}', which is not arithmetic") as refused:
        RUNNERS["torchscript"](file, ())
    assert str(refused.value).endswith("; export the policy again with `tempovla export`, or ask for it as ONNX")
    assert not canary.exists()
    torch.jit.load(file)(torch.zeros(4))  # it would have
    assert canary.exists()


def test_a_pickle_that_names_more_than_tensors_is_refused(tmp_path):
    file, changed = tmp_path / "harmless.pt", tmp_path / "policy.pt"
    torch.jit.save(torch.jit.script(Adds()), file)
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(changed, "w") as target:
        for name in archive.namelist():
            content = pickle.dumps(eval, protocol=2) if name.endswith("data.pkl") else archive.read(name)
            target.writestr(name, content)
    with pytest.raises(ValueError, match=r"policy.pt: member 'data.pkl' names '__builtin__ eval', which no export"):
        check_script(changed)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(x): # comment\n  return x\n", "is no code as torch writes it"),
        ("def f(x):\n  return ops.aten.save(x)\n", "calls 'ops.aten.save'"),
        ("def f(x):\n  return [torch.save][0](x)\n", "calls 'something without a name'"),
        ("def f(x):\n  return x.save()\n", "calls 'x.save'"),
        ("import os\n", "has a Import, which no export has"),
    ],
)
def test_code_of_any_other_form_is_refused(tmp_path, code, message):
    file = tmp_path / "policy.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("policy/code/__torch__/evil.py", code)
    with pytest.raises(ValueError, match=r".+") as refused:
        check_script(file)
    assert message in str(refused.value)


def test_arithmetic_is_read_and_runs(tmp_path):
    file = tmp_path / "policy.pt"
    torch.jit.save(torch.jit.script(Adds()), file)
    run = RUNNERS["torchscript"](file, [TensorSpec("a", (2,), "float32")])
    assert torch.equal(run((torch.zeros(2),))[0], torch.full((2,), 2.0))


def test_every_operator_that_is_let_pass_is_one_of_torch():
    known = {schema.name.partition("::")[2] for schema in torch._C._jit_get_all_schemas()}
    assert not sorted(TENSOR_OPERATORS - known)
    assert not {"from_file", "save", "load", "set_", "as_strided", "from_blob"} & TENSOR_OPERATORS

"""What an evaluation writes is held while it is at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tempovla.recipe.evaluation.outputs import Outputs


def held(outputs: Outputs) -> None:
    with outputs.held():
        pass


@pytest.mark.parametrize("name", ["results", "videos"])
def test_a_second_evaluation_into_one_place_is_told_who_is_there(tmp_path: Path, name: str) -> None:
    outputs = Outputs(**{name: tmp_path / "new" / name})
    with outputs.held():
        held(Outputs(results=tmp_path / "new" / "other.json", videos=tmp_path / "new" / "others"))
        with pytest.raises(ValueError, match=rf"new/{name}: this process .* \(for 0 min.* let it end, or give another"):
            held(outputs)
    held(outputs)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_would_destroy_each_other_or_the_policy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot hold both recordings and videos; give two folders"):
        Outputs(recordings=tmp_path / "all", videos=tmp_path / "all").check()
    (tmp_path / "policy.onnx").write_text("")
    with pytest.raises(ValueError, match=r"would overwrite what is read, .*policy.onnx; give another file"):
        Outputs(results=tmp_path / "policy.onnx").check(tmp_path / "policy.onnx")

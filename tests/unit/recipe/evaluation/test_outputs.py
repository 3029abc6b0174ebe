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

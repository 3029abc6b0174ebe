"""What is said of a dataset must make sense before it is opened."""

import pytest

from tempovla.recipe.datasets.config import DataConfig, MemberConfig


def test_units_of_depth_are_units_and_belong_to_one_dataset() -> None:
    assert DataConfig("set", depth_unit="mm").depth_unit == "mm"
    with pytest.raises(ValueError, match="depth unit 'inch'; give m, cm, mm or the metres of one unit"):
        DataConfig("set", depth_unit="inch")
    with pytest.raises(ValueError, match=r"data.depth_unit=mm is for data.data_directory; .* in its meta/info.json"):
        DataConfig(mixture=(MemberConfig("a"), MemberConfig("b")), depth_unit="mm")

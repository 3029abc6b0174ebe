"""Statistics that are kept stay in the dataset or in the cache, whatever the dataset's files lead to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.foreign import STATE, Foreign, write_v30

from tempovla.data.kept_statistics import KEPT_NAME, KeptStatistics
from tempovla.data.lerobot_meta import load_meta
from tempovla.data.statistics import of_values


@pytest.mark.parametrize("is_there", [True, False])
def test_nothing_is_written_along_a_link_that_leads_out(tmp_path: Path, monkeypatch, caplog, is_there: bool) -> None:
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path / "cache"))
    root, victim = write_v30(tmp_path / "dataset", Foreign(lengths=(3,), storage="image")), tmp_path / "victim"
    if is_there:
        victim.write_text("alive")
    (root / "meta" / KEPT_NAME).symlink_to("../../victim")
    kept = KeptStatistics(load_meta(root))
    place = kept.keep({STATE: of_values(np.arange(9.0).reshape(3, 3))})
    assert place is not None
    assert place.parent == tmp_path / "cache" / "statistics"
    assert victim.exists() == is_there
    if is_there:
        assert victim.read_text() == "alive"
    assert list(kept.load()) == [STATE]
    assert "a link that leads out" in caplog.text

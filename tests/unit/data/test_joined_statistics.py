"""Of a stream of which a slice is read, the other dimensions do not matter: neither their rows nor their statistics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.foreign import STATE, WRITERS, Foreign, write_v21, write_v30

from tempovla.data.dataset_statistics import StatisticsTable
from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect
from tempovla.data.open import open_source
from tempovla.data.stream_keys import StreamKeys
from tempovla.recipe.datasets.statistics import settle_statistics
from tempovla.timeline.source import EpisodeSource

LENGTHS = (6, 5)
BASIC = ("mean", "std", "min", "max")


def keys(state: str) -> StreamKeys:
    return StreamKeys.parse(state, None, "data.")


def broken_last(version: str, root: Path, value: Any, **options: Any) -> Foreign:
    """Of a state of four, the last dimension is `value` at step 1 of episode 1."""

    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        rows = foreign.state(index, length).tolist()
        if index == 1:
            rows[1][3] = value
        return usual | {STATE: pa.array(rows, pa.list_(pa.float32()))}

    foreign = Foreign(**{"lengths": LENGTHS, "state_dim": 4, "cameras": (), "columns": columns, **options})
    WRITERS[version](root, foreign)
    return foreign


def expected(foreign: Foreign, dimensions: slice) -> np.ndarray:
    return np.concatenate([foreign.state(i, n) for i, n in enumerate(foreign.lengths)])[:, dimensions]


def settled(source: EpisodeSource, names: tuple[str, ...] = BASIC) -> dict[str, np.ndarray]:
    settle_statistics(source, {STATE: names})
    return dict(source.statistics[STATE])


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, None])
@pytest.mark.parametrize("has_statistics", [True, False])
def test_rows_that_are_broken_elsewhere_do_not_block_a_slice(
    tmp_path: Path, version: str, value: Any, has_statistics: bool
) -> None:
    foreign = broken_last(version, tmp_path / "a", value, statistics=has_statistics)
    source = open_source(tmp_path / "a", keys=keys(f"{STATE}[0:3]"))
    rows = expected(foreign, slice(0, 3))
    read = source.read_many(STATE, np.array([1, 0]), np.array([[0, 1], [4, 5]])).value
    np.testing.assert_array_equal(read, np.stack([rows[6:8], rows[4:6]]))
    np.testing.assert_array_equal(source.read(1, STATE, range(5)).value, rows[6:])
    found = settled(source, (*BASIC, "q01", "q99"))
    np.testing.assert_allclose(found["mean"], rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["max"], rows.max(axis=0), rtol=1e-5)
    facts = inspect(tmp_path / "a", keys(f"{STATE}[0:3]"))["features"][STATE]
    assert facts["shape"] == [3]
    message = rf"'{STATE}' has {value} in row \d+ \(episode 1\)" if value is not None else "holds null in row"
    for part in (f"{STATE}[2:4]", STATE):
        with pytest.raises(DatasetError, match=message):
            inspect(tmp_path / "a", keys(part))
        with pytest.raises(DatasetError, match=message):
            open_source(tmp_path / "a", keys=keys(part)).read(1, STATE, [0])
        assert len(open_source(tmp_path / "a", keys=keys(part)).read(0, STATE, [0]).value) == 1


def test_a_slice_of_a_selection_is_read_where_the_rest_is_broken(tmp_path: Path) -> None:
    foreign = broken_last("v3.0", tmp_path / "a", np.nan)
    source = open_source(tmp_path / "a", max_len_data=3, keys=keys(f"{STATE}[0:2]"))
    assert (source.episode(1).length, source.statistics[STATE]["count"].tolist()) == (3, [6.0])
    reading = source.read(1, STATE, [1, 2, 3])
    assert reading.valid.tolist() == [True, True, False]
    np.testing.assert_array_equal(reading.value[:2], foreign.state(1, 5)[1:3, :2])


def test_a_slice_of_a_slice_is_read_where_the_rest_is_broken(tmp_path: Path) -> None:
    foreign = broken_last("v3.0", tmp_path / "a", np.nan)
    modality = {"state": {"arm": {"start": 1, "end": 4}}}
    (tmp_path / "a/meta/modality.json").write_text(json.dumps(modality))
    source = open_source(tmp_path / "a", keys=keys("state.arm[0:2]"))
    np.testing.assert_array_equal(source.read(1, STATE, [1]).value, foreign.state(1, 5)[1:2, 1:3])
    np.testing.assert_allclose(settled(source)["mean"], expected(foreign, slice(1, 3)).mean(axis=0), rtol=1e-5)
    with pytest.raises(DatasetError, match="has nan in row 7"):
        open_source(tmp_path / "a", keys=keys("state.arm[1:3]")).read(1, STATE, [1])


@pytest.mark.parametrize("bad", [float("nan"), 1e6])
def test_stored_statistics_that_are_wrong_elsewhere_do_not_block_a_slice(tmp_path: Path, bad: float) -> None:
    """NaN is as good as none; what is stale is refused where it is read, by the number that it has in its column."""
    foreign = Foreign(lengths=LENGTHS, state_dim=4, cameras=(), version="v2.1")
    root = write_v21(tmp_path / "a", foreign)
    rows = expected(foreign, slice(None))
    stored = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    stored = {name: value.astype(float).tolist() for name, value in stored.items()}
    stored["mean"][3] = stored["max"][3] = bad
    (root / "meta/stats.json").write_text(json.dumps({STATE: stored | {"count": [11]}}))
    (root / "meta/episodes_stats.jsonl").unlink(missing_ok=True)
    np.testing.assert_allclose(
        settled(open_source(root, keys=keys(f"{STATE}[1:3]")))["mean"], rows.mean(0)[1:3], rtol=1e-5
    )
    inspect(root, keys(f"{STATE}[1:3]"))
    if bad == bad:
        for part in (f"{STATE}[2:4]", STATE):
            with pytest.raises(ValueError, match=rf"of '{STATE}' do not fit the data: dimension 3 .*--recompute"):
                settled(open_source(root, keys=keys(part)))


def test_stored_percentiles_of_other_dimensions_do_not_matter(tmp_path: Path) -> None:
    """Nor do their rows; where those that are read are too far off, exact ones are computed of the slice."""
    foreign = broken_last("v2.1", tmp_path / "a", np.nan, lengths=(60, 50))
    rows = expected(foreign, slice(None)).astype(np.float64)
    stored = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    stored |= {name: np.quantile(rows, share, axis=0) for name, share in (("q01", 0.01), ("q99", 0.99))}
    stored["q99"][3] = 1e3
    entry = {name: value.tolist() for name, value in stored.items()} | {"count": [110]}
    path = tmp_path / "a/meta/stats.json"
    path.write_text(json.dumps({STATE: entry}))
    found = settled(open_source(tmp_path / "a", keys=keys(f"{STATE}[1:3]")), ("q01", "q99"))
    np.testing.assert_array_equal(found["q99"], stored["q99"][1:3])
    entry["q99"] = (stored["q99"] - [0, 0.9 * np.ptp(rows[:, 1]), 0, 0]).tolist()
    path.write_text(json.dumps({STATE: entry}))
    found = settled(open_source(tmp_path / "a", keys=keys(f"{STATE}[1:3]")), ("q01", "q99"))
    np.testing.assert_allclose(found["q99"], np.quantile(rows[:, 1:3], 0.99, axis=0), rtol=1e-6)


def test_what_is_computed_for_a_slice_of_a_sound_stream_is_kept_for_all_of_it(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "a", Foreign(lengths=LENGTHS, state_dim=4, cameras=(), statistics=False))
    source = open_source(root, keys=keys(f"{STATE}[1:3]"))
    assert isinstance(source.statistics, StatisticsTable)
    assert source.statistics.absent({STATE: BASIC}) == [STATE]
    settled(source)
    assert source.statistics.absent({STATE: BASIC}) == []
    kept = json.loads((root / "meta/tempovla_stats.json").read_text())["streams"][STATE]
    assert len(kept["mean"]) == 4
    assert open_source(root).statistics.absent({STATE: BASIC}) == []  # type: ignore[union-attr]

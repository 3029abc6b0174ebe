"""Which frames of a video file belong to which episode, and whether times and counts agree on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.25
"""Largest distance of a frame from the wanted time, in control periods."""
DRIFT = 0.5
"""How far an episode may start off its first frame where the number of frames tells which that is, in periods."""
OFF_RATE = 1 / 500
"""By how much a video's rate may differ from the declared one, such as 29.97 from 30, where frames can be counted."""
GAP_TOLERANCE = 0.05
"""How far an episode may start off its first frame where frames of no episode lie before it, in periods."""

Times = Callable[[], NDArray[np.float64]]
"""Gives the timestamps of an episode's rows [s]."""


class DisagreementError(ValueError):
    """The frames of an episode cannot be identified; the text gives the reason."""


class FilePlan:
    """Finds the frames of the episodes that lie in one file.

    Where the file holds just as many frames as its episodes have rows, counting them tells whose each frame is. The
    times must then merely agree, those of every episode of the file, as they tell the order of the episodes. Elsewhere
    the times alone tell, and they must leave no doubt.

    Args:
        times_s: (N,) when the file shows its frames [s], increasing.
        spans: start [s] and length, 1 or more, of each of its episodes. Episodes may share one span where the file has
            no frames but those of its spans.
        fps: control rate [Hz].
    """

    def __init__(self, times_s: NDArray[np.float64], spans: Collection[tuple[float, int]], fps: float) -> None:
        self._times_s, self._fps = times_s, fps
        shared = Counter(spans)
        ordered = sorted(shared)
        self._place = {span: place for place, span in enumerate(ordered)}
        self._starts_s = np.array([start_s for start_s, _ in ordered])
        self._lengths = np.array([length for _, length in ordered])
        self._sharing = {span: episodes for span, episodes in shared.items() if episodes > 1}
        self._counted = int(self._lengths.sum()) == len(times_s)
        if self._counted:
            self._first = np.cumsum(self._lengths) - self._lengths
            self._clocks = self._counted_clocks()
            self._apart = self._worst_gap()
        else:
            self._first = self._nearest(self._starts_s)
            self._last = self._nearest(self._starts_s + (self._lengths - 1) / fps)

    def numbers(self, span: tuple[float, int], recorded_s: Times) -> NDArray[np.int64]:
        """Return (length,) numbers of the frames of one of the spans.

        Raises:
            DisagreementError: if times and frames do not agree.
        """
        place = self._place[span]
        if span in self._sharing and not self._counted:
            raise DisagreementError(
                f"meta/ puts the start of {self._sharing[span]} episodes of {span[1]} rows at {span[0]:.4f} s, though "
                f"the file has {len(self._times_s)} frames, not the {self._lengths.sum()} of episodes that share them; "
                "correct from_timestamp"
            )
        return self._by_count(place, recorded_s) if self._counted else self._by_time(place, recorded_s)

    def _counted_clocks(self) -> list[NDArray[np.float64]]:
        """When the frames may have been meant to be shown [s], where their number is right.

        The first frame may stand for time 0, and the rate may be the declared one.
        """
        relative_s = self._times_s - self._times_s[0]
        clocks = [self._times_s, relative_s]
        if len(relative_s) > 1:
            stretch = (len(relative_s) - 1) / self._fps / relative_s[-1]
            if abs(stretch - 1) <= OFF_RATE:
                clocks.append(relative_s * stretch)
        return clocks

    def _worst_gap(self) -> tuple[int, float]:
        """Before which place a start is the furthest from the end of the span before it, and by how many periods.

        Frames that are counted leave no gap between episodes and are nobody's twice. Starts that do are of no use to
        tell the order of the episodes, not even where one of them happens to lie on a frame of the right number.
        """
        if len(self._first) < 2:
            return 0, 0.0
        gaps_s = [np.diff(self._starts_s) - np.diff(clock_s[self._first]) for clock_s in self._clocks]
        off = np.abs(gaps_s).min(axis=0) * self._fps
        worst = int(np.argmax(off))
        return worst + 1, float(off[worst])

    def _by_count(self, place: int, recorded_s: Times) -> NDArray[np.int64]:
        start_s, length = self._starts_s[place], int(self._lengths[place])
        numbers = self._first[place] + np.arange(length)
        if min(abs(start_s - clock_s[numbers[0]]) for clock_s in self._clocks) * self._fps >= DRIFT:
            raise DisagreementError(
                f"meta/ puts its start at {start_s:.4f} s, but of the file's {len(self._times_s)} frames its first is "
                f"frame {numbers[0]}, shown at {self._times_s[numbers[0]]:.4f} s; correct from_timestamp"
            )
        after, off = self._apart
        if off >= DRIFT:
            raise DisagreementError(
                f"meta/ puts the starts of two of its file's episodes at {self._starts_s[after - 1]:.4f} s and "
                f"{self._starts_s[after]:.4f} s, though the first of these has {self._lengths[after - 1]} rows at fps "
                f"{self._fps:g}, so it is not known to which episode a frame belongs; correct from_timestamp"
            )
        elapsed_s = [clock_s[numbers] - clock_s[numbers[0]] for clock_s in self._clocks]
        even_s = np.arange(length) / self._fps
        if any(self._worst(even_s - frames_s) <= TOLERANCE for frames_s in elapsed_s):
            return numbers
        uneven_s = recorded_s()  # the frames may be as uneven as the rows
        if any(self._worst(uneven_s - uneven_s[0] - frames_s) <= TOLERANCE for frames_s in elapsed_s):
            return numbers
        row = int(np.argmax(np.abs(even_s - elapsed_s[0]) * self._fps > TOLERANCE))
        raise DisagreementError(
            f"frame {numbers[row]} is shown {elapsed_s[0][row]:.4f} s after its first frame, but row {row} lies "
            f"{even_s[row]:.4f} s after its first row at fps {self._fps:g}; encode the video again at that rate"
        )

    def _by_time(self, place: int, recorded_s: Times) -> NDArray[np.int64]:
        start_s = self._starts_s[place]
        count = f"the file has {len(self._times_s)} frames for {self._lengths.sum()} rows"
        rows_s = recorded_s()
        if abs(rows_s[0]) * self._fps >= 0.5:
            raise DisagreementError(
                f"its first row has timestamp {rows_s[0]:.4f} s and {count}, so frames and rows cannot be matched; let "
                "timestamps start at 0"
            )
        numbers = self._best_numbers(start_s + np.arange(len(rows_s)) / self._fps, start_s + rows_s)
        before = int(self._last[place - 1]) if place else -1
        after = int(self._first[place + 1]) if place + 1 < len(self._first) else len(self._times_s)
        if numbers[0] <= before or numbers[-1] >= after:
            raise DisagreementError(
                f"its frames {numbers[0]} to {numbers[-1]} belong to another episode as well; correct from_timestamp"
            )
        drift = self._worst_drift(place)
        if drift > (TOLERANCE if numbers[0] == before + 1 else GAP_TOLERANCE):
            raise DisagreementError(
                f"meta/ puts its start at {start_s:.4f} s, and up to there starts drift off the frames by up to "
                f"{drift / self._fps:.4f} s, where {count}; correct from_timestamp"
            )
        return numbers

    def _best_numbers(self, even_s: NDArray[np.float64], uneven_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """The frames nearest to the rows, be these evenly spaced or as they were recorded."""
        tried = [(times_s, self._nearest(times_s)) for times_s in (even_s, uneven_s)]
        times_s, numbers = min(tried, key=lambda one: self._worst(one[0] - self._times_s[one[1]]))
        off_s = np.abs(times_s - self._times_s[numbers])
        lost = (off_s * self._fps > TOLERANCE) | (np.diff(numbers, prepend=-1) <= 0)
        if lost.any():
            row = int(np.argmax(lost))
            raise DisagreementError(
                f"no frame at {times_s[row]:.3f} s for row {row} (the file has {len(self._times_s)} frames, the "
                f"nearest at {self._times_s[numbers[row]]:.3f} s, the last at {self._times_s[-1]:.3f} s); the video "
                "and meta/ contradict each other, copy the dataset again"
            )
        return numbers

    def _worst(self, error_s: NDArray[np.float64]) -> float:
        return float(np.abs(error_s).max()) * self._fps

    def _nearest(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        last = len(self._times_s) - 1
        after = np.minimum(np.searchsorted(self._times_s, times_s), last)
        before = np.maximum(after - 1, 0)
        is_before = np.abs(times_s - self._times_s[before]) <= np.abs(self._times_s[after] - times_s)
        return np.where(is_before, before, after)

    def _worst_drift(self, place: int) -> float:
        """How far the starts up to one lie off the frames at most, in periods, if errors add up.

        After a drift of a whole period a start lies on a frame again; that it grew on the way there shows it.
        """
        upto = slice(0, place + 1)
        off = (self._starts_s[upto] - self._times_s[self._first[upto]]) * self._fps
        steps = np.diff(off, prepend=0.0)
        return float(np.abs(np.cumsum(steps - np.round(steps))).max())

"""Where the files of an episode lie, by the templates of `info.json` such as `data/chunk-{chunk_index:03d}/...`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from tempovla.data.errors import DatasetError
from tempovla.storage.paths import Inside

NUMBERS = frozenset({"chunk_index", "file_index", "episode_chunk", "episode_index"})
"""Fields of a template that stand for whole numbers."""
WORDS = frozenset({"video_key"})
"""Fields that stand for keys."""
REMEDY = "restore the file from the original dataset"

_DIGITS = re.compile(r"0?\d?\dd|d?")
"""How many digits a number has at the least: none said, or up to 99."""


class Templates:
    """The paths that the templates of a dataset make.

    Args:
        root: the dataset's folder.
        info: its `info.json`.
    """

    def __init__(self, root: Path, info: Mapping[str, Any]) -> None:
        self._where = root / "meta" / "info.json"
        self._info = info
        self._inside = Inside(root, DatasetError)
        self._makers: dict[str, tuple[Callable[..., str], str]] = {}

    def path(self, name: str, **place: Any) -> Path:
        """Return the path that the template `name`, such as `data_path`, makes of an episode's place.

        Raises:
            DatasetError: if the template is none, has other fields than `place`, or leads out of the dataset.
        """
        if name not in self._makers:
            self._check(name, place)
            self._makers[name] = self._info[name].format, f"meta/info.json: {name}"
        make, said_by = self._makers[name]
        return self._inside.path(make(**place), said_by, REMEDY)

    def _check(self, name: str, place: Mapping[str, Any]) -> None:
        """Refuse a template with a field that is no plain one, such as `{0.__class__}` or `{file_index:900000000d}`."""
        template = self._info[name]
        try:
            fields = [(field, form, how) for _, field, form, how in Formatter().parse(template) if field is not None]
        except (TypeError, ValueError):
            fields = [("", "", None)]
        for field, form, how in fields:
            plain = _DIGITS.fullmatch(form or "") if field in NUMBERS else field in WORDS and not form
            if field not in place or how is not None or not plain:
                raise DatasetError(
                    f"{self._where}: {name} is {_shown(template)}, which gives no path from "
                    f"{', '.join(sorted(place))}; {REMEDY}"
                )


def _shown(template: Any) -> str:
    text = repr(template)
    return text if len(text) <= 200 else f"{text[:196]}..."

"""The outcomes of SA-GR's arms, in one JSON file of several settings that several processes may add to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from commands import REMEDY, alone_with
from tempovla.storage.json_files import read_json
from tempovla.storage.whole import write_text

Record = dict[str, Any]
"""Of one evaluation: `successes` by task, one digit an episode, and what it cost."""


class Store:
    """The records of several settings in one JSON file, which is written after each of them.

    Args:
        path: of the file.
        setting: which one is added to.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting

    @property
    def settings(self) -> dict[str, Any]:
        """All that the file holds, which others may have added to.

        Raises:
            ValueError: in one line, if it is damaged, or holds something else.
        """
        found = read_json(self.path, remedy=REMEDY) if self.path.exists() else {}
        layers = [found]
        for _ in range(3):  # settings, kinds of episodes and arms
            if not all(isinstance(layer, dict) for layer in layers):
                raise ValueError(f"{self.path}: holds no outcomes of arms; {REMEDY}")
            layers = [each for layer in layers for each in layer.values()]
        return found

    @property
    def rows(self) -> dict[str, dict[str, dict[str, Record]]]:
        """The records of the setting: by kind of episode, arm and seed of the training.

        Raises:
            ValueError: in one line, if one of them is no record.
        """
        rows = self.settings.get(self.setting, {})
        for title, arms in rows.items():
            for name, records in arms.items():
                wrong = not isinstance(records, dict) or [seed for seed, each in records.items() if not is_record(each)]
                if wrong:
                    where = f", seed {wrong[0]}" if isinstance(wrong, list) else ""
                    raise ValueError(f"{self.path}: {title}, {name}{where}: no record of an evaluation; {REMEDY}")
        return rows

    def require(self) -> None:
        """Refuse a file that is not there, or does not hold the setting.

        Raises:
            ValueError: in one line.
        """
        if not self.path.is_file():
            raise ValueError(f"--json={self.path}: no such file; give that of a comparison that was run")
        known = list(self.settings)
        if self.setting not in known:
            raise ValueError(
                f"{self.path}: holds no outcomes of {self.setting!r}; give the options of one of {known}, or run it"
            )

    def has(self, title: str, name: str, seed: int) -> bool:
        """Return whether there is a record of an arm in such episodes, of a seed of the training."""
        return str(seed) in self.rows.get(title, {}).get(name, {})

    def add(self, title: str, name: str, seed: int, record: Record) -> None:
        """Add it, and write the file; others that add to it at the same time wait for each other."""
        with alone_with(self.path):
            settings = self.settings
            settings.setdefault(self.setting, {}).setdefault(title, {}).setdefault(name, {})[str(seed)] = record
            write_text(self.path, json.dumps(settings, indent=1) + "\n")


def is_record(value: Any) -> bool:
    """Return whether a value is the record of an evaluation."""
    if not isinstance(value, dict) or not isinstance(value.get("successes"), dict) or not value["successes"]:
        return False
    outcomes = value["successes"].values()
    numbers = [value.get("training_cpu_s"), value.get("decision_ms"), value.get("replans") or 0]
    return all(isinstance(each, str) and each and set(each) <= {"0", "1"} for each in outcomes) and all(
        isinstance(number, int | float) for number in numbers
    )

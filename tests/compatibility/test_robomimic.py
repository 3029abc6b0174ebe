"""robomimic, with which LIBERO trains, reads what our writer wrote, and sees the pictures as LIBERO stores them.

Needs ``TEMPOVLA_ROBOMIMIC_PYTHON``, the interpreter of an environment with robomimic 0.2; skips without it.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.libero_recordings import AGENT, MILK, WRIST, record

from tempovla.timeline.keys import ACTION_KEY, STATE_KEY


@pytest.fixture(scope="session")
def robomimic_python() -> str:
    python = os.environ.get("TEMPOVLA_ROBOMIMIC_PYTHON")
    if not python:
        pytest.skip("TEMPOVLA_ROBOMIMIC_PYTHON is not set: no environment with robomimic")
    return python


def test_robomimic_reads_what_we_write(tmp_path: Path, robomimic_python: str) -> None:
    lengths = (12, 7, 9)
    recorded = record(tmp_path, lengths, (MILK,), recording={"rendering": "fast"})
    script, out = Path(__file__).with_name("robomimic_side.py"), tmp_path / "read.npz"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [robomimic_python, str(script), str(tmp_path / f"{MILK}_demo.hdf5"), str(out)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    with np.load(out) as read:
        meta = json.loads(read["meta"].item())
        assert (meta["ac_dim"], meta["demos"]) == (7, 3)
        assert meta["env"]["env_name"] == "Libero_Floor_Manipulation"
        row = 0
        for frames, length in zip(recorded, lengths, strict=True):
            for start in range(length):
                steps = np.minimum(np.arange(start, start + 10), length - 1)
                np.testing.assert_allclose(read["actions"][row], frames[ACTION_KEY][steps], atol=1e-6)
                state = np.concatenate([read["joint_states"][row], read["gripper_states"][row]], axis=-1)
                np.testing.assert_allclose(state, frames[STATE_KEY][steps], atol=1e-6)
                for key, name in ((AGENT, "agentview_rgb"), (WRIST, "eye_in_hand_rgb")):
                    seen = read[name][row].transpose(0, 2, 3, 1) * 255
                    np.testing.assert_allclose(seen, frames[key][steps][:, ::-1], atol=1e-3)
                row += 1
        assert row == len(read["actions"])

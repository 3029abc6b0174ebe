"""Record the small datasets under ``tests/data/lerobot`` with LeRobot's own writers.

    python tests/compatibility/make_fixtures.py --python PYTHON --v21-path FOLDER

PYTHON is the interpreter of an environment with lerobot >= 0.4; FOLDER holds lerobot 0.3.3 and datasets 3.6, e.g.
from ``pip install --no-deps --target FOLDER lerobot==0.3.3 datasets==3.6.0``. Beside each dataset lies ``NAME.npz``
with what LeRobot's loader reads from it. Run it again only when a fixture has to change, and say why.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data" / "lerobot"
FPS = 10
VECTORS = {
    "observation.state": {"dtype": "float32", "shape": [3], "names": ["x", "y", "z"]},
    "action": {"dtype": "float32", "shape": [2], "names": ["dx", "grip"]},
}


def cameras(dtype: str) -> dict:
    """Two cameras of different sizes."""
    names = ["height", "width", "channels"]
    return {
        "observation.images.front": {"dtype": dtype, "shape": [64, 80, 3], "names": names},
        "observation.images.wrist": {"dtype": dtype, "shape": [68, 64, 3], "names": names},
    }


def recipe(codec: str = "h264", dtype: str = "video", **more) -> dict:
    """What to record."""
    return {"fps": FPS, "codec": codec, "lengths": [7, 5, 6], "features": {**VECTORS, **cameras(dtype)}, **more}


RECIPES = {
    "v21_h264": recipe(),
    "v21_av1": recipe("libsvtav1"),
    "v21_images": recipe(dtype="image"),
    "v30_h264": recipe(),
    "v30_av1": recipe("libsvtav1"),
    "v30_images": recipe(dtype="image"),
    "v30_files": recipe(files_size_in_mb=0.001),
}
QUERY = {
    "indices": [0, 6, 7, 17],
    "every_pixel": 2,
    "windows": {
        "observation.state": [-0.2, 0.0],
        "action": [0.0, 0.1, 0.2, 0.3],
        "observation.images.front": [-0.1, 0.3],
        "observation.images.wrist": [0.0],
    },
}


def call(python: str, *arguments: object, path: str = "") -> None:
    """Run `lerobot_side.py` in LeRobot's environment."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path, "SVT_LOG": "1"}
    command = [python, str(HERE / "lerobot_side.py"), *map(str, arguments)]
    subprocess.run(command, check=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--v21-path", required=True)
    options = parser.parse_args()
    DATA.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "query.json")
        asked.write_text(json.dumps(QUERY))
        for name, content in RECIPES.items():
            path = options.v21_path if name.startswith("v21") else ""
            wanted = Path(folder, "recipe.json")
            wanted.write_text(json.dumps(content))
            shutil.rmtree(DATA / name, ignore_errors=True)
            call(options.python, "write", DATA / name, wanted, path=path)
            call(options.python, "read", DATA / name, asked, DATA / f"{name}.npz", path=path)
            shutil.rmtree(DATA / name / "images", ignore_errors=True)


if __name__ == "__main__":
    main()

"""LeRobot's own loader, timed for `loader.py`. Runs in LeRobot's environment.

Answers each line on stdin, a number of samples, with CPU seconds a sample on stdout. One process measures one backend
with one number of workers: decoders that the process itself has opened break in workers forked from it.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "compatibility"))
from lerobot_side import import_lerobot


def cpu_s() -> float:
    """CPU time of this process and of the children it has waited for [s]."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    root, backend = sys.argv[1:3]
    windows, batch_size, workers = (json.loads(argument) for argument in sys.argv[3:6])
    torch.set_num_threads(1)
    lerobot = import_lerobot()
    version = __import__("lerobot").__version__
    print(json.dumps({"lerobot": version, "torch": torch.__version__}), flush=True)
    dataset = lerobot.LeRobotDataset("test/test", root=root, delta_timestamps=windows, video_backend=backend)
    for line in sys.stdin:
        loader = torch.utils.data.DataLoader(dataset, batch_size, shuffle=True, num_workers=workers)
        start, seen = cpu_s(), 0
        for batch in loader:
            seen += len(batch["index"])
            if seen >= int(line):
                break
        del batch, loader
        print((cpu_s() - start) / seen, flush=True)


if __name__ == "__main__":
    main()

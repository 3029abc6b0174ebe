"""robomimic's reader of LIBERO's files, timed for `libero_loader.py`. Runs in robomimic's environment.

Answers each line on stdin, a number of samples, with CPU seconds a sample on stdout.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "compatibility"))
from robomimic_side import open_sequences


def cpu_s() -> float:
    """CPU time of this process [s]."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    path, length, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(sys.stderr):
        _, sequences = open_sequences(path, length)
    for line in sys.stdin:
        loader = torch.utils.data.DataLoader(sequences, batch_size, shuffle=True)
        start, seen = cpu_s(), 0
        for batch in loader:
            seen += len(batch["actions"])
            if seen >= int(line):
                break
        print((cpu_s() - start) / seen, flush=True)


if __name__ == "__main__":
    main()

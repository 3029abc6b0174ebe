"""Processes that train together, forked from one that has imported everything: torchrun's cost is their imports.

`python -m tests.processes` is that one: it reads what to call from standard input. Each process gets the variables that
torchrun sets; what torchrun itself does is tested where torchrun starts them.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
LATEST_S = 600
"""What is not done by then never will be: it is some seconds' work, on a machine with much else to do."""
IMPORTED = (
    *("torch.distributed.fsdp", "torch.distributed.checkpoint.state_dict", "torch._dynamo", "tempovla.cli.main"),
    *("tests.unit.recipe.session", "tests.unit.training.session"),
    *("transformers.models.qwen2.modeling_qwen2", "transformers.models.siglip.modeling_siglip"),
)


class Nursery:
    """The process from which others are forked, as a test sees it; it runs one group of them at a time."""

    def __init__(self) -> None:
        places = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "tests.processes"]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {**os.environ, **places, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, env=environment, cwd=ROOT, **pipes)
        self._folder = tempfile.TemporaryDirectory()

    def _answer(self, **question: Any) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question, default=str), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(self, processes: int, function: str, *arguments: Any) -> list[int]:
        """Call `module:function` in so many processes at once, which are a group if they are several; their numbers."""
        self._outputs = [Path(self._folder.name, f"{rank}.txt") for rank in range(processes)]
        return self._answer(function=function, arguments=arguments, outputs=self._outputs)

    def wait(self) -> tuple[list[int], str]:
        """The exit codes of the processes that were started, and what they wrote, one after the other."""
        codes = self._answer()
        return codes, "".join(path.read_text() for path in self._outputs)

    def run(self, processes: int, function: str, *arguments: Any) -> str:
        """Call `module:function` in so many processes at once; what they wrote, one after the other."""
        self.start(processes, function, *arguments)
        codes, said = self.wait()
        assert codes == [0] * processes, f"processes ended with {codes}\n{said}"
        return said

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait() == 0
        self._folder.cleanup()


@contextmanager
def store() -> Iterator[int]:
    """The port of a store in a process of its own, which leaves this one without threads and so free to fork."""
    port_read, port_written = os.pipe()
    life_read, life_written = os.pipe()
    keeper = os.fork()
    if not keeper:
        from torch.distributed import TCPStore

        kept = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        os.write(port_written, str(kept.port).encode())
        os.close(life_written)
        os.read(life_read, 1)  # nothing, once no process that could use the store is left
        os._exit(0)
    try:
        yield int(os.read(port_read, 16))
    finally:
        for end in (port_read, port_written, life_read, life_written):
            os.close(end)
        os.waitpid(keeper, 0)


def work(function: str, arguments: Sequence[Any], output: str) -> NoReturn:
    """Be one of the processes: call the function, and end."""
    code: Any = 1
    with open(output, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            module, name = function.split(":")
            code = getattr(importlib.import_module(module), name)(*arguments)
        except SystemExit as end:
            code = end.code
        finally:
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 0)


def start(port: int, function: str, arguments: Sequence[Any], outputs: Sequence[str]) -> list[int]:
    """Fork one process for each of the outputs, with the variables that torchrun would set if there are several."""
    processes = []
    for rank, output in enumerate(outputs):
        child = os.fork()
        if not child:
            if len(outputs) > 1:
                count = str(len(outputs))
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": count}
                os.environ |= {"LOCAL_WORLD_SIZE": count, "TORCHELASTIC_RUN_ID": "tests"}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
            work(function, arguments, output)
        processes.append(child)
    return processes


def wait(processes: Sequence[int]) -> list[int]:
    """The exit codes of processes; the first that fails ends all, as under torchrun."""
    codes: dict[int, int] = {}
    latest_s = time.monotonic() + LATEST_S
    while len(codes) < len(processes):
        for child in set(processes) - codes.keys():
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[child] = os.waitstatus_to_exitcode(status)
            elif any(codes.values()) or time.monotonic() > latest_s:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return [codes[child] for child in processes]


def main() -> None:
    """Start processes, as asked on standard input, and wait for them, until that ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # a search for garbage among it would copy all of it into every child
    gc.set_threshold(50_000, 50, 50)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        with store() as port:
            processes = start(port, **json.loads(line))
            print(json.dumps(processes), file=answers, flush=True)
            sys.stdin.readline()
            codes = wait(processes)
        print(json.dumps(codes), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""Runs a command on a damaged example in a process of its own, and judges what it did."""

from __future__ import annotations

import errno
import gc
import hashlib
import importlib
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz.caches import FUNCTIONS
from tests.fuzz.damage import damage
from tests.fuzz.examples import EXAMPLES, Command
from tests.fuzz.policies import write_recipe

from tempovla.cli.main import commands, complain, main, one_line
from tempovla.cli.train import build

LONGEST_S = 20.0
MOST_BYTES = 1 << 30
"""Memory that a command may take beyond what it takes before it reads anything."""
KNOWN_ABORT = "what():  Definition level histogram size mismatch"
"""Arrow 26 ends the process at a footer that is damaged just there; docs/reliability.md names it."""
DIVERGED = 3
"""Exit code of a training that has left the finite numbers."""
_ADDRESS_BYTES = 6 << 30
_WRITES = os.O_WRONLY | os.O_RDWR
_FOREIGN_ACTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.bind")
_CHANGES = {
    **dict.fromkeys(("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"), 1),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), 2),
}
"""Events that change the disk, and how many of their first arguments are paths."""


@dataclass(frozen=True)
class Case:
    """What is damaged, how, and which command meets it: all follows from these."""

    example: str
    seed: int
    command: int

    @property
    def name(self) -> str:
        return f"{self.example}-{self.seed}-{self.command}"

    @classmethod
    def parse(cls, name: str) -> Case:
        example, seed, command = name.rsplit("-", 2)
        return cls(example, int(seed), int(command))


@dataclass(frozen=True)
class Verdict:
    """How a case ended.

    Attributes:
        fault: what is wrong with it; "" where nothing is.
        damaged: the file, relative to the example's folder, and how.
        output: of the command.
    """

    fault: str
    damaged: str
    output: str
    seconds: float
    peak_bytes: int


def preload() -> None:
    """Import what commands import: it costs a forked process nothing then."""
    for name in (
        *("tempovla.cli.main", "tempovla.export.exporter", "tempovla.recipe.evaluation.offline"),
        *("tempovla.recipe.systems.vla", "tempovla.recipe.systems.vlm", "tempovla.report.page"),
        *("tempovla.recipe.systems.statevla", "tempovla.recipe.systems.openvla_bundle"),
        *("tempovla.recipe.diagnosis.memory", "torch._dynamo", "torch.utils.tensorboard"),
        *("transformers.models.qwen2.modeling_qwen2", "tests.unit.report.conftest"),
        *("transformers.models.bert.modeling_bert", "tests.unit.transform.test_text_model", "tests.openvla_tiny"),
        *(
            module
            for module, _ in commands().values()
            if module.rpartition(".")[2].startswith(("data", "train", "eval_off", "convert", "export", "diagnose"))
        ),
    ):
        importlib.import_module(name)
    build("train statevla", "").parse_args([])  # the first time, the parser asks a new Python for its path
    gc.freeze()  # a search for garbage among it would copy all of it into every process


def build_examples(folder: Path, names: tuple[str, ...] = tuple(EXAMPLES)) -> Path:
    """The sound examples, each in a folder of its name; each is made in a process of its own."""
    for name in names:
        place = folder / name
        if place.is_dir():
            continue
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _silence(folder / f"{name}.log")
                (folder / f".{name}").mkdir(parents=True)
                EXAMPLES[name].build(folder / f".{name}")
                (folder / f".{name}").rename(place)
                code = 0
            except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if status:
            raise AssertionError(f"{name} cannot be made:\n{(folder / f'{name}.log').read_text()[-3000:]}")
    return folder


def damaged_files(folder: Path, example: str) -> list[Path]:
    """The files of an example that are damaged, in order."""
    found = {path for pattern in EXAMPLES[example].damaged for path in folder.glob(pattern)}
    return sorted(path for path in found if path.is_file())


def run_case(case: Case, examples: Path, folder: Path, *, keep: bool = False) -> Verdict:
    """Damage a copy of an example and run a command on it, in `folder`, which is removed unless `keep`."""
    random = Random(case.name)
    root = examples / case.example
    file = random.choice(damaged_files(root, case.example)).relative_to(root)
    return run_damaged(case.example, case.command, file, lambda path: damage(path, random), examples, folder, keep=keep)


def run_damaged(
    example: str,
    command: int,
    file: Path,
    change: Callable[[Path], str],
    examples: Path,
    folder: Path,
    *,
    keep: bool = False,
) -> Verdict:
    """Change one file of a copy of an example and run one of its commands on it.

    Args:
        example: its name.
        command: number of the command.
        file: relative to the example's folder.
        change: damages the file, and returns how.
        examples: folder of the sound examples.
        folder: where the command runs; it is removed unless `keep`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    inside, out, outside = folder / "in", folder / "out", folder / "outside"
    shutil.copytree(examples / example, inside, symlinks=True)
    for place in (out, outside):
        place.mkdir(parents=True)
    write_recipe(out / "recipe.yaml")
    (outside / "canary").write_text("alive")
    told = f"{file}: {change(inside / file)}"
    words = EXAMPLES[example].commands[command]
    before = _state(outside)
    filled = tuple(word.replace("{in}", str(inside)).replace("{out}", str(out)) for word in words)
    verdict = _judge(filled, folder, inside / file, told)
    if _state(outside) != before:
        verdict = Verdict("changed files outside", *_rest(verdict))
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return verdict


def run_sound(example: str, command: int, examples: Path, folder: Path) -> Verdict:
    """Run a command on the example as it is."""
    shutil.rmtree(folder, ignore_errors=True)
    inside, out = folder / "in", folder / "out"
    shutil.copytree(examples / example, inside, symlinks=True)
    (folder / "outside").mkdir()
    write_recipe(out / "recipe.yaml")
    words = EXAMPLES[example].commands[command]
    verdict = _judge(
        tuple(word.replace("{in}", str(inside)).replace("{out}", str(out)) for word in words), folder, inside, "nothing"
    )
    shutil.rmtree(folder, ignore_errors=True)
    return verdict


def _rest(verdict: Verdict) -> tuple[str, str, float, int]:
    return verdict.damaged, verdict.output, verdict.seconds, verdict.peak_bytes


def _judge(command: Command, folder: Path, file: Path, told: str) -> Verdict:
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _run_as_child(command, folder)
    status = _wait(child, started + LONGEST_S)
    seconds = time.monotonic() - started
    output = (folder / "stderr").read_text(errors="replace")
    acts = (folder / "acts").read_text() if (folder / "acts").exists() else ""
    peak = int((folder / "peak").read_text() or 0) if (folder / "peak").exists() else 0
    errors = [line for line in output.splitlines() if line.startswith("tempovla: error: ")]
    if status is None:
        fault = f"took more than {LONGEST_S:.0f} s"
    elif acts:
        fault = "did " + acts.splitlines()[0]
    elif "Traceback" in output:
        fault = "traceback: " + output.strip().splitlines()[-1][:200]
    elif os.WIFSIGNALED(status) and KNOWN_ABORT in output:
        fault = ""
    elif os.WIFSIGNALED(status):
        fault = f"killed by signal {os.WTERMSIG(status)}"
    elif peak > MOST_BYTES:
        fault = f"took {peak / 1e9:.1f} GB"
    elif os.WEXITSTATUS(status) == 0:
        fault = "an error, and code 0" if errors else ""
    elif os.WEXITSTATUS(status) == DIVERGED and file.suffix == ".safetensors" and len(errors) == 1:
        fault = ""  # numbers that are wrong, but are numbers, may make a training diverge
    elif os.WEXITSTATUS(status) != 2 or len(errors) != 1:
        fault = f"code {os.WEXITSTATUS(status)} with {len(errors)} lines of error"
    elif not any(place in errors[0] for place in (str(folder / "in"), file.name)):
        fault = "no file named: " + errors[0]
    elif len(errors[0]) > 2_000:
        fault = f"an error of {len(errors[0])} characters"
    else:
        fault = ""
    return Verdict(fault, told, output[-4_000:], seconds, peak)


def _wait(child: int, until: float) -> int | None:
    """Its exit status, None if it had to be killed."""
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run_as_child(command: Command, folder: Path) -> None:
    """Run it, and end the process."""
    code = 1
    try:
        os.chdir(folder / "outside")
        _silence(folder / "stderr")
        os.environ["TEMPOVLA_CACHE"] = str(folder / "out" / "cache")
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "out")
        address = _memory("VmSize") + _ADDRESS_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (address, address))
        base = _memory("VmRSS")
        _watch(folder)
        socket.setdefaulttimeout(1.0)
        code = _main(command)
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / "peak").write_text(str(_memory("VmHWM") - base))
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _main(command: Command) -> int:
    if command[0] != "call":
        return main(list(command))
    try:
        FUNCTIONS[command[1]](Path(command[2]))
    except (ValueError, OSError) as error:
        return complain(one_line(error), 2)
    return 0


def _silence(log: Path) -> None:
    """Send both outputs to a file, those of C libraries included."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115


def _memory(name: str) -> int:
    """A line of /proc/self/status [bytes]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _watch(folder: Path) -> None:
    """Refuse and write down what no reader may do: run code of the example, start processes, write elsewhere.

    What is refused does not happen: whoever runs this as root has a machine to lose.
    """
    inside, out = str(folder / "in"), str(folder / "out")
    log = os.open(folder / "acts", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    allowed = (inside, out, "/dev/null", "/dev/shm/", str(folder / "peak"), "/proc/")

    def is_foreign(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return not os.path.abspath(os.fsdecode(path)).startswith(allowed)

    def look(event: str, args: tuple[object, ...]) -> None:
        told = ""
        if event in _FOREIGN_ACTS:
            told = f"{event} {str(args)[:200]}"
        elif event == "open" and isinstance(args[2], int) and args[2] & _WRITES and is_foreign(args[0]):
            told = f"open {args[0]!r} to write"
        elif event == "os.mkdir" and os.path.isdir(args[0]):  # type: ignore[arg-type]
            pass
        elif event in _CHANGES and any(is_foreign(path) for path in args[: _CHANGES[event]]):
            told = f"{event} {args[0]!r}"
        elif event == "exec" and getattr(args[0], "co_filename", "").startswith((inside, str(folder / "outside"))):
            told = f"ran {args[0].co_filename}"  # type: ignore[attr-defined]
        if told:
            os.write(log, f"{told}\n".encode())
            raise PermissionError(errno.EPERM, "the fuzz harness does not let it")

    sys.addaudithook(look)


def _state(folder: Path) -> list[tuple[str, str]]:
    """Names and contents below a folder."""
    return [
        (str(path), hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in sorted(folder.rglob("*"))
    ]

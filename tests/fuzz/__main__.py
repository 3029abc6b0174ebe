"""`python -m tests.fuzz`: damage examples for as long as is asked, every value of their JSON files, or one case again.

python -m tests.fuzz --seconds 3600 --seed 7 --failures outputs/fuzz
python -m tests.fuzz --sweep --examples report,checkpoint
python -m tests.fuzz --replay lerobot-v3.0-video-12-0
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz.examples import EXAMPLES
from tests.fuzz.runner import KNOWN_ABORT, Case, build_examples, preload, run_case
from tests.fuzz.sweep import sweep


def cases(seed: int, names: list[str]):
    """Cases without end, the same ones for the same seed; heavy commands come less often."""
    random = Random(seed)
    while True:
        name = random.choice(names)
        commands = EXAMPLES[name].commands
        is_heavy = [command[0] in ("train", "export", "eval", "diagnose") for command in commands]
        weights = [1 if heavy else 4 for heavy in is_heavy]
        command = random.choices(range(len(commands)), weights)[0]
        yield Case(name, random.randrange(10**9), command)


def sweep_all(names: list[str], examples: Path, work: Path) -> int:
    """Sweep these examples, and tell each fault once a place."""
    count, faults = 0, dict[tuple[str, str], str]()
    for name in names:
        for verdict in sweep(name, examples, work):
            count += 1
            place = verdict.damaged.partition(" = ")[0]
            if verdict.fault and faults.setdefault((name, place), verdict.fault) is verdict.fault:
                sys.stdout.write(f"{name}: {verdict.damaged}: {verdict.fault[:200]}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{count} cases, faults at {len(faults)} places\n")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0, help="after the sound examples are made (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the cases (0)")
    parser.add_argument("--examples", default=",".join(EXAMPLES), help="names, with commas between")
    parser.add_argument("--kept-examples", type=Path, help="folder that keeps the sound examples for the next time")
    parser.add_argument("--failures", type=Path, default=Path("outputs/fuzz"), help="folder for what failed")
    parser.add_argument("--sweep", action="store_true", help="put other kinds in the place of every value, one by one")
    parser.add_argument("--replay", metavar="CASE", help="play this case, or the file that a failure left")
    args = parser.parse_args()
    args.failures = args.failures.resolve()  # cases run in folders of their own
    preload()
    names = args.examples.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        kept = args.kept_examples or work / "examples"
        if args.replay:
            case = Case.parse(Path(args.replay).name.removesuffix(".json"))
            verdict = run_case(case, build_examples(kept, (case.example,)), args.failures / case.name, keep=True)
            sys.stdout.write(f"{verdict.damaged}\n{verdict.output}\n{verdict.fault or 'as it should be'}\n")
            return 1 if verdict.fault else 0
        examples = build_examples(kept, tuple(names))
        if args.sweep:
            return sweep_all(names, examples, work / "case")
        until, count, known, failed = time.monotonic() + args.seconds, 0, 0, Counter[str]()
        for case in cases(args.seed, names):
            if time.monotonic() > until:
                break
            verdict = run_case(case, examples, work / "case")
            count += 1
            known += KNOWN_ABORT in verdict.output
            if verdict.fault:
                failed[verdict.fault.split("/")[0][:80]] += 1
                args.failures.mkdir(parents=True, exist_ok=True)
                (args.failures / f"{case.name}.json").write_text(json.dumps(vars(verdict), indent=1) + "\n")
                sys.stdout.write(f"{case.name}: {verdict.damaged[:120]}: {verdict.fault[:200]}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{count} cases, {sum(failed.values())} failed, {known} ended by Arrow's known fault\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

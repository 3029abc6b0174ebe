"""`tempovla data sample`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_depth_unit, add_json_option, add_key_flags, add_libero_images, stream_keys
from tempovla.data.inspection import sample_windows
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.storage.whole import new_file

EXAMPLES = """
tempovla data sample outputs/demo/dataset --episode 0 --frame 10 --window action=0:16 --out sample.npz
tempovla data sample ROOT --episode 3 --frame 0 --window observation.state=-0.2s,0s --window action=0 --out sample.npz
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    usage = "ROOT --episode E --frame F --window KEY=OFFSETS ... --out FILE.npz [--depth-unit UNIT]"
    parser = build_parser(name, summary, usage, EXAMPLES)
    parser.add_argument(
        "root", metavar="ROOT", help="folder that holds meta/, v1.0-*/, or LIBERO's <task>_demo.hdf5 files"
    )
    parser.add_argument("--episode", type=int, required=True, metavar="E", help="episode, counted from 0")
    parser.add_argument("--frame", type=int, required=True, metavar="F", help="frame that is now, counted from 0")
    parser.add_argument(
        "--window",
        action="append",
        required=True,
        metavar="KEY=OFFSETS",
        help="steps of a stream relative to now: 0, -2,-1,0, 0:16 (end excluded) or -0.2s,0s; may be given repeatedly",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE.npz",
        help="file with KEY (T, ...), KEY.valid (T,) and KEY.offsets (T,) of every window",
    )
    add_depth_unit(parser)
    add_libero_images(parser)
    add_key_flags(parser)
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Write the windows."""
    out = Path(args.out)
    if out.suffix != ".npz":
        raise ValueError(f"--out {out} must end in .npz")
    keys, unit = stream_keys(args), args.depth_unit
    arrays = sample_windows(
        args.root, args.episode, args.frame, args.window, keys, depth_unit=unit, libero_images=args.libero_images
    )
    with new_file(out) as staged, staged.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    listed = {key: {"shape": list(value.shape), "dtype": value.dtype.name} for key, value in arrays.items()}
    lines = [f"  {key}: {entry['dtype']} {entry['shape']}" for key, entry in listed.items()]
    return Outcome("\n".join([str(out), *lines]), {"file": str(out), "arrays": listed})

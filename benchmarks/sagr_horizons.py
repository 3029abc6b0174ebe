r"""SA-GR's world predictor beside persistence, by how far ahead it looks, on episodes that it did not learn from.

    python benchmarks/sagr_horizons.py --config configs/sagr_metaworld.yaml --data outputs/demonstrations \
        --out outputs/horizons --horizons 2,4,8,16 --seeds 0,1,2 [--json FILE] [--png FILE]

Persistence predicts that nothing changes. Both are errors of normalised task tokens of the encoder's running average,
from which the prediction starts, over a tenth of the episodes. The prediction does not move the tokens. Each training
is `tempovla train sagr`. Stopped, the same call goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from commands import as_word, exit_code_of, tempovla
from dot_plot import GRID, INK, PAPER, POLICY, SOFT
from tempovla.storage.whole import write_text
from tempovla.training.metrics import read_metrics

ERROR, STILL = "val_debug/sagr/mse_dyn", "val_debug/sagr/persistence"


def train(config: str, data: str, folder: Path, horizons: list[int], seed: int, steps: int | None) -> None:
    """Train, as far as that is not done."""
    done, checkpoint = folder / "training.json", folder / "checkpoint_latest"
    if done.exists():
        return
    first, *others = horizons
    settings: dict[str, Any] = {
        "model.world_target_encoder": "ema",
        "model.temporal_delta_k": first,
        "model.horizons": others,
        "model.loss_w_geo": 0,
        "model.use_drift": False,
        "data.train_split": 0.9,
        "training.validation_interval": 250,
        "training.seed": seed,
    }
    options = ["--config", config, "--dataset", data, "--out", str(folder), "--json"]
    options += [word for key, value in settings.items() for word in (f"--{key}", as_word(value))]
    options += ["--training.train_steps", str(steps)] if steps else []
    options += ["--checkpoint", str(checkpoint)] if checkpoint.exists() else []
    told = tempovla("train", "sagr", *options)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(done, told)


def errors_of(folder: Path, horizons: list[int]) -> dict[int, tuple[float, float]]:
    """By horizon, the errors of the predictor and of persistence at the last validation."""
    last = [line for line in read_metrics(folder) if ERROR in line][-1]
    suffix = {steps: "" if steps == horizons[0] else f"_k{steps}" for steps in horizons}
    return {steps: (last[ERROR + suffix[steps]], last[STILL + suffix[steps]]) for steps in horizons}


def draw(found: list[dict[int, tuple[float, float]]], path: str) -> None:
    """Draw both errors by horizon, a line a seed."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained", facecolor=PAPER)
    for place, name, color, style in ((1, "nothing changes", SOFT, "--"), (0, "world predictor", POLICY, "-")):
        for index, errors in enumerate(found):
            steps = sorted(errors)
            values = [errors[each][place] for each in steps]
            axes.plot(steps, values, style, color=color, marker="o", markersize=4, label=None if index else name)
    axes.set(xlabel="steps ahead", ylim=(0, None), facecolor=PAPER)
    axes.set_xticks(sorted(found[0]))
    axes.set_title("mean squared error of normalised task tokens", fontsize=10, color=INK, loc="left")
    axes.grid(color=GRID)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=SOFT)
    axes.legend(frameon=False, labelcolor=INK)
    figure.savefig(path, dpi=130, facecolor=PAPER)


def whole_numbers(option: str, text: str, *, least: int) -> list[int]:
    """The numbers of an option.

    Raises:
        ValueError: if one is no whole number, or less than the least.
    """
    if not all(part.strip().isdecimal() and int(part) >= least for part in text.split(",")):
        raise ValueError(
            f"--{option}={text} must be whole numbers of at least {least}, separated by commas, such as 2,4"
        )
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Train what is missing, and print the table.

    Raises:
        ValueError: in one line, if an option is wrong, or a training fails.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/sagr_metaworld.yaml")
    parser.add_argument("--data", required=True, help="demonstrations with depth")
    parser.add_argument("--out", required=True, type=Path, help="folder of all runs")
    parser.add_argument("--horizons", default="8,2,4,16", help="steps ahead; the first is temporal_delta_k")
    parser.add_argument("--seeds", default="0", help="of the trainings")
    parser.add_argument("--steps", type=int, help="training steps, other than the config's")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--png", help="where to draw them")
    options = parser.parse_args()
    horizons = whole_numbers("horizons", options.horizons, least=1)
    if len(set(horizons)) != len(horizons):
        raise ValueError(f"--horizons={options.horizons} names a step twice; name each of them once")
    seeds = whole_numbers("seeds", options.seeds, least=0)
    if options.steps is not None and options.steps < 1:
        raise ValueError(f"--steps={options.steps} must be at least 1; give more, or leave it out")
    if not Path(options.data).is_dir():
        raise ValueError(f"--data={options.data} is no folder; give that of the demonstrations with depth")
    found = []
    for seed in seeds:
        length = f"_{options.steps}" if options.steps else ""
        ahead = "_".join(map(str, horizons))
        folder = options.out / f"{Path(options.config).stem}_{Path(options.data).name}_{ahead}{length}_{seed}"
        train(options.config, options.data, folder, horizons, seed, options.steps)
        found.append(errors_of(folder, horizons))
    print("| steps ahead | world predictor | nothing changes | ratio |\n|---:|---|---|---|")
    for steps in sorted(horizons):
        pairs = [errors[steps] for errors in found]
        cells = (", ".join(f"{pair[place]:.4f}" for pair in pairs) for place in (0, 1))
        print(f"| {steps} | {' | '.join(cells)} | {', '.join(f'{error / still:.2f}' for error, still in pairs)} |")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")
    if options.png:
        draw(found, options.png)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))

"""Whether stage 1 learns to see: captions of coloured shapes, on a CPU.

    python benchmarks/vlm_captions.py [--steps 600] [--json FILE]
    python benchmarks/vlm_captions.py --data DIR        only write the pictures and captions

Pictures of 64 px show a square, a bar or a ring in one of four colours at one of four places, on a grey of any
brightness; captions are such as "a red square on the left". 200 pictures train, 200 others test.

1. `instruct` of all parts from scratch, and the same with blank pictures: what the words alone tell.
2. `align` with a new projector, all else frozen, starting from the first; and how good that projector is before.

Tested on fresh pictures: the share of an answer's tokens, and of whole captions, that are the most likely ones given
the tokens before; for the trained models also with blank pictures in place of the true ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser
from PIL import Image, ImageDraw

from tempovla.data.byte_cache import ByteCache
from tempovla.data.conversation_loader import ConversationBatches, conversation_loader, tokenize_conversations
from tempovla.data.conversations import read_conversations
from tempovla.model.vlm.caption_model import CaptionModel
from tempovla.recipe.systems.conversations import SquarePictures
from tempovla.recipe.systems.vlm import build_chat, build_model, train_vlm
from tempovla.recipe.systems.vlm_config import VLMRecipe
from tempovla.timeline import Bundle, TimelineSample
from tempovla.timeline.keys import PICTURE_KEY

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "vlm_align_tiny.yaml"
SIZE = 64
COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (230, 210, 50)}
SHAPES = ("square", "bar", "ring")
PLACES = {"on the left": (16, 32), "on the right": (48, 32), "at the top": (32, 16), "at the bottom": (32, 48)}
QUESTIONS = ("What is there to see?", "Describe the picture.")


def draw(shape: str, colour: str, place: str, rng: np.random.Generator) -> Image.Image:
    """One picture; size, exact place, and brightness of the background vary."""
    grey = int(rng.integers(0, 256))
    picture = Image.new("RGB", (SIZE, SIZE), (grey, grey, grey))
    x, y = (centre + rng.integers(-5, 6) for centre in PLACES[place])
    half = int(rng.integers(9, 13))
    height = half // 3 if shape == "bar" else half
    box = [(int(x - half), int(y - height)), (int(x + half), int(y + height))]
    pen = ImageDraw.Draw(picture)
    if shape == "ring":
        pen.ellipse(box, outline=COLOURS[colour], width=4)
    else:
        pen.rectangle(box, fill=COLOURS[colour])
    return picture


def write_captions(folder: Path, name: str, count: int, seed: int, *, blank: bool = False) -> Path:
    """Pictures and a JSONL file of what they show; `blank` ones are grey with the same captions."""
    rng = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        place = rng.choice(list(PLACES))
        picture = draw(shape, colour, place, rng)
        image = f"{name}/{index:04d}.png"
        (Image.new("RGB", (SIZE, SIZE), (128, 128, 128)) if blank else picture).save(folder / image)
        turns = [
            {"from": "human", "value": f"<image>\n{rng.choice(QUESTIONS)}"},
            {"from": "gpt", "value": f"a {colour} {shape} {place}"},
        ]
        lines.append(json.dumps({"id": str(index), "image": image, "conversations": turns}))
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def read_recipe(*arguments: str) -> VLMRecipe:
    """The recipe of the config file with some settings changed."""
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(VLMRecipe, None)
    args = parser.instantiate(parser.parse_args(["--config", str(CONFIG), *arguments]))
    return VLMRecipe(args.data, args.transform, args.model, args.training)


def load(recipe: VLMRecipe, checkpoint: Path) -> CaptionModel:
    """A trained model."""
    model = build_model(recipe, "instruct")
    model.load_state_dict(Bundle.load(checkpoint).weights)
    return model.eval()


@torch.inference_mode()
def score(model: CaptionModel, recipe: VLMRecipe, captions: Path, *, blank: bool = False) -> dict[str, float]:
    """Shares of tokens and of whole captions that are predicted right."""
    vision = model.vlm.config.vision
    assert vision.image_size is not None
    rows = tokenize_conversations(read_conversations(captions), build_chat(recipe, model))
    fit = SquarePictures(vision.image_size, vision.resize)
    batches = ConversationBatches(rows, range(len(rows)), fit, fit.size, ByteCache(0))
    hits, whole = [], []
    for sample in conversation_loader(batches, 50, num_workers=0, seed=0, epochs=1):
        logits, tokens, row = model.predict(without_picture(sample) if blank else sample)
        right = logits.argmax(-1) == tokens
        hits.append(right)
        whole += [bool(right[row == index].all()) for index in range(sample.batch_size)]
    return {"tokens": float(torch.cat(hits).float().mean()), "captions": float(np.mean(whole))}


def without_picture(sample: TimelineSample) -> TimelineSample:
    """The sample with mid-grey in place of its pictures."""
    return sample.map_tracks(
        lambda key, track: track.map(lambda v: torch.full_like(v, 128)) if key == PICTURE_KEY else track
    )


def measure(folder: Path, steps: int, seed: int) -> dict[str, dict[str, float]]:
    """Train everything, and test it."""
    train, unseen = write_captions(folder, "train", 200, seed), write_captions(folder, "test", 200, seed + 1)
    blank = write_captions(folder, "blank", 200, seed, blank=True)
    recipe = read_recipe("--data.dataset", str(train), "--training.train_steps", str(steps), f"--training.seed={seed}")
    seeing = replace(recipe, training=replace(recipe.training, learn_vision=True))
    results: dict[str, dict[str, float]] = {}

    started = os.times()
    instructed = train_vlm(seeing, "instruct", folder / "instruct").checkpoint
    results["instruct"] = score(load(recipe, instructed), recipe, unseen) | spent(started)
    results["instruct, tested on blank pictures"] = score(load(recipe, instructed), recipe, unseen, blank=True)

    started = os.times()
    words = replace(seeing, data=replace(seeing.data, dataset=str(blank)))
    checkpoint = train_vlm(words, "instruct", folder / "words").checkpoint
    results["instruct on blank pictures"] = score(load(recipe, checkpoint), recipe, unseen, blank=True) | spent(started)

    before = build_model(recipe, "align", instructed, new_projector=True).eval()
    results["a new projector"] = score(before, recipe, unseen)
    started = os.times()
    aligned = train_vlm(recipe, "align", folder / "align", pretrained_vlm=instructed, new_projector=True).checkpoint
    results["the new projector after align"] = score(load(recipe, aligned), recipe, unseen) | spent(started)
    results["the same, tested on blank pictures"] = score(load(recipe, aligned), recipe, unseen, blank=True)
    return results


def spent(started: os.times_result) -> dict[str, float]:
    """CPU seconds since."""
    now = os.times()
    return {"cpu_s": round(now.user + now.system - started.user - started.system, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600, help="training steps of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="write pictures and captions here, and stop")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if arguments.data is not None:
        print(write_captions(arguments.data, "train", 200, arguments.seed))
        print(write_captions(arguments.data, "test", 200, arguments.seed + 1))
        return
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, Any] = measure(Path(folder), arguments.steps, arguments.seed)
    print(f"{platform.machine()}, torch {torch.__version__}, {arguments.steps} steps, seed {arguments.seed}")
    for name, figures in results.items():
        cost = f"{figures['cpu_s']:6.0f} s" if "cpu_s" in figures else ""
        print(f"{name:38} tokens {figures['tokens']:6.1%}  captions {figures['captions']:6.1%} {cost}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

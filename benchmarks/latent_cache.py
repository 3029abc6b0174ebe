"""What a frozen encoder costs when each observation is encoded once and kept, beside encoding it at every use.

    python benchmarks/latent_cache.py [--steps 20] [--history 16]

A StateVLA at the sizes of the demo, two cameras of 64 px, phase 2 with a frozen encoder. Made-up episodes are written
to a temporary folder and held decoded, so that the pictures' own decoding is in the encoding alone. Figures are CPU
time of one thread, the two ways taking turns.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from tempovla.data.layout import Feature
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.writer import DatasetWriter
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.objective import Objective
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.datasets.encodings import encode, encoded_windows
from tempovla.recipe.systems.statevla import build_transform
from tempovla.recipe.systems.statevla_config import StateVLARecipe
from tempovla.timeline import Context, EpisodeSource, TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, ENCODING_KEY, IMAGE_KEY_PREFIX, STATE_KEY
from tempovla.training.config import TrainConfig
from tempovla.transform.pipeline import TransformPipeline

CAMERAS = (IMAGE_KEY_PREFIX + "front", IMAGE_KEY_PREFIX + "wrist")
MODEL = StateVLAConfig(
    cameras=CAMERAS,
    image_size=64,
    image_tokenizer="conv",
    embed_dim=128,
    robot_state_dim=9,
    encoder_type="transformer",
    encoder_depth=2,
    num_heads=4,
    readout="all_tokens",
    policy_type="transformer",
    policy_layers=2,
    policy_embed_dim=128,
    action_seq_len=16,
    flow_draws=2,
)
EPISODES, LENGTH = 8, 60


def record(root: Path) -> EpisodeSource:
    """Episodes of noise."""
    random = np.random.default_rng(0)
    features = {STATE_KEY: Feature("float32", (9,)), ACTION_KEY: Feature("float32", (7,))}
    features |= {camera: Feature("image", (64, 64, 3)) for camera in CAMERAS}
    with DatasetWriter(root, features, 10.0, robot_type="toy") as writer:
        for _ in range(EPISODES):
            frames = {camera: random.integers(0, 256, (LENGTH, 64, 64, 3), dtype=np.uint8) for camera in CAMERAS}
            action = random.normal(size=(LENGTH, 7)).astype(np.float32)
            action[:, 6] = np.where(np.arange(LENGTH) < LENGTH // 2, -1.0, 1.0)
            state = random.normal(size=(LENGTH, 9)).astype(np.float32)
            writer.add_episode({STATE_KEY: state, ACTION_KEY: action, **frames}, "go")
    return open_dataset(root)


def cpu_s(run: Callable[[], object]) -> float:
    """CPU time of a call [s]."""
    started_s = time.process_time()
    run()
    return time.process_time() - started_s


def batches(source: EpisodeSource, windows: tuple[Window, ...], training: TrainConfig) -> Iterator[TimelineSample]:
    """Shuffled batches."""
    return iter(SampleLoader(Mixture([source]), windows, LoaderConfig(training.batch_size), seed=0))


def features(policy: StateVLA, context: Context, offsets: range) -> torch.Tensor:
    """Encodings (B, L, D) of a window, computed where they are not there already."""
    tracks = {key: (context.past.get(key), track) for key, track in context.now.items()}
    if ENCODING_KEY in tracks:
        past, now = tracks[ENCODING_KEY]
        return now.value if past is None else torch.cat([past.value, now.value], dim=1)
    rows = []
    for offset in offsets:
        step = {
            key: now if past is None or offset == 0 else now.with_value(past.at(offset)[0][:, None])
            for key, (past, now) in tracks.items()
        }
        rows.append(policy.encode_features(Context({}, step, context.task, context.first))[0])
    return torch.stack(rows, dim=1)


class Training:
    """Steps of phase 2, and windows of history, on one source."""

    def __init__(
        self,
        source: EpisodeSource,
        policy: StateVLA,
        windows: tuple[Window, ...],
        transform: TransformPipeline,
        training: TrainConfig,
        history: int,
    ) -> None:
        self.policy, self.transform, self.objective = policy, transform, Objective()
        self.batches = batches(source, windows, training)
        self.offsets = range(1 - history, 1)
        long = tuple(Window(window.key, tuple(self.offsets)) for window in windows if window.key != ACTION_KEY)
        self.long_batches = batches(source, long, training)
        learning = [weight for weight in policy.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=1e-4)
        self.step_s: list[float] = []
        self.window_s: list[float] = []

    def step(self) -> None:
        """Read a batch, learn from it."""
        sample = self.transform.forward_sample(next(self.batches))
        self.optimizer.zero_grad()
        self.objective(self.policy(sample)).total.backward()
        self.optimizer.step()

    @torch.no_grad()
    def read_window(self) -> None:
        """Read a batch of windows as features."""
        features(self.policy, self.transform.forward_context(next(self.long_batches).context), self.offsets)

    def measure(self) -> None:
        """One of each."""
        self.step_s.append(cpu_s(self.step))
        self.window_s.append(cpu_s(self.read_window))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="training steps of each way")
    parser.add_argument("--history", type=int, default=16, help="observations of a window")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = TrainConfig(batch_size=16, num_threads=1)
    write = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        source = record(Path(folder, "dataset"))
        policy = StateVLA(MODEL)
        transform = build_transform(StateVLARecipe(model=MODEL), MODEL, DatasetMixture.of_one(source, MODEL))
        encoded: list[EpisodeSource] = []
        cache = str(Path(folder, "encodings"))
        once_s, again_s = (
            cpu_s(lambda: encoded.append(encode(source, policy, transform, training, folder=cache))) for _ in range(2)
        )
        size = sum(path.stat().st_size for path in Path(cache).glob("*.safetensors"))
        decoded = preload(source, (STATE_KEY, ACTION_KEY, *CAMERAS), 1 << 30)
        windows = policy.windows()
        ways = [
            Training(decoded, policy, windows, transform, training, options.history),
            Training(encoded[1], policy, encoded_windows(windows), transform, training, options.history),
        ]
        for turn in range(options.steps + 1):
            for way in ways:
                way.measure()
                if turn == 0:  # the first of each is slower
                    way.step_s.clear()
                    way.window_s.clear()
    steps, rows = EPISODES * LENGTH, training.batch_size
    each_ms = 1e3 * once_s / steps
    write(f"{platform.machine()}, torch {torch.__version__}, one thread, CPU time, batches of {rows}\n")
    write(f"encode {steps} observations once: {once_s:.2f} s, {each_ms:.1f} ms each, {size / 1e6:.2f} MB\n")
    write(f"a later run, fingerprints and read: {again_s:.2f} s, {once_s / again_s:.0f} times less\n")
    for name, part in (("training step", "step_s"), (f"features of {options.history} observations a row", "window_s")):
        without_ms, with_ms = (1e3 * statistics.median(getattr(way, part)) for way in ways)
        ratio = without_ms / with_ms
        write(f"{name}: {without_ms:.1f} ms from pictures, {with_ms:.1f} ms from the cache, {ratio:.1f} times less\n")


if __name__ == "__main__":
    main()

"""A small convolutional variational autoencoder of 32x32 images: its 12 latents are the visual domain's image.

Source: Kingma & Welling 2014. Kernels do not overlap (kernel = stride): on a CPU that is six times faster than
overlapping ones for the same reconstruction error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from training.shapes.distribution import LATENTS, Floats
from training.shapes.render import CHANNELS

# With these, latents explain 90 % of the images' variance after three minutes on a CPU core (docs/performance.md).
WIDTH: Final = 32
HIDDEN: Final = 256
BATCH: Final = 64
LEARNING_RATE: Final = 3e-3
WARM_UP: Final = 0.15
# Weight of the summed squared error of an image beside the divergence of its 12 latents from the prior.
GAIN: Final = 20.0
# Sums are split among threads, so their number is fixed: a seed gives the same weights on any number of cores. More
# threads are a tenth faster on idle cores at this size, and much slower on busy ones.
THREADS: Final = 1
# Images encoded at once: 6 MB of them as float32.
ENCODING_BATCH: Final = 512

Images = NDArray[np.uint8]


class ShapeVae(nn.Module):
    """Images (n, 3, 32, 32) in [0, 1] to mean and log variance (n, 12) each, and back."""

    def __init__(self) -> None:
        super().__init__()
        flat = 2 * WIDTH * 4 * 4
        self.encoder = nn.Sequential(
            nn.Conv2d(CHANNELS, WIDTH, 4, 4),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 2 * WIDTH, 2, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 2 * LATENTS),
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENTS, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, flat),
            nn.ReLU(),
            nn.Unflatten(1, (2 * WIDTH, 4, 4)),
            nn.ConvTranspose2d(2 * WIDTH, WIDTH, 2, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, CHANNELS, 4, 4),
        )
        # Images arrive channels last, as numpy has them, and the convolutions take them so.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance

    def loss(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Negative evidence lower bound per sample, up to a constant, with Gaussian noise of precision 2 * GAIN."""
        mean, log_variance = self.encode(images)
        noise = torch.randn(mean.shape, generator=generator)
        decoded = self.decoder(mean + torch.exp(0.5 * log_variance) * noise)
        squares: Tensor = (decoded - images).square().sum(dim=(1, 2, 3)).mean()
        divergence: Tensor = -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()
        return GAIN * squares + divergence


def train_vae(images: Images, *, seed: int, steps: int, say: Callable[[str], None]) -> ShapeVae:
    """Train on images (n, 32, 32, 3). seed: decides initialisation, batches and noise. say: called with progress."""
    generator = torch.Generator().manual_seed(seed)
    # Initialisation draws from torch's global generator, which is put back afterwards. No devices: CUDA stays unloaded.
    with _fixed_arithmetic(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = ShapeVae()
        optimizer = torch.optim.Adam(vae.parameters(), lr=LEARNING_RATE, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=WARM_UP)
        for step in range(1, steps + 1):
            chosen = torch.randint(len(images), (BATCH,), generator=generator).numpy()
            loss = vae.loss(_as_batch(images[chosen]), generator)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if step % max(1, steps // 4) == 0:
                say(f"VAE: step {step} of {steps}, loss {loss.item():.1f}")
    return vae


def posterior_means(vae: ShapeVae, images: Images) -> Floats:
    """Latents of images (n, 32, 32, 3), shape (n, 12)."""
    with _fixed_arithmetic(), torch.inference_mode():
        means = [vae.encode(_as_batch(part))[0] for part in _parts(images)]
    found: Floats = torch.cat(means).numpy()
    return found


def reconstruction_error(vae: ShapeVae, images: Images) -> dict[str, float]:
    """How well images (n, 32, 32, 3) come back from their posterior means.

    mse: mean squared error per channel value in [0, 1]. explained: 1 - mse / mse of the mean image.
    """
    with _fixed_arithmetic(), torch.inference_mode():
        squares = 0.0
        for part in _parts(images):
            batch = _as_batch(part)
            decoded = vae.decoder(vae.encode(batch)[0]).clamp(0.0, 1.0)
            squares += float((decoded - batch).double().square().sum())
    mse = squares / images.size
    variance = float((images.astype(np.float32) / 255.0).var(axis=0, dtype=np.float64).mean())
    return {"mse": mse, "explained": 1.0 - mse / variance if variance > 0 else 0.0}


def save_vae(vae: ShapeVae, path: Path) -> None:
    """Write the weights as safetensors."""
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in vae.state_dict().items()}))


def _parts(images: Images) -> Iterator[Images]:
    return (images[start : start + ENCODING_BATCH] for start in range(0, len(images), ENCODING_BATCH))


def _as_batch(images: Images) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return pixels.to(torch.float32, memory_format=torch.channels_last).div_(255.0)


@contextmanager
def _fixed_arithmetic() -> Iterator[Any]:
    """A fixed number of threads, and subnormals flushed before they start, as a training in this process will need.

    Afterwards both are as they were: whatever else this process computes, numpy's numbers included, must not change.
    """
    threads, flushed = torch.get_num_threads(), _flushes_subnormals()
    torch.set_flush_denormal(True)
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


def _flushes_subnormals() -> bool:
    """Whether this thread takes 1e-40 for zero; torch sets this and does not tell it."""
    return not torch.full((1,), 1e-40).mul_(1.0).item()

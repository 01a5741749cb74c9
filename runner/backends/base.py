"""What a pipeline may ask of a backend: load a component, encode tokens, denoise a batch, decode latents.

Only a backend knows devices and dtypes. Arrays it hands out (`Array`) are its own; nothing else looks inside them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from runner.conditions import Array, Conditions

if TYPE_CHECKING:
    from components.latent_space import LatentSpace
    from components.schedulers import Tableau

Role = Literal["network", "autoencoder", "encoder", "tokenizer"]
"""What a component of a checkpoint is for."""


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Ho and Salimans 2022) with the rescaling of Lin et al. 2023 (section 3.4).

    `scale` and `rescale` are one number for the batch, or a tuple with one for each of its images.
    `embedded`: the scale is told to the network itself (guidance-distilled networks) instead of calling it twice.
    """

    scale: float | tuple[float, ...]
    rescale: float | tuple[float, ...] = 0.0
    embedded: bool = False

    @property
    def doubles(self) -> bool:
        """Whether each row evaluates the network with and without the prompt."""
        scales = self.scale if isinstance(self.scale, tuple) else (self.scale,)
        return max(scales) > 1.0 and not self.embedded

    def twice(self, conditions: Conditions) -> bool:
        """Whether it does so under these conditions, which may have nothing to be without."""
        return self.doubles and conditions.negative is not None


@dataclass(frozen=True)
class Change:
    """What shall be otherwise from the next row on; None leaves it as it is."""

    latents: Array | None = None
    conditions: Conditions | None = None
    guidance: Guidance | None = None


AfterRow = Callable[[int, Array], Change | None]
"""Called with a row's number and the latents after it."""


@dataclass(frozen=True)
class NoiseSpec:
    """Where a batch's noise comes from: the seeds of its images, the shape (C, h, w) of one, and who draws it.

    `on_device` draws on the device in the network's dtype, `row_dtype` (None: that dtype) being the exception that a
    scheduler makes for its rows; otherwise float32 on the CPU, the same for everybody.
    """

    seeds: tuple[int, ...]
    shape: tuple[int, int, int]
    on_device: bool = False
    row_dtype: str | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """Latents (B, C, h, w) to begin with, and the level they stand at: alpha · picture + sigma · noise, in any scale.

    Clean ones are at (1, 0), noise alone is at (0, 1). Noise is added up to the level where the table begins.
    """

    latents: Array
    alpha: float = 1.0
    sigma: float = 0.0

    def terms(self, table: Tableau) -> np.ndarray:
        """(2,) or (2, B) with x = [0] · latents + [1] · a draw. Raises ValueError where the table begins with less."""
        alpha, sigma = np.moveaxis(np.asarray(table.read, np.float64)[..., 0, :], -1, 0)
        kept = alpha / self.alpha if self.alpha else sigma / self.sigma
        added = sigma**2 - (kept * self.sigma) ** 2
        if (added < -SAME_LEVEL * sigma**2).any():
            what = f"the latents stand at alpha {self.alpha:.6g}, sigma {self.sigma:.6g}"
            raise ValueError(f"{what}, which is noisier than the table's beginning at {alpha}, {sigma}")
        return np.stack([kept, np.sqrt(np.where(added > SAME_LEVEL * sigma**2, added, 0.0))])


SAME_LEVEL = 1e-6
"""Of a variance: less noise than this is not missing."""


class NoiseSource(Protocol):
    """Draws of the caller's own making instead of seeds: (B, C, h, w), float32, on the device.

    `started`: the first draw, which is for the latents to begin with, has been taken or is not wanted.
    """

    started: bool

    def draw(self, wanted: Sequence[bool] | None = None) -> Array: ...


@dataclass(frozen=True)
class Saving:
    """How a backend saves memory on its device at the price of time, as the recipe's keys of these names say."""

    offload: Literal["none", "model", "sequential"] = "none"
    vae_tiling: bool = False
    vae_slicing: bool = False
    shard_parameters: bool = False


SAVING_NOTHING = Saving()


def make_backend(
    name: str, device: str, dtype: str, threads: int, compile: bool, saving: Saving = SAVING_NOTHING
) -> Backend:
    """The backend of the module `name` in this folder. Raises RecipeError for a device that is not here."""
    # OpenMP reads this once, when it is first loaded. Threads that wait asleep cost a quiet machine next to nothing;
    # threads that wait spinning make a busy one (two cores, another process at work) seven times slower, as measured.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return importlib.import_module(f"runner.backends.{name}").BACKEND(device, dtype, threads, compile, saving)


class Backend(Protocol):
    """One device, one dtype, one thread count: fixed when the backend is made, recorded by the run."""

    name: str
    device: str
    dtype: str
    threads: int

    def load(self, role: Role, files: Any) -> Any:
        """A component with its weights, ready on the device; `role` is what it is for."""
        ...

    def encode_text(self, encoder: Any, ids: np.ndarray, mask: np.ndarray | None, skip: int | None) -> Array:
        """Hidden states (1, L, D) of token ids (1, L); `skip` counts layers left out from the end, None: none."""
        ...

    def encode_texts(self, encoders: Sequence[Any], ids: Sequence[np.ndarray], skip: int | None) -> tuple[Array, Array]:
        """Hidden states (1, L, sum of D) of several encoders before their last layer, and the pooled ones (1, P) of the
        last encoder; `skip` leaves out that many layers more."""
        ...

    def join(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        """Arrays that are equal along every other axis, one behind the other along this one; numpy's are taken too."""
        ...

    def denoise(
        self,
        network: Any,
        table: Tableau,
        noise: NoiseSpec | NoiseSource,
        conditions: Conditions,
        guidance: Guidance,
        after_row: AfterRow,
        begin: Start | None = None,
    ) -> Array:
        """Latents (B, C, h, w) after the last row; `after_row(n, latents)` is called as each row is done.

        Rows begin with `begin`, or with init_noise_sigma · the first draw. Raises ValueError where it is too noisy.
        """
        ...

    def decode(self, vae: Any | None, latents: Array, space: LatentSpace | None = None, upcast: bool = False) -> Array:
        """Images (B, C, H, W) in [0, 1], float32, of latents in this space; without a `vae` they are images in [-1, 1].

        `upcast` decodes in float32 what would be float16: some autoencoders overflow there.
        """
        ...

    def to_pixels(self, images: Array) -> np.ndarray:
        """Images as `decode` gives them to pictures (B, H, W, 3) uint8."""
        ...

    def to_numpy(self, array: Array) -> np.ndarray:
        """A copy in float32 on the host."""
        ...

    def wait(self) -> None:
        """Returns when all work handed out is done, so that clocks tell the truth."""
        ...

    def versions(self) -> dict[str, str]:
        """What of this backend can change a picture: library, driver and device in words."""
        ...

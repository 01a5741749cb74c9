"""What a pipeline may ask of a backend: load a component, encode tokens, denoise a batch, decode latents.

Only a backend knows devices and dtypes. Arrays it hands out (`Array`) are its own; nothing else looks inside them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from components.schedulers import Tableau

Array = Any
AfterRow = Callable[[int], None]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Ho and Salimans 2022) with the rescaling of Lin et al. 2023 (section 3.4).

    `embedded`: the scale is told to the network itself (guidance-distilled networks) instead of calling it twice.
    """

    scale: float
    rescale: float = 0.0
    embedded: bool = False

    @property
    def doubles(self) -> bool:
        """Whether each row evaluates the network with and without the prompt."""
        return self.scale > 1.0 and not self.embedded


@dataclass(frozen=True)
class Conditioning:
    """What steers the network, for one image; the backend repeats it over a batch. `negative` None: no guidance."""

    positive: Array
    negative: Array | None


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


def make_backend(name: str, device: str, dtype: str, threads: int, compile: bool) -> Backend:
    """The backend of the module `name` in this folder. Raises RecipeError for a device that is not here."""
    # OpenMP reads this once, when it is first loaded. Threads that wait asleep cost a quiet machine next to nothing;
    # threads that wait spinning make a busy one (two cores, another process at work) seven times slower, as measured.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return importlib.import_module(f"runner.backends.{name}").BACKEND(device, dtype, threads, compile)


class Backend(Protocol):
    """One device, one dtype, one thread count: fixed when the backend is made, recorded by the run."""

    name: str
    device: str
    dtype: str
    threads: int

    def load(self, name: str, files: Any) -> Any:
        """The component `name` (unet, vae, text_encoder …) with its weights, ready on the device."""
        ...

    def encode_text(self, encoder: Any, ids: np.ndarray, mask: np.ndarray | None, skip: int | None) -> Array:
        """Hidden states (1, L, D) of token ids (1, L); `skip` counts layers left out from the end, None: none."""
        ...

    def denoise(
        self,
        unet: Any,
        table: Tableau,
        noise: NoiseSpec,
        conditioning: Conditioning,
        guidance: Guidance,
        after_row: AfterRow,
    ) -> Array:
        """Latents (B, C, h, w) after the last row; `after_row(n)` is called as each row is done."""
        ...

    def decode(self, vae: Any, latents: Array) -> np.ndarray:
        """Pictures (B, H, W, 3) uint8."""
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

"""The noise of each image, from that image's own seed and nothing else: not the batch, its size, nor the device.

By default drawn in float32 on the CPU, where a seed means the same on every machine; on request on the device and in
the latents' own dtype, which reproduces what the reference library draws there. Callers from Python bring generators of
their own, which may be shared by the images of a batch and by successive calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from components.schedulers import Tableau


class GeneratorNoise:
    """Draws from given generators: the first is for the initial latents, then one for each row that takes noise.

    Only the draw in hand is held, so a thousand rows cost no more memory than one.
    """

    def __init__(
        self,
        generators: torch.Generator | Sequence[torch.Generator] | None,
        shape: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        draw_dtype: torch.dtype = torch.float32,
        row_dtype: torch.dtype | None = None,
        first: Tensor | None = None,
    ) -> None:
        """Draws arrive on `device` in float32 whatever they were drawn in.

        Args:
            generators: a list, one for each image; one that draws whole batches; or None, torch's own on `device`.
            shape: of a batch, (B, C, H, W).
            row_dtype: what rows are drawn in, where that is not `draw_dtype`.
            first: taken in place of the first draw, for which nothing is drawn then.
        """
        self.generators = generators
        self.shape = tuple(shape)
        self.device = torch.device(device)
        self.draw_dtype = draw_dtype
        self.row_dtype = row_dtype or draw_dtype
        self.first = first
        self.started = False

    def draw(self, wanted: Sequence[bool] | None = None) -> Tensor:
        """(B, C, H, W) float32: a fresh draw for each wanted image (None: all), zeros for the others."""
        if self.first is not None:
            drawn, self.first = self.first, None
        elif isinstance(self.generators, torch.Generator) or self.generators is None:
            drawn = self._randn(self.generators, self.shape)
        else:
            asked = wanted or [True] * len(self.generators)
            parts = [self._of_image(i, generator, asked[i]) for i, generator in enumerate(self.generators)]
            drawn = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.started = True
        return drawn.to(device=self.device, dtype=torch.float32)

    def _of_image(self, image: int, generator: torch.Generator, wanted: bool) -> Tensor:
        """(1, C, H, W) on the generator's device: one image's part of a draw."""
        one = (1, *self.shape[1:])
        if not wanted:
            return torch.zeros(one, dtype=self._dtype, device=generator.device)
        return self._randn(generator, one)

    def _randn(self, generator: torch.Generator | None, shape: Sequence[int]) -> Tensor:
        device = self.device if generator is None else generator.device
        return torch.randn(shape, generator=generator, dtype=self._dtype, device=device)

    @property
    def _dtype(self) -> torch.dtype:
        return self.row_dtype if self.started else self.draw_dtype


class IndependentNoise(GeneratorNoise):
    """One generator per image, from that image's seed."""

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        draw_on: torch.device | str = "cpu",
        draw_dtype: torch.dtype = torch.float32,
        row_dtype: torch.dtype | None = None,
    ) -> None:
        """`shape` is one image's (C, H, W); `draw_on` is the device of the generators."""
        generators = [torch.Generator(torch.device(draw_on)).manual_seed(seed) for seed in seeds]
        super().__init__(
            generators, (len(generators), *shape), device=device, draw_dtype=draw_dtype, row_dtype=row_dtype
        )


class PathNoise(GeneratorNoise):
    """For tables that draw increments of a Brownian path, where callers bring generators: the first draw is theirs.

    The path's seed is that of the generator: a list of them is a path for each image, one is a path of the whole batch.
    """

    def __init__(
        self,
        table: Tableau,
        seed: int | Sequence[int] | None,
        generators: torch.Generator | Sequence[torch.Generator] | None,
        shape: Sequence[int],
        **options: Any,
    ) -> None:
        """`seed` takes the place of the generators'; where there are neither, torch's own generator draws one.

        `options` are those of GeneratorNoise.
        """
        super().__init__(generators, shape, **options)
        self._table, self._seed = table, seed
        self._spans = iter(table.noise_span[~np.isnan(table.noise_span[:, 0])])
        self._path: Any = None

    def draw(self, wanted: Sequence[bool] | None = None) -> Tensor:
        """The first draw, of the initial latents, is the generators'; each after it is the next such row's."""
        if not self.started:
            return super().draw(wanted)
        if self._path is None:
            from components.schedulers.brownian import brownian_path, path_seed

            low, high = self._table.brownian  # type: ignore[misc]
            self._path = brownian_path(path_seed(self._seed, self.generators), self.shape, low, high)
        return torch.as_tensor(self._path.unit(next(self._spans)), dtype=torch.float32, device=self.device)


class BrownianNoise(IndependentNoise):
    """For tables some or all of whose images draw increments of a Brownian path: its seed is the image's own.

    In a stack each image has the source that its table asks for: a path of its own ends and spans, or its generator.
    """

    def __init__(self, table: Tableau, seeds: Sequence[int], shape: Sequence[int], **options: Any) -> None:
        """`options` are those of IndependentNoise. Raises ImportError where torchsde is wanted and missing."""
        from components.schedulers.brownian import brownian_path

        super().__init__(seeds, shape, **options)
        images = len(seeds)
        ends = np.broadcast_to(np.asarray(table.brownian, np.float64), (images, 2))
        spans = np.broadcast_to(table.noise_span, (images, table.rows, 2))
        self.paths = [
            None if np.isnan(low) else brownian_path(seed, (1, *shape), low, high)
            for seed, (low, high) in zip(seeds, ends.tolist(), strict=True)
        ]
        self.spans = [iter(of_image[~np.isnan(of_image[:, 0])]) for of_image in spans]

    def _of_image(self, image: int, generator: torch.Generator, wanted: bool) -> Tensor:
        path = self.paths[image]
        if path is None or not (wanted and self.started):
            return super()._of_image(image, generator, wanted)
        return torch.as_tensor(path.unit(next(self.spans[image])), dtype=torch.float32, device=generator.device)

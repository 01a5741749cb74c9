"""The noise of each image, from that image's own seed and nothing else: not the batch, its size, nor the device.

By default drawn in float32 on the CPU, where a seed means the same on every machine; on request on the device and in
the latents' own dtype, which reproduces what the reference library draws there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from components.schedulers import Tableau


class IndependentNoise:
    """One generator per image: the first draw is for the initial latents, then one for each row that takes noise.

    Only the draw in hand is held, so a thousand rows cost no more memory than one.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        draw_on: torch.device | str = "cpu",
        draw_dtype: torch.dtype = torch.float32,
    ) -> None:
        """`shape` is one image's (C, H, W); draws arrive on `device` in float32 whatever they were drawn in."""
        self.shape = (1, *shape)
        self.device = torch.device(device)
        self.draw_dtype = draw_dtype
        self.generators = [torch.Generator(torch.device(draw_on)).manual_seed(seed) for seed in seeds]

    def draw(self, wanted: Sequence[bool] | None = None) -> Tensor:
        """(B, C, H, W) float32: a fresh draw for each wanted image (None: all), zeros for the others."""
        if wanted is None:
            wanted = [True] * len(self.generators)
        parts = [
            torch.randn(self.shape, generator=generator, dtype=self.draw_dtype, device=generator.device)
            if asked
            else torch.zeros(self.shape, dtype=self.draw_dtype, device=generator.device)
            for generator, asked in zip(self.generators, wanted, strict=True)
        ]
        drawn = parts[0] if len(parts) == 1 else torch.cat(parts)
        return drawn.to(device=self.device, dtype=torch.float32)


class BrownianNoise(IndependentNoise):
    """For tables whose draws are increments of one Brownian path per image: the path's seed is the image's own."""

    def __init__(self, table: Tableau, seeds: Sequence[int], shape: Sequence[int], **options: Any) -> None:
        """`options` are those of IndependentNoise. Raises ImportError, with what to install, without torchsde."""
        from components.schedulers.brownian import BrownianPath

        super().__init__(seeds, shape, **options)
        assert table.brownian is not None
        self.paths = [BrownianPath(seed, self.shape, *table.brownian) for seed in seeds]
        self.spans = iter(table.noise_span[table.takes_noise])
        self.started = False

    def draw(self, wanted: Sequence[bool] | None = None) -> Tensor:
        """The first draw, of the initial latents, is independent; each after it is the next such row's."""
        if not self.started:
            self.started = True
            return super().draw(wanted)
        span = next(self.spans)
        return torch.cat([path.unit(span) for path in self.paths]).to(device=self.device, dtype=torch.float32)

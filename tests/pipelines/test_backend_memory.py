"""The keys that save memory change nothing in a picture but what they say, and the estimate knows them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_checkpoint import pixels

from runner.errors import RecipeError
from runner.execute import RunResult
from runner.memory import estimate_peak
from runner.plan import Plan, make_plan
from runner.schema import Recipe

Run = Callable[..., RunResult]
CPU = {"device": "cpu", "dtype": "float32", "threads": 1}


@pytest.mark.parametrize("offload", ["model", "sequential"])
@pytest.mark.parametrize("kind", ["sd15", "sdxl", "ddpm"])
def test_offloading_changes_no_pixel(family: Callable[[str], Path], run: Run, kind: str, offload: str) -> None:
    keys = {"checkpoint": {"repo": str(family(kind))}, "scheduler": {"name": "DDIMScheduler"}, "steps": 2}
    if kind == "ddpm":
        keys |= {"prompt": ""}
    found = run(**keys, backend=CPU | {"offload": offload})
    np.testing.assert_array_equal(pixels(found), pixels(run(**keys, backend=CPU)))


def test_slicing_decodes_the_same_pictures(run: Run) -> None:
    found, wanted = (pixels(run(num_images=3, batch_size=3, backend=CPU | {"vae_slicing": on})) for on in (True, False))
    assert np.abs(found - wanted).max() <= 1  # another batch size moves the last bit


def test_tiling_leaves_a_picture_of_one_tile_alone_and_shows_faintly_in_a_larger_one(run: Run) -> None:
    def difference(size: int) -> np.ndarray:
        one, other = (pixels(run(height=size, width=size, backend=CPU | {"vae_tiling": on})) for on in (True, False))
        return np.abs(one - other)

    assert difference(32).max() == 0
    assert 0 < difference(64).mean() < 16


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "jax", "offload": "model"}, r"backend\.offload: the jax backend does not do this"),
        ({"name": "jax", "vae_tiling": True}, r"backend\.vae_tiling: the jax backend does not do this"),
        ({"offload": "sequential", "compile": True}, r"backend\.offload: a compiled network cannot be moved"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_work_starts(
    recipe: Callable[..., Recipe], keys: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        make_plan(recipe(backend=CPU | keys))


class TestEstimate:
    @pytest.fixture
    def plan(self, recipe: Callable[..., Recipe]) -> Plan:
        return make_plan(recipe(num_images=4))

    def on(self, plan: Plan, device: str, **keys: object) -> Plan:
        backend = plan.recipe.backend.model_copy(update={"device": device, **keys})
        return replace(plan, device=device, recipe=plan.recipe.model_copy(update={"backend": backend}))

    def test_grows_with_the_batch_but_not_in_its_weights(self, plan: Plan) -> None:
        one, four = estimate_peak(plan, 1), estimate_peak(plan, 4)
        assert estimate_peak(plan) == four
        assert four.denoise == 4 * one.denoise and four.decode == 4 * one.decode
        assert four.weights == one.weights
        assert four.total - one.total == max(four.denoise, four.decode) - max(one.denoise, one.decode)

    def test_weights_are_those_in_the_files(self, plan: Plan) -> None:
        files = plan.components["unet"].weights
        assert estimate_peak(plan).weights["unet"] == pytest.approx(sum(f.stat().st_size for f in files), rel=0.1)
        assert estimate_peak(replace(plan, dtype="float16")).weights["unet"] * 2 == estimate_peak(plan).weights["unet"]

    def test_offloading_counts_what_is_on_the_device_at_once(self, plan: Plan) -> None:
        def resident(device: str, offload: str) -> int:
            return estimate_peak(self.on(plan, device, offload=offload)).resident

        weights = estimate_peak(plan).weights.values()
        assert resident("cuda", "none") == sum(weights)
        assert resident("cuda", "model") == max(weights)
        assert 0 < resident("cuda", "sequential") < max(weights) / 4
        assert resident("cpu", "model") == sum(weights)  # where they wait

    def test_tiles_and_slices_bound_the_decoding(self, plan: Plan) -> None:
        large = replace(plan, height=128, width=128, latent_shape=(4, 32, 32))
        whole, tiled, sliced = (
            estimate_peak(self.on(large, "cpu", **keys)).decode
            for keys in ({}, {"vae_tiling": True}, {"vae_slicing": True})
        )
        assert tiled < whole / 4 and sliced < whole / 3

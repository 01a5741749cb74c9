"""The Flax code of the guide "Load schedulers and models" runs here with nothing changed but its import lines.

Its repositories are tiny checkpoints in a hub cache under their real names, the branch bf16 as Flax saved it, with
sockets closed; its eight accelerators are simulated on the CPU, in a process of their own.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("jax", reason="the Flax names need jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the Flax names need flax: pip install '.[jax]'")

import jax
import jax.numpy as jnp
from flax_writer import to_flax

import runner
from components.errors import CheckpointError
from components.schedulers import scheduler_classes
from runner.backends.jax_devices import Layout
from runner.backends.jax_engine import segments
from runner.python_face.flax_arguments import Call

Family = Callable[[str], Path]
pytestmark = pytest.mark.usefixtures("only_the_cache")
ROOT = Path(__file__).parents[2]
SD15, XL = "stable-diffusion-v1-5/stable-diffusion-v1-5", "stabilityai/stable-diffusion-xl-base-1.0"
GUIDE = f'''
import jax
import numpy as np
from flax.jax_utils import replicate
from flax.training.common_utils import shard

from diffusers import FlaxStableDiffusionPipeline, FlaxDPMSolverMultistepScheduler

model_id = "{SD15}"
scheduler, scheduler_state = FlaxDPMSolverMultistepScheduler.from_pretrained(
    model_id,
    subfolder="scheduler"
)
pipeline, params = FlaxStableDiffusionPipeline.from_pretrained(
    model_id,
    scheduler=scheduler,
    revision="bf16",
    dtype=jax.numpy.bfloat16,
)
params["scheduler"] = scheduler_state

# Generate 1 image per parallel device (8 on TPUv2-8 or TPUv3-8)
prompt = "a photo of an astronaut riding a horse on mars"
num_samples = jax.device_count()
prompt_ids = pipeline.prepare_inputs([prompt] * num_samples)

prng_seed = jax.random.PRNGKey(0)
num_inference_steps = 25

# shard inputs and rng
params = replicate(params)
prng_seed = jax.random.split(prng_seed, jax.device_count())
prompt_ids = shard(prompt_ids)

images = pipeline(prompt_ids, params, prng_seed, num_inference_steps, jit=True).images
images = pipeline.numpy_to_pil(np.asarray(images.reshape((num_samples,) + images.shape[-3:])))
'''
BESIDE = """
from runner import FlaxEulerAncestralDiscreteScheduler

_, state = FlaxEulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
params["scheduler"] = replicate(state)
others = pipeline(prompt_ids, params, prng_seed, num_inference_steps, jit=True).images
others = pipeline.numpy_to_pil(np.asarray(others.reshape((num_samples,) + others.shape[-3:])))
np.savez(
    "pictures.npz",
    FlaxDPMSolverMultistepScheduler=np.stack(images),
    FlaxEulerAncestralDiscreteScheduler=np.stack(others),
)
"""


def ours(block: str) -> str:
    return block.replace("from diffusers import", "from runner import")


def in_float32(block: str) -> str:
    return block.replace("jax.numpy.bfloat16", "jax.numpy.float32")


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "guide", "exec"), names)
    return names


@pytest.fixture(scope="module")
def cache(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache: SD 1.5 as torch saved it (main) and as Flax did (bf16), and XL as torch did."""
    folder = tmp_path_factory.mktemp("hub")
    for repo, kind, revision, commit in (
        (SD15, "sd15", "main", "0" * 40),
        (SD15, "sd15", "bf16", "1" * 40),
        (XL, "sdxl", "main", "2" * 40),
    ):
        place = folder / f"models--{repo.replace('/', '--')}"
        shutil.copytree(family(kind), place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / revision).write_text(commit)
        if revision == "bf16":
            to_flax(place / "snapshots" / commit, jnp.bfloat16)
    return folder


@pytest.mark.parametrize("name", ["DPMSolverMultistep", "LMSDiscrete", "DDPM"])
def test_the_guide_word_for_word(name: str) -> None:
    """In bfloat16 from the branch that Flax saved, on the devices there are; so do the schedulers it warns of."""
    names = run(ours(GUIDE.replace("DPMSolverMultistep", name)))
    assert jax.tree.leaves(names["params"]["unet"])[0].dtype == jnp.bfloat16
    assert len(names["images"]) == jax.device_count() == 1
    assert names["images"][0].size == (32, 32) and np.asarray(names["images"][0]).std() > 10


@pytest.mark.slow  # half a minute; test_jax_devices has the eight devices without the Flax names
def test_eight_devices_make_eight_pictures_each_the_one_of_its_key(cache: Path, tmp_path: Path) -> None:
    """The guide's, and those of a sampler that draws noise for each step."""
    block = in_float32(ours(GUIDE)).replace("num_inference_steps = 25", "num_inference_steps = 5")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-c", block + BESIDE], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    names = run(block[: block.index("# shard inputs")])
    pipeline, params, ids = names["pipeline"], names["params"], names["prompt_ids"]
    for scheduler, found in np.load("pictures.npz").items():
        assert found.shape == (8, 32, 32, 3)
        _, params["scheduler"] = getattr(runner, scheduler).from_config(pipeline.scheduler.config)
        for picture, key in zip(found.astype(int), jax.random.split(jax.random.PRNGKey(0), 8), strict=True):
            alone = pipeline.numpy_to_pil(pipeline(ids, params, key, 5).images)[0]
            assert np.abs(picture - np.asarray(alone).astype(int)).max() <= 1


class TestPictures:
    """In float32, against the torch pipeline from the same latents."""

    def both(self, kind: str, family: Family, scheduler: str, **call: Any) -> tuple[np.ndarray, np.ndarray]:
        """Two pictures of two prompts: ours, and those of torch."""
        prompts, key = ["a red star", "a small cat"], jax.random.key(3)
        cls = "FlaxStableDiffusionPipeline" if kind == "sd15" else "FlaxStableDiffusionXLPipeline"
        named, _ = getattr(runner, f"Flax{scheduler}").from_pretrained(family(kind), subfolder="scheduler")
        pipeline, params = getattr(runner, cls).from_pretrained(family(kind), scheduler=named)
        given = dict(call)
        if "negative_prompt" in given:
            given["neg_prompt_ids"] = pipeline.prepare_inputs([given.pop("negative_prompt")] * 2)
        found = pipeline(pipeline.prepare_inputs(prompts), params, key, 5, **given).images
        torch_pipeline = runner.DiffusionPipeline.from_pretrained(family(kind))  # type: ignore[attr-defined]
        torch_pipeline.scheduler = getattr(runner, scheduler).from_config(torch_pipeline.scheduler.config)
        latents = torch.from_numpy(np.array(jax.random.normal(key, (2, 4, 8, 8))))
        expected = torch_pipeline(
            prompts, num_inference_steps=5, latents=latents, output_type="np", **{"guidance_scale": 7.5, **call}
        ).images
        return np.asarray(found), expected

    @pytest.mark.parametrize("kind", ["sd15", "sdxl"])
    @pytest.mark.parametrize("call", [{}, {"negative_prompt": "blue", "guidance_scale": 3.0}])
    def test_are_those_of_torch(self, family: Family, kind: str, call: dict[str, Any]) -> None:
        found, expected = self.both(kind, family, "DPMSolverMultistepScheduler", **call)
        assert found.shape == expected.shape == (2, 32, 32, 3)
        assert expected.std() > 0.04
        assert np.abs(found - expected).max() <= 2 / 255

    def test_of_every_scheduler_there_is_one(self, family: Family) -> None:
        """All that fit, by one program."""
        pipeline, params = runner.FlaxStableDiffusionPipeline.from_pretrained(family("sd15"))  # type: ignore
        ids = pipeline.prepare_inputs("a red star")
        compiled: list[str] = []

        def listen(event: str, seconds: float, **details: Any) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                compiled.append(str(details.get("fun_name")))

        fitting = [n for n, cls in scheduler_classes().items() if cls.fits == "training clock" and not cls.ascending]
        assert len(fitting) > 18
        jax.monitoring.register_event_duration_secs_listener(listen)
        for name in fitting:
            options = {"beta_schedule": "squaredcos_cap_v2"} if name == "UnCLIPScheduler" else {}
            _, params["scheduler"] = getattr(runner, f"Flax{name}").from_config(pipeline.scheduler.config, **options)
            if params["scheduler"].scheduler.plain.tableau(3).brownian:
                continue  # its noise comes from the host: another program
            images = np.asarray(pipeline(ids, params, jax.random.key(0), 3).images)
            assert images.shape == (1, 32, 32, 3) and np.isfinite(images).all() and images.std() > 0.04, name
        jax.monitoring.unregister_event_duration_listener(listen)
        assert compiled.count("jit(denoise_rows)") <= 1

    def test_guidance_may_differ_from_picture_to_picture(self, family: Family) -> None:
        pipeline, params = runner.FlaxStableDiffusionPipeline.from_pretrained(family("sd15"))  # type: ignore
        ids, key = pipeline.prepare_inputs(["a red star"] * 2), jax.random.key(0)
        apart = [np.asarray(pipeline(ids, params, key, 3, guidance_scale=scale).images) for scale in (2.0, 9.0)]
        together = np.asarray(pipeline(ids, params, key, 3, guidance_scale=np.array([2.0, 9.0])).images)
        for picture in (0, 1):
            assert np.abs(together[picture] - apart[picture][picture]).max() <= 1e-4
        assert np.abs(together[0] - apart[1][0]).max() > 0.01

    def test_a_path_is_the_keys_own(self) -> None:
        """Brownian noise, drawn on the host; the first draw is the key's, as of the other schedulers."""
        table = scheduler_classes()["DPMSolverSDEScheduler"]().tableau(4)
        layout = Layout.over(jax.devices())
        first, draws = [], []
        for seed in (0, 0, 1):
            call = Call(jnp.zeros((2, 77)), None, None, jax.random.key(seed)[None], None, 7.5)
            noise = call.noise((4, 8, 8), table, layout)
            first.append(np.asarray(noise.first()))
            draws.append(np.asarray(noise.rows(next(segments(table, 2, layout.share_out))).drawn[0]))
        expected = jax.random.normal(jax.random.key(0), (2, 4, 8, 8))
        np.testing.assert_array_equal(first[0], expected)
        np.testing.assert_array_equal(draws[0], draws[1])
        assert all(np.abs(draws[0] - other).mean() > 0.5 for other in (draws[2], draws[0][::-1]))


@pytest.fixture(scope="module")
def loaded(family: Family) -> tuple[Any, dict[str, Any]]:
    return runner.FlaxStableDiffusionPipeline.from_pretrained(family("sd15"))  # type: ignore[attr-defined]


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"prompt_ids": np.zeros((3, 1, 77), np.int32)}, r"prompt_ids: the shape is \[3, 1, 77\]; expected 2 axes"),
            (
                {"prng_seed": jax.random.split(jax.random.key(0), 3)},
                "prng_seed: 3 keys are given, but this call takes 1",
            ),
            ({"height": 33}, "height: 33 is not a multiple of 4"),
            ({"latents": np.zeros((1, 4, 9, 9))}, r"latents: the shape is \[1, 4, 9, 9\]"),
            ({"neg_prompt_ids": np.zeros((2, 77), np.int32)}, r"neg_prompt_ids: the shape is \[2, 77\]"),
            ({"guidance_scale": [1.0, 2.0]}, r"guidance_scale: the shape is \[2\]"),
            ({"num_inference_steps": 0}, "steps is 0"),
            ({"params": {}}, "params: lack those of the text_encoder"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_calls_that_cannot_work(self, loaded: Any, change: dict[str, Any], said: str) -> None:
        pipeline, params = loaded
        call = {"prompt_ids": pipeline.prepare_inputs("a"), "params": params, "prng_seed": jax.random.key(0)}
        with pytest.raises(ValueError, match=said):
            pipeline(**call | change)

    def test_parameters_of_another_network(self, loaded: Any, family: Family) -> None:
        pipeline, params = loaded
        wrong = {**params, "unet": params["vae"]}
        with pytest.raises(ValueError, match="params: those of the unet are neither what from_pretrained gave"):
            pipeline(pipeline.prepare_inputs("a"), wrong, jax.random.key(0), 1)

    def test_a_plain_scheduler(self, family: Family) -> None:
        with pytest.raises(TypeError, match="scheduler is a DDIMScheduler; expected a Flax one"):
            runner.FlaxStableDiffusionPipeline.from_pretrained(family("sd15"), scheduler=runner.DDIMScheduler())  # type: ignore

    def test_a_checkpoint_of_another_kind(self, family: Family) -> None:
        with pytest.raises(
            CheckpointError, match="is a StableDiffusionXLPipeline, which FlaxStableDiffusionPipeline can"
        ):
            runner.FlaxStableDiffusionPipeline.from_pretrained(family("sdxl"))  # type: ignore[attr-defined]
        with pytest.raises(
            CheckpointError, match="FlaxStableDiffusionPipeline or FlaxStableDiffusionXLPipeline cannot"
        ):
            runner.FlaxDiffusionPipeline.from_pretrained(family("ddim"))  # type: ignore[attr-defined]


def test_no_torch_is_imported(family: Family, tmp_path: Path) -> None:
    """Nor is it by a call: that is the backend's, of which another test says so."""
    program = (
        "import sys\n"
        "from runner import FlaxDDIMScheduler, FlaxDiffusionPipeline\n"
        f"scheduler, state = FlaxDDIMScheduler.from_pretrained({str(family('sd15'))!r}, subfolder='scheduler')\n"
        "scheduler.set_timesteps(state, 5)\n"
        f"pipeline, params = FlaxDiffusionPipeline.from_pretrained({str(family('sd15'))!r}, scheduler=scheduler)\n"
        "pipeline.prepare_inputs('a red star')\n"
        "print([name for name in ('torch', 'diffusers') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"

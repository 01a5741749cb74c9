"""Pipelines are loaded, exchanged in parts, moved, saved and refused as scripts expect it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import runner
from components.errors import CheckpointError
from runner.execute import execute
from runner.outputs import read_pixels
from runner.schema import Recipe

Pair = Callable[[str], tuple[Any, Any]]
Family = Callable[[str], Path]
CLASSES = {
    "sd15": "StableDiffusionPipeline",
    "sd21": "StableDiffusionPipeline",
    "lcm": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "turbo": "StableDiffusionXLPipeline",
    "ddpm": "DDPMPipeline",
    "ddim": "DDIMPipeline",
}
SHORT: dict[str, Any] = {"num_inference_steps": 2, "output_type": "np"}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def draw(pipe: Any) -> np.ndarray:
    prompt = [] if "DDPM" in type(pipe).__name__ or "DDIM" in type(pipe).__name__ else ["a cat"]
    return pipe(*prompt, generator=seeded(), **SHORT).images


@pytest.mark.parametrize("kind", CLASSES)
def test_the_checkpoint_says_its_class(pair: Pair, kind: str) -> None:
    ours, theirs = pair(kind)
    assert type(ours).__name__ == CLASSES[kind] == type(theirs).__name__
    assert {name for name, part in ours.components.items() if part is not None} == {
        name for name, part in theirs.components.items() if part is not None
    }


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "ddpm"])
def test_a_recipe_gives_the_same_bytes(family: Family, pair: Pair, tmp_path: Path, kind: str) -> None:
    """One engine: what a recipe writes and what a call returns are the same numbers."""
    ours, _ = pair(kind)
    prompt = "" if kind == "ddpm" else "a cat"
    recipe = Recipe.model_validate(
        {
            "name": "same",
            "checkpoint": {"repo": str(family(kind))},
            "scheduler": {"name": type(ours.scheduler).__name__},
            "backend": {"device": "cpu", "dtype": "float32", "threads": 1},
            "output": {"dir": str(tmp_path)},
            "prompt": prompt,
            "steps": 3,
            "seed": 1,
        }
    )
    (path,) = execute(recipe, progress=False).images
    call = {} if kind == "ddpm" else {"prompt": prompt, "guidance_scale": 7.5}
    picture = ours(num_inference_steps=3, generator=seeded(), **call).images[0]
    assert np.array_equal(np.asarray(picture), read_pixels(path))


class TestSaving:
    @pytest.mark.parametrize("kind", CLASSES)
    def test_the_reference_library_loads_what_we_save(self, pair: Pair, tmp_path: Path, kind: str) -> None:
        ours, _ = pair(kind)
        ours.save_pretrained(tmp_path / "saved")
        theirs = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "saved", torch_dtype=torch.float32)
        theirs.set_progress_bar_config(disable=True)
        assert type(theirs).__name__ == CLASSES[kind]
        assert np.abs(draw(theirs) - draw(ours)).max() <= 1 / 255
        again = runner.DiffusionPipeline.from_pretrained(tmp_path / "saved")
        assert np.array_equal(draw(again), draw(ours))

    def test_the_files_are_those_of_the_reference_library(self, pair: Pair, family: Family, tmp_path: Path) -> None:
        for kind in ("sd15", "sdxl"):
            ours, theirs = pair(kind)
            ours.save_pretrained(tmp_path / kind / "ours")
            theirs.save_pretrained(tmp_path / kind / "theirs")
            names = (
                {path.relative_to(tmp_path / kind / who).as_posix() for path in (tmp_path / kind / who).rglob("*.*")}
                for who in ("ours", "theirs")
            )
            assert set.symmetric_difference(*names) == set()
            read = (json.loads((tmp_path / kind / who / "model_index.json").read_text()) for who in ("ours", "theirs"))
            found, expected = ({k: v for k, v in index.items() if k != "_name_or_path"} for index in read)
            assert found == expected

    def test_variants_and_shards(self, family: Family, tmp_path: Path) -> None:
        half = runner.DiffusionPipeline.from_pretrained(family("sdxl"), torch_dtype=torch.float16)
        half.save_pretrained(tmp_path, variant="fp16", max_shard_size="100KB")
        names = {path.name for path in (tmp_path / "unet").iterdir()}
        assert "diffusion_pytorch_model.safetensors.index.fp16.json" in names
        assert any(name.startswith("diffusion_pytorch_model.fp16-00001-of-") for name in names)
        theirs = diffusers.DiffusionPipeline.from_pretrained(tmp_path, variant="fp16", torch_dtype=torch.float32)
        ours = runner.DiffusionPipeline.from_pretrained(tmp_path, variant="fp16")
        theirs.set_progress_bar_config(disable=True)
        assert ours.dtype == torch.float32
        assert np.abs(draw(ours) - draw(theirs)).max() <= 1 / 255


class TestParts:
    def test_given_ones_take_the_place_of_the_files(self, family: Family, tmp_path: Path) -> None:
        """They are not even looked for: here the files are gone."""
        import shutil

        whole = runner.DiffusionPipeline.from_pretrained(family("sd15"))
        rest = shutil.copytree(family("sd15"), tmp_path / "rest")
        shutil.rmtree(rest / "unet")
        shutil.rmtree(rest / "scheduler")
        scheduler = runner.DDIMScheduler.from_pretrained(family("sd15"), subfolder="scheduler")
        pipe = runner.StableDiffusionPipeline.from_pretrained(
            rest, scheduler=scheduler, unet=whole.unet, safety_checker=None, requires_safety_checker=False
        )
        assert pipe.unet is whole.unet
        assert type(pipe.scheduler).__name__ == "DDIMScheduler"

    def test_two_pipelines_around_the_same_ones(self, pair: Pair) -> None:
        ours, _ = pair("sd15")
        other = runner.StableDiffusionPipeline(**ours.components)
        assert other.vae is ours.vae
        assert np.array_equal(draw(other), draw(ours))

    def test_dtypes(self, family: Family) -> None:
        pipe = runner.DiffusionPipeline.from_pretrained(family("sdxl"), torch_dtype=torch.float16)
        assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float16}
        pipe = runner.DiffusionPipeline.from_pretrained(family("sdxl"), dtype="bfloat16")
        assert pipe.dtype == torch.bfloat16
        mixed: dict[str, Any] = {"vae": torch.float32, "default": "bfloat16"}
        pipe = runner.DiffusionPipeline.from_pretrained(family("sdxl"), torch_dtype=mixed)
        assert (pipe.vae.dtype, pipe.unet.dtype) == (torch.float32, torch.bfloat16)
        assert pipe.to("cpu", torch.float32) is pipe and pipe.text_encoder_2.dtype == torch.float32
        assert pipe.to(torch.float64).vae.dtype == torch.float64
        assert draw(pipe).shape == (1, 32, 32, 3)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("kind", ["sd15", "sdxl"])
    def test_half_precision_stays_near(self, family: Family, pair: Pair, kind: str, dtype: torch.dtype) -> None:
        half = runner.DiffusionPipeline.from_pretrained(family(kind), torch_dtype=dtype)
        unguided: dict[str, Any] = {**SHORT, "guidance_scale": 1.0}  # guidance multiplies what rounding does
        found, expected = (pipe("a cat", generator=seeded(), **unguided).images for pipe in (half, pair(kind)[0]))
        assert 0 < np.abs(found - expected).mean() < 0.02

    def test_early_scheduler_files_are_corrected_as_the_reference_library_does(
        self, family: Family, tmp_path: Path
    ) -> None:
        import shutil

        folder = shutil.copytree(family("sd15"), tmp_path / "old")
        file = folder / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"steps_offset": 0, "clip_sample": True}))
        ours = runner.DiffusionPipeline.from_pretrained(folder)
        theirs = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
        theirs.set_progress_bar_config(disable=True)
        assert (ours.scheduler.config["steps_offset"], ours.scheduler.config["clip_sample"]) == (1, False)
        for scheduler in ("PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"):
            ours.scheduler = getattr(runner, scheduler).from_config(ours.scheduler.config)
            theirs.scheduler = getattr(diffusers, scheduler).from_config(theirs.scheduler.config)
            assert np.abs(draw(ours) - draw(theirs)).max() <= 1 / 255


class TestRefused:
    def test_a_pipeline_there_is_not(self, family: Family, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text('{"_class_name": "StableDifusionPipeline"}')
        with pytest.raises(ValueError, match="Did you mean 'StableDiffusionPipeline'") as caught:
            runner.DiffusionPipeline.from_pretrained(tmp_path)
        assert all(name in str(caught.value) for name in CLASSES.values())

    def test_a_component_there_is_not(self, family: Family) -> None:
        with pytest.raises(TypeError, match=r"no component 'shceduler'\. Did you mean 'scheduler'"):
            runner.DiffusionPipeline.from_pretrained(family("sd15"), shceduler=runner.DDIMScheduler())

    def test_a_dtype_of_a_component_there_is_not(self, family: Family) -> None:
        with pytest.raises(TypeError, match=r"torch_dtype: there is no component 'unett'\. Did you mean 'unet'"):
            runner.DiffusionPipeline.from_pretrained(family("sd15"), torch_dtype={"unett": torch.float16})

    def test_a_token_by_its_older_name_is_taken_where_it_is_the_one_that_is_used(self, family: Family) -> None:
        from_pretrained = runner.DiffusionPipeline.from_pretrained
        assert from_pretrained(family("sd15"), use_auth_token=True).dtype == torch.float32
        with pytest.raises(TypeError, match="use_auth_token='hf_x' cannot be served: give it as token"):
            from_pretrained(family("sd15"), use_auth_token="hf_x")

    def test_a_component_of_another_kind(self, family: Family, pair: Pair) -> None:
        ours, theirs = pair("sd15")
        with pytest.raises(TypeError, match="vae is a UNet2DConditionModel; expected a AutoencoderKL"):
            ours.vae = ours.unet
        with pytest.raises(TypeError, match="unet is of the diffusers library"):
            ours.unet = theirs.unet
        with pytest.raises(TypeError, match="scheduler is a PNDMScheduler; expected a scheduler of this library"):
            ours.scheduler = theirs.scheduler

    def test_a_component_that_is_missing(self, pair: Pair) -> None:
        with pytest.raises(TypeError, match="DDPMPipeline needs scheduler as well"):
            runner.DDPMPipeline(unet=pair("ddpm")[0].unet)
        with pytest.raises(TypeError, match="DiffusionPipeline stands for any pipeline"):
            runner.DiffusionPipeline()

    def test_a_checkpoint_of_another_kind(self, family: Family) -> None:
        with pytest.raises(CheckpointError, match="the unet is a UNet2DModel, but must be a UNet2DConditionModel"):
            runner.StableDiffusionPipeline.from_pretrained(family("ddim"), tokenizer=1, text_encoder=1)

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            ({}, "prompt: there is neither a prompt nor prompt_embeds"),
            ({"prompt": "a", "prompt_embeds": torch.zeros(1, 77, 32)}, "cannot be given together with prompt_embeds"),
            ({"prompt": 3}, "prompt: must be text or a list of texts"),
            ({"prompt": "a", "height": 33}, "height: 33 is not a multiple of 4"),
            ({"prompt": ["a", "b"], "negative_prompt": ["c"]}, "negative_prompt: 1 texts are given for 2 prompts"),
            ({"prompt": "a", "generator": [seeded(), seeded()]}, "2 generators are given for 1 images"),
            ({"prompt": "a", "latents": torch.zeros(1, 3, 9, 9)}, r"latents: the shape is \[1, 3, 9, 9\]"),
            ({"prompt": "a", "output_type": "pill"}, "output_type: is 'pill'.*Did you mean 'pil'"),
            ({"prompt": "a", "timesteps": [1, 2]}, "timesteps must descend"),
            ({"prompt": "a", "timesteps": [9, 3], "sigmas": [3.0, 0.0]}, "sigmas cannot be given together"),
            ({"prompt": "a", "num_inference_steps": 0}, "steps is 0"),
            ({"prompt": "a", "callback_on_step_end_tensor_inputs": ["latent"]}, "Did you mean 'latents'"),
        ],
    )
    def test_calls_that_cannot_work(self, pair: Pair, call: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            pair("sd15")[0](**call)

    def test_parts_that_do_not_fit_one_another(self, pair: Pair) -> None:
        parts = pair("sd15")[0].components | {"text_encoder": pair("sdxl")[0].text_encoder_2}
        with pytest.raises(ValueError, match="attends to 32 numbers a token, but the text encoder gives 16"):
            runner.StableDiffusionPipeline(**parts)("a cat")
        with pytest.raises(ValueError, match="clip_skip: 3 leaves none of the 3 layers"):
            pair("sdxl")[0]("a cat", clip_skip=3)

    def test_embeddings_of_sdxl_without_the_pooled_ones(self, pair: Pair) -> None:
        with pytest.raises(ValueError, match="prompt_embeds: is given without pooled_prompt_embeds"):
            pair("sdxl")[0](prompt_embeds=torch.zeros(1, 77, 48))


@pytest.mark.parametrize(
    "statement",
    [
        "import runner; dir(runner)",
        "from runner import DDIMScheduler, AysSchedules; DDIMScheduler()",
    ],
)
def test_importing_is_light(statement: str) -> None:
    program = (
        f"{statement}; import sys; print([n for n in ('torch', 'transformers', 'huggingface_hub') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

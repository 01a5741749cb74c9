"""The code of the guide "Load schedulers and models" runs here with nothing changed but its import lines.

Its repositories are tiny checkpoints laid out in a hub cache under their real names, with sockets closed; its GPU is
this CPU. Where a block makes a picture in float32, it is the one that the unchanged block makes with the reference
library.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

Family = Callable[[str], Path]
SD15, XL = "stable-diffusion-v1-5/stable-diffusion-v1-5", "SG161222/RealVisXL_V4.0"
pytestmark = pytest.mark.usefixtures("only_the_cache")
COMMIT = "0123456789abcdef0123456789abcdef01234567"

LOAD = f'''
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{SD15}", torch_dtype=torch.float16, use_safetensors=True)
pipeline.to("cuda")
print(pipeline.scheduler)
'''
SWAP_AT_LOADING = f'''
import torch
from diffusers import DDIMScheduler, DiffusionPipeline

ddim = DDIMScheduler.from_pretrained("{SD15}", subfolder="scheduler")
pipeline = DiffusionPipeline.from_pretrained(
    "{SD15}", scheduler=ddim, torch_dtype=torch.float16, use_safetensors=True
)
pipeline.to("cuda")
'''
COMPARE = f'''
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{SD15}", torch_dtype=torch.float16, use_safetensors=True)
pipeline.to("cuda")
prompt = "A photograph of an astronaut riding a horse on Mars, high resolution, high definition."
generator = torch.Generator(device="cuda").manual_seed(8)
images = []

from diffusers import LMSDiscreteScheduler

pipeline.scheduler = LMSDiscreteScheduler.from_config(pipeline.scheduler.config)
images.append(pipeline(prompt, generator=generator).images[0])

from diffusers import EulerDiscreteScheduler

pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
images.append(pipeline(prompt, generator=generator).images[0])

from diffusers import EulerAncestralDiscreteScheduler

pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
images.append(pipeline(prompt, generator=generator).images[0])

from diffusers import DPMSolverMultistepScheduler

pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
images.append(pipeline(prompt, generator=generator).images[0])
'''
AYS = f'''
from diffusers.schedulers import AysSchedules

sampling_schedule = AysSchedules["StableDiffusionXLTimesteps"]
print(sampling_schedule)

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline

pipeline = StableDiffusionXLPipeline.from_pretrained("{XL}", torch_dtype=torch.float16, variant="fp16").to("cuda")
pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
    pipeline.scheduler.config, algorithm_type="sde-dpmsolver++"
)
prompt = "A cinematic shot of a cute little rabbit wearing a jacket and doing a thumbs up"
generator = torch.Generator(device="cpu").manual_seed(2487854446)
images = [
    pipeline(
        prompt=prompt,
        negative_prompt="",
        generator=generator,
        timesteps=sampling_schedule,
    ).images[0]
]
'''
MODELS = f'''
from diffusers import UNet2DConditionModel, UNet2DModel

unet = UNet2DConditionModel.from_pretrained("{SD15}", subfolder="unet", use_safetensors=True)
ddpm = UNet2DModel.from_pretrained("google/ddpm-cifar10-32", use_safetensors=True)
non_ema = UNet2DConditionModel.from_pretrained("{SD15}", subfolder="unet", variant="non_ema", use_safetensors=True)
non_ema.save_pretrained("./local-unet", variant="non_ema")
'''


def ours(block: str) -> str:
    """The block with other import lines; "cuda" is "cpu" on a machine without one."""
    lines = block.replace("from diffusers.schedulers import", "from components.schedulers import")
    return lines.replace("from diffusers import", "from runner import").replace('"cuda"', '"cpu"')


def theirs(block: str, cache: Path) -> str:
    """The block for the reference library, which reads the cache's environment only once, so it gets folders."""
    for repo in (SD15, XL, "google/ddpm-cifar10-32"):
        block = block.replace(f'"{repo}"', repr(str(snapshot(cache, repo))))
    return block.replace('"cuda"', '"cpu"')


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "guide", "exec"), names)
    return names


def snapshot(cache: Path, repo: str) -> Path:
    return cache / f"models--{repo.replace('/', '--')}" / "snapshots" / COMMIT


@pytest.fixture(scope="module")
def cache(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache with the guide's repositories."""
    folder = tmp_path_factory.mktemp("hub")
    for repo, kind in ((SD15, "sd15"), (XL, "sdxl"), ("google/ddpm-cifar10-32", "ddpm")):
        shutil.copytree(family(kind), snapshot(folder, repo))
        refs = snapshot(folder, repo).parents[1] / "refs"
        refs.mkdir()
        (refs / "main").write_text(COMMIT)
    unet = diffusers.UNet2DConditionModel.from_pretrained(family("sd15"), subfolder="unet")
    with torch.no_grad():
        unet.conv_out.weight.mul_(2.0)
    unet.save_pretrained(snapshot(folder, SD15) / "unet", variant="non_ema")
    xl = diffusers.DiffusionPipeline.from_pretrained(family("sdxl"), torch_dtype=torch.float16)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        place = snapshot(folder, XL) / name
        for file in place.glob("*.safetensors"):
            file.unlink()
        getattr(xl, name).save_pretrained(place, variant="fp16")
    return folder


def in_float32(block: str) -> str:
    return block.replace("torch.float16", "torch.float32").replace(
        "generator=generator", "generator=generator, **SHORT"
    )


def test_loading_and_printing_a_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(ours(LOAD))
    assert names["pipeline"].dtype == torch.float16
    printed = capsys.readouterr().out
    assert printed.startswith("PNDMScheduler {\n")
    assert '"skip_prk_steps": true' in printed and '"prediction_type": "epsilon"' in printed


def test_a_scheduler_given_at_loading() -> None:
    pipeline = run(ours(SWAP_AT_LOADING))["pipeline"]
    assert type(pipeline.scheduler).__name__ == "DDIMScheduler"
    assert pipeline.scheduler.config["skip_prk_steps"] is True  # PNDM's, kept for the way back


@pytest.mark.parametrize("block", [COMPARE, AYS], ids=["compare", "align your steps"])
def test_the_pictures_are_those_of_the_reference_library(cache: Path, block: str) -> None:
    """With four steps instead of fifty where the block leaves their number open, and in float32."""
    short = "SHORT = {'num_inference_steps': 4}\n" if block is COMPARE else "SHORT = {}\n"
    found = run(short + in_float32(ours(block)))["images"]
    expected = run(short + in_float32(theirs(block, cache)))["images"]
    assert len(found) == len(expected) > 0
    for mine, reference in zip(found, expected, strict=True):
        difference = np.asarray(mine).astype(int) - np.asarray(reference).astype(int)
        assert np.abs(difference).max() <= 1
        assert np.asarray(mine).std() > 10


def test_align_your_steps_word_for_word(capsys: pytest.CaptureFixture[str]) -> None:
    """In half precision, from the fp16 files alone."""
    names = run(ours(AYS))
    assert capsys.readouterr().out.startswith("[999, 845, 730, 587, 443, 310, 193, 116, 53, 13]")
    assert names["pipeline"].dtype == torch.float16 and names["images"][0].size == (32, 32)


def test_models() -> None:
    names = run(ours(MODELS))
    assert type(names["ddpm"]).__name__ == "UNet2DModel"
    files = {path.name for path in Path("local-unet").iterdir()}
    assert files == {"config.json", "diffusion_pytorch_model.non_ema.safetensors"}
    assert not torch.equal(names["unet"].conv_out.weight, names["non_ema"].conv_out.weight)
    again = diffusers.UNet2DConditionModel.from_pretrained("local-unet", variant="non_ema")
    assert torch.equal(again.conv_out.weight, names["non_ema"].conv_out.weight)


def test_a_repository_that_has_moved_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = run(ours(LOAD.replace(SD15, "runwayml/stable-diffusion-v1-5")))["pipeline"]
    assert type(pipeline).__name__ == "StableDiffusionPipeline"
    assert f"runwayml/stable-diffusion-v1-5 has moved: using {SD15}" in caplog.text

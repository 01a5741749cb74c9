"""The networks of the public checkpoints, built in full size on the meta device: names, order, shapes, counts.

`real_configs.json` holds the `config.json` files of those checkpoints. The counts are theirs, the digests are of their
files' tensor names in state-dict order, one a line.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from components import AutoencoderKL, UNet2DConditionModel, UNet2DModel

CONFIGS = json.loads(Path(__file__).with_name("real_configs.json").read_text())
UNETS = {
    "stable-diffusion-v1-5": (859_520_964, 686, "4917f5baabed9afc"),
    "stable-diffusion-2-1": (865_910_724, 686, "4917f5baabed9afc"),
    "stable-diffusion-xl-base-1.0": (2_567_463_684, 1680, "0f5e5ad83f87e94f"),
    "sdxl-turbo": (2_567_463_684, 1680, "0f5e5ad83f87e94f"),
    "stable-diffusion-xl-refiner-1.0": (2_259_526_660, 1220, "b9ea3f66dabe9313"),
}
DDPM = {
    "ddpm-cifar10-32": (35_746_307, 328, "63848307576d5ef1"),
    "ddpm-celebahq-256": (113_673_219, 450, "fee603ae92989fc7"),
}


def on_meta(cls, config):
    with torch.device("meta"):
        return cls.from_config(config)


def facts(model):
    names = list(model.state_dict())
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    return sum(p.numel() for p in model.parameters()), len(names), digest


def shapes(model):
    return [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]


@pytest.mark.parametrize("name", UNETS)
def test_unets_have_the_names_and_counts_of_the_files(name):
    assert facts(on_meta(UNet2DConditionModel, CONFIGS[name]["unet"])) == UNETS[name]


@pytest.mark.parametrize("name", DDPM)
def test_unconditional_unets_have_the_names_counts_and_shapes_of_the_files(name):
    import diffusers

    ours = on_meta(UNet2DModel, CONFIGS[name]["unet"])
    assert facts(ours) == DDPM[name]
    assert shapes(ours) == shapes(on_meta(diffusers.UNet2DModel, CONFIGS[name]["unet"]))


@pytest.mark.parametrize("name", [name for name in CONFIGS if "vae" in CONFIGS[name]])
def test_autoencoders_have_the_names_and_counts_of_the_files(name):
    assert facts(on_meta(AutoencoderKL, CONFIGS[name]["vae"])) == (83_653_863, 248, "5af665b0510d8281")


@pytest.mark.parametrize("name", [name for name in UNETS if name != "sdxl-turbo"])  # whose network is SDXL's
def test_shapes_are_those_of_diffusers(name):
    import diffusers

    assert shapes(on_meta(UNet2DConditionModel, CONFIGS[name]["unet"])) == shapes(
        on_meta(diffusers.UNet2DConditionModel, CONFIGS[name]["unet"])
    )


def test_autoencoder_shapes_are_those_of_diffusers():
    import diffusers

    config = CONFIGS["stable-diffusion-v1-5"]["vae"]
    assert shapes(on_meta(AutoencoderKL, config)) == shapes(on_meta(diffusers.AutoencoderKL, config))


def test_the_two_projections_tell_sd1_from_sd2():
    sd1, sd2 = (
        on_meta(UNet2DConditionModel, CONFIGS[n]["unet"]) for n in ("stable-diffusion-v1-5", "stable-diffusion-2-1")
    )
    name = "down_blocks.0.attentions.0.proj_in.weight"
    assert sd1.state_dict()[name].shape == (320, 320, 1, 1)
    assert sd2.state_dict()[name].shape == (320, 320)

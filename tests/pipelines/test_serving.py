"""Which pipeline serves a checkpoint, and what a checkpoint that none serves is called."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.checkpoint import open_checkpoint
from runner.errors import RecipeError
from runner.families import Family
from runner.families.serving import find_family
from runner.families.stable_diffusion import SD

CLIP = {"tokenizer": ["transformers", "CLIPTokenizer"], "text_encoder": ["transformers", "CLIPTextModel"]}
NETWORKS = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}


def served(folder: Path, replaced: tuple[str, ...] = (), encoding: str = "utf-8", **index: Any) -> Family:
    (folder / "model_index.json").write_text(json.dumps(CLIP | NETWORKS | index), encoding=encoding)
    return find_family(open_checkpoint(folder), replaced)


def refusal(folder: Path, **index: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        served(folder, **index)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("FluxPipeline", "of a family that is not served here: Flux."),
        ("StableDiffusion3Pipeline", "of a family that is not served here: Stable Diffusion 3."),
        ("StableDiffusion3Img2ImgPipeline", "of a family that is not served here: Stable Diffusion 3."),
        ("PixArtSigmaPipeline", "of a family that is not served here: PixArt."),
        ("KolorsPipeline", "of a family that is not served here: Kolors."),
        ("IFPipeline", "of a family that is not served here: DeepFloyd IF."),
        ("StableDiffusionXLInpaintPipeline", "of a kind that is not served here: inpainting."),
        ("OnnxStableDiffusionPipeline", "of a kind that is not served here: a checkpoint exported to ONNX."),
        ("PNDMPipeline", "of a kind that is not served here."),
        ("NobodyKnowsPipeline", "of a kind that is not served here."),
    ],
)
def test_a_pipeline_that_is_not_served_is_called_by_its_family(tmp_path: Path, name: str, told: str) -> None:
    message = refusal(tmp_path, _class_name=name)
    assert f"is a {name}, {told}" in message and "allowed: StableDiffusionPipeline" in message
    assert "Did you mean" not in message


@pytest.mark.parametrize("name", ["StableDiffusionPipelin", "StableDifusionPipeline", "stableDiffusionpipeline"])
def test_a_misspelt_pipeline_suggests_the_right_one(tmp_path: Path, name: str) -> None:
    assert "Did you mean 'StableDiffusionPipeline'?" in refusal(tmp_path, _class_name=name)


def test_code_that_a_repository_brings_is_named_and_not_run(tmp_path: Path) -> None:
    message = refusal(tmp_path, _class_name=["pipeline", "StableMaterialsPipeline"])
    assert "is a StableMaterialsPipeline that brings code of its own, which is not run here" in message


def test_a_component_of_another_family_is_named_instead_of_what_it_lacks(tmp_path: Path) -> None:
    kolors = {"text_encoder": ["kolors", "ChatGLMModel"], "tokenizer": ["kolors", "ChatGLMTokenizer"]}
    message = refusal(tmp_path, _class_name="StableDiffusionXLPipeline", **kolors)
    assert "its text_encoder is a ChatGLMModel, but that of a StableDiffusionXLPipeline must be a CLIP" in message
    assert "not served here: Kolors" in message and "tokenizer_2" not in message


def test_a_component_from_elsewhere_is_not_judged(tmp_path: Path) -> None:
    foreign = {"_class_name": "StableDiffusionPipeline", "unet": ["my_code", "MyUNet"]}
    assert "its unet is a MyUNet" in refusal(tmp_path, **foreign)
    assert served(tmp_path, ("unet",), **foreign) is SD


def test_an_index_made_by_hand_is_told_what_an_entry_is(tmp_path: Path) -> None:
    index = {"_class_name": "StableDiffusionPipeline", "text_encoder": [{"_class_name": "CLIPTextModel"}]}
    assert "has text_encoder: [{'_class_name': 'CLIPTextModel'}]; expected [library, class]" in refusal(
        tmp_path, **index
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_an_index_may_be_written_on_windows(tmp_path: Path, encoding: str) -> None:
    assert served(tmp_path, encoding=encoding, _class_name="FlaxStableDiffusionPipeline") is SD

"""The checkpoint that ships with the program: its files, their size, and that other programs can read it."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

import runner.demo
from runner.demo.shapes_data import vocabulary

BUNDLE = Path(runner.demo.__file__).parent / "shapes"
FILES = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
}


def content(name: str) -> dict:
    return json.loads((BUNDLE / name).read_text(encoding="utf-8"))


def parameters(name: str) -> int:
    with safe_open(BUNDLE / name, "numpy") as tensors:
        return sum(tensors.get_tensor(key).size for key in tensors.keys())  # noqa: SIM118


def test_the_files_are_those_of_the_format_and_no_others():
    assert {str(file.relative_to(BUNDLE).as_posix()) for file in BUNDLE.rglob("*") if file.is_file()} == FILES


def test_the_whole_is_at_most_20_megabytes():
    assert sum((BUNDLE / name).stat().st_size for name in FILES) <= 20_000_000


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".safetensors")))
def test_weights_are_finite_float16(name):
    import numpy as np

    with safe_open(BUNDLE / name, "numpy") as tensors:
        for key in tensors.keys():  # noqa: SIM118
            tensor = tensors.get_tensor(key)
            assert tensor.dtype == np.float16, key
            assert np.isfinite(tensor).all(), key


def test_the_network_is_small_and_the_text_encoder_has_two_layers():
    assert 3e6 <= parameters("unet/diffusion_pytorch_model.safetensors") <= 8e6
    assert content("text_encoder/config.json")["num_hidden_layers"] == 2


def test_the_index_names_every_component_and_no_safety_checker():
    index = content("model_index.json")
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["safety_checker"] == index["feature_extractor"] == [None, None]
    assert index["requires_safety_checker"] is False
    assert {name for name, entry in index.items() if isinstance(entry, list) and entry[0]} == {
        name.split("/")[0] for name in FILES if "/" in name
    }


def test_the_scheduler_is_stable_diffusions():
    """Rombach et al. 2022: betas whose square roots rise linearly from those of 0.00085 and 0.012, in 1000 steps."""
    scheduler = content("scheduler/scheduler_config.json")
    assert (scheduler["beta_schedule"], scheduler["beta_start"], scheduler["beta_end"]) == (
        "scaled_linear",
        85e-5,
        0.012,
    )
    assert (scheduler["num_train_timesteps"], scheduler["prediction_type"]) == (1000, "epsilon")
    assert (scheduler["steps_offset"], scheduler["clip_sample"]) == (1, False)


def test_every_word_of_the_grammar_is_in_the_vocabulary():
    vocabulary_of_bundle = content("tokenizer/vocab.json")
    assert all(word + "</w>" in vocabulary_of_bundle for word in vocabulary())


def test_the_reference_library_reads_every_tensor_and_draws_with_it():
    """The prompt and the judge know nothing of each other: one star, drawn there, read here."""
    import numpy as np
    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    from runner.demo.checker import judge

    pipeline = StableDiffusionPipeline.from_pretrained(BUNDLE)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.scheduler).__name__ == "PNDMScheduler"
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    prompt = "a large red star on a white background"
    generator = torch.Generator().manual_seed(0)
    image = pipeline(prompt, num_inference_steps=20, guidance_scale=5.0, generator=generator).images[0]
    assert all(vars(judge(prompt, np.asarray(image))).values())


def test_the_autoencoder_keeps_what_a_picture_shows():
    import numpy as np
    import torch
    from diffusers import AutoencoderKL

    from runner.demo.checker import check
    from runner.demo.shapes_data import draw_random

    vae = AutoencoderKL.from_pretrained(BUNDLE / "vae")
    batch = draw_random(100, np.random.default_rng(21))
    with torch.no_grad():
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2) / 127.5 - 1
        latents = vae.encode(images).latent_dist.mean
        decoded = vae.decode(latents).sample.clamp(-1, 1)
    assert (latents * vae.config.scaling_factor).std().item() == pytest.approx(1, abs=0.05)
    again = ((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    right = [
        (r.shape, r.color, r.size, r.background) == (d.shape, d.color, d.size, d.background)
        for r, d in zip(map(check, again), batch.descriptions, strict=True)
    ]
    assert np.mean(right) >= 0.99

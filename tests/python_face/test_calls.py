"""A call returns what the reference library's pipeline returns: latents within 1e-4 relative, pictures within 1/255.

Expected values: diffusers' pipeline of the same class on the same tiny checkpoint, float32 on the CPU, called alike.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import runner

Pair = Callable[[str], tuple[Any, Any]]
Family = Callable[[str], Path]
PROMPTED = ["sd15", "sd21", "lcm", "sdxl", "sdxl_no_zeros", "turbo"]


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert expected.std() > 0.1
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def both(pair: tuple[Any, Any], *arguments: Any, **call: Any) -> None:
    """Ours and theirs, twice in a row with one generator each, agree in their latents."""
    call = {"num_inference_steps": 3, "output_type": "latent"} | call
    generators = seeded(), seeded()
    for _ in range(2):
        ours, theirs = (
            pipe(*arguments, generator=generator, **call).images
            for pipe, generator in zip(pair, generators, strict=True)
        )
        close(ours, theirs)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


CALLS: dict[str, dict[str, Any]] = {
    "plain": {"prompt": "a cat"},
    "no guidance": {"prompt": "a cat", "guidance_scale": 1.0},
    "prompts": {"prompt": ["a cat", "two dogs, one of them blue"], "num_images_per_prompt": 2},
    "negative prompts": {"prompt": ["a cat", "a dog"], "negative_prompt": ["blue", ""], "guidance_scale": 3.0},
    "rescaled, another size": {"prompt": "a cat", "guidance_rescale": 0.6, "height": 40, "width": 24},
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", PROMPTED)
def test_prompts(pair: Pair, kind: str, call: str) -> None:
    both(pair(kind), **CALLS[call])


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_pictures(pair: Pair, kind: str) -> None:
    ours, theirs = (pipe("a cat", num_inference_steps=3, generator=seeded()).images[0] for pipe in pair(kind))
    assert ours.size == theirs.size == (32, 32) and ours.mode == "RGB"
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1


@pytest.mark.parametrize("output_type", ["np", "pt"])
@pytest.mark.parametrize("kind", ["sd15", "ddpm"])
def test_arrays_and_tensors(pair: Pair, kind: str, output_type: str) -> None:
    prompt = ["a cat"] if kind == "sd15" else []
    ours, theirs = (
        pipe(*prompt, num_inference_steps=3, generator=seeded(), output_type=output_type).images for pipe in pair(kind)
    )
    assert type(ours) is type(theirs) and ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert abs(ours - theirs).max() <= 1 / 255


SCHEDULERS = ["DDIM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "DPMSolverMultistep", "HeunDiscrete"]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("kind", ["sd15", "sd21", "sdxl"])
def test_another_scheduler_from_the_configuration(pair: Pair, kind: str, scheduler: str) -> None:
    ours, theirs = pair(kind)
    for pipe, library in ((ours, runner), (theirs, diffusers)):
        pipe.scheduler = getattr(library, f"{scheduler}Scheduler").from_config(pipe.scheduler.config)
    both((ours, theirs), "a cat", num_inference_steps=4, guidance_scale=2.0)


def test_options_of_the_switch_and_a_second_switch(pair: Pair) -> None:
    ours, theirs = pair("sd15")
    for pipe, library in ((ours, runner), (theirs, diffusers)):
        first = library.DPMSolverMultistepScheduler.from_config(
            pipe.scheduler.config, algorithm_type="sde-dpmsolver++", timestep_spacing="trailing"
        )  # in four steps: the reference library's PNDM drifts where trailing steps do not divide the clock
        pipe.scheduler = first
        pipe.scheduler = library.EulerDiscreteScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
    both((ours, theirs), "a cat", num_inference_steps=4)
    for pipe, library in ((ours, runner), (theirs, diffusers)):
        pipe.scheduler = library.PNDMScheduler.from_config(pipe.scheduler.config)
    both((ours, theirs), "a cat", num_inference_steps=4)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_listed_timesteps_and_sigmas(pair: Pair, kind: str) -> None:
    ours, theirs = pair(kind)
    for pipe, library in ((ours, runner), (theirs, diffusers)):
        pipe.scheduler = library.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    both((ours, theirs), "a cat", timesteps=[999, 700, 400, 100])
    both((ours, theirs), "a cat", sigmas=[14.6, 4.0, 1.0, 0.3, 0.0])
    for pipe, library in ((ours, runner), (theirs, diffusers)):
        pipe.scheduler = library.DPMSolverMultistepScheduler.from_config(
            pipe.scheduler.config, algorithm_type="sde-dpmsolver++"
        )
    both((ours, theirs), "a cat", timesteps=[999, 700, 400, 100])


def test_eta_belongs_to_the_call(pair: Pair) -> None:
    ours, theirs = pair("sd21")
    both((ours, theirs), "a cat", eta=0.8)
    both((ours, theirs), "a cat")
    assert ours.scheduler.run.eta == 0.0


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "ddpm"])
def test_a_generator_for_each_image(pair: Pair, kind: str) -> None:
    call: dict[str, Any] = {"batch_size": 2} if kind == "ddpm" else {"prompt": ["a cat", "a dog"]}
    call |= {"num_inference_steps": 3, "output_type": "np"}
    ours, theirs = (pipe(generator=[seeded(5), seeded(6)], **call).images for pipe in pair(kind))
    assert np.abs(ours - theirs).max() <= 1 / 255


def test_a_list_of_one_generator_is_that_generator(pair: Pair) -> None:
    ours, _ = pair("sd15")
    call: dict[str, Any] = {"prompt": ["a cat"] * 2, "num_inference_steps": 1, "output_type": "latent"}
    assert torch.equal(ours(generator=[seeded()], **call).images, ours(generator=seeded(), **call).images)


def test_no_generator_is_torchs_own(pair: Pair) -> None:
    found = []
    for pipe in pair("sd15"):
        torch.manual_seed(9)
        found.append(pipe("a cat", num_inference_steps=2, output_type="latent").images)
    close(*found)


@pytest.mark.parametrize("kind", ["sd15", "turbo"])
def test_given_latents_take_the_place_of_the_first_draw(pair: Pair, kind: str) -> None:
    both(pair(kind), "a cat", latents=torch.randn(1, 4, 8, 8, generator=seeded()))


def test_given_embeddings(pair: Pair) -> None:
    ours, theirs = pair("sd15")
    positive, negative = ours.encode_prompt("a cat", None, 1, True, "blue")
    expected = theirs.encode_prompt("a cat", "cpu", 1, True, "blue")
    torch.testing.assert_close(positive, expected[0])
    torch.testing.assert_close(negative, expected[1])
    assert not positive.is_inference()
    both((ours, theirs), prompt_embeds=positive, negative_prompt_embeds=negative, num_images_per_prompt=2)
    both((ours, theirs), prompt_embeds=positive)
    both((ours, theirs), prompt_embeds=positive, negative_prompt="red")


def test_given_embeddings_of_sdxl(pair: Pair) -> None:
    ours, theirs = pair("sdxl")
    four = ours.encode_prompt("a cat", negative_prompt="blue")
    expected = theirs.encode_prompt("a cat", device="cpu", negative_prompt="blue")
    for found, wanted in zip(four, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    names = (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    )
    both((ours, theirs), **dict(zip(names, four, strict=True)), num_images_per_prompt=2)
    both((ours, theirs), prompt_embeds=four[0], pooled_prompt_embeds=four[2])


class TestMicroConditioning:
    def test_second_prompts_and_sizes(self, pair: Pair) -> None:
        both(
            pair("sdxl"),
            "a cat",
            prompt_2="a dog",
            negative_prompt="blue",
            negative_prompt_2="red",
            original_size=(64, 48),
            crops_coords_top_left=(3, 5),
            target_size=(30, 31),
        )

    def test_other_sizes_for_the_negative_prompt(self, pair: Pair) -> None:
        both(
            pair("sdxl"),
            "a cat",
            negative_prompt="blue",
            negative_original_size=(8, 8),
            negative_crops_coords_top_left=(1, 2),
            negative_target_size=(9, 9),
        )

    def test_they_stay_with_their_half_in_a_batch(self, pair: Pair) -> None:
        """The reference library pairs them wrongly there, so the expected latents are those of single runs."""
        ours, _ = pair("sdxl")
        call: dict[str, Any] = {"num_inference_steps": 2, "output_type": "latent", "negative_prompt": "blue"}
        call |= {"negative_original_size": (8, 8), "negative_target_size": (300, 9)}
        together = ours(["a cat", "a dog"], generator=[seeded(1), seeded(2)], **call).images
        for i, prompt in enumerate(("a cat", "a dog")):
            close(together[i : i + 1], ours(prompt, generator=seeded(1 + i), **call).images)


class TestCallbacks:
    @pytest.mark.parametrize("kind", ["sd15", "sdxl"])
    def test_what_it_sees_and_replaces(self, pair: Pair, kind: str) -> None:
        seen: list[list[Any]] = []

        def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            seen[-1].append((step, float(timestep), sorted(tensors), tuple(tensors["latents"].shape)))
            return {"latents": tensors["latents"] * 0.9 + 0.01 * step}

        found = []
        for pipe in pair(kind):
            seen.append([])
            call: dict[str, Any] = {"num_inference_steps": 3, "output_type": "latent", "generator": seeded()}
            found.append(pipe("a cat", callback_on_step_end=callback, **call).images)
        close(*found)
        assert seen[0] == seen[1] and len(seen[0]) >= 3

    def test_guidance_switched_off_on_the_way(self, pair: Pair) -> None:
        """The guide's own example: from some step on, the prompt's half alone and no guidance."""

        def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if step == int(pipe.num_timesteps * 0.4):
                pipe._guidance_scale = 0.0
                tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[-1]
            return tensors

        ours, theirs = pair("sd21")
        call: dict[str, Any] = {
            "num_inference_steps": 5,
            "output_type": "latent",
            "callback_on_step_end": callback,
            "callback_on_step_end_tensor_inputs": ["prompt_embeds"],
        }
        found, expected = (pipe("a cat", generator=seeded(), **call).images for pipe in (ours, theirs))
        close(found, expected)
        whole = ours("a cat", num_inference_steps=5, output_type="latent", generator=seeded()).images
        assert (found - whole).abs().max() > 0.01

    def test_interrupted(self, pair: Pair) -> None:
        def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            pipe._interrupt = step == 1
            return tensors

        call: dict[str, Any] = {"num_inference_steps": 5, "output_type": "latent", "callback_on_step_end": callback}
        ours, theirs = pair("sd15")
        close(*(pipe("a cat", generator=seeded(), **call).images for pipe in (ours, theirs)))


@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("kind", ["ddpm", "ddim"])
def test_unconditional(pair: Pair, kind: str, scheduler: str) -> None:
    ours, theirs = pair(kind)
    call: dict[str, Any] = {"batch_size": 2, "num_inference_steps": 5, "output_type": "np"}
    if kind == "ddpm":
        ours.scheduler = getattr(runner, scheduler).from_config(ours.scheduler.config)
        theirs.scheduler = getattr(diffusers, scheduler).from_config(theirs.scheduler.config)
    else:
        call["eta"] = 0.4
    found, expected = (pipe(generator=seeded(), **call).images for pipe in (ours, theirs))
    assert np.abs(found - expected).max() <= 1 / 255 and expected.std() > 0.05


def test_ddim_of_a_ddpm_checkpoint(family: Family) -> None:
    """DDIMPipeline turns whatever scheduler it finds into DDIM."""
    ours = runner.DDIMPipeline.from_pretrained(family("ddpm"))
    theirs = diffusers.DDIMPipeline.from_pretrained(family("ddpm"))
    theirs.set_progress_bar_config(disable=True)
    assert type(ours.scheduler).__name__ == "DDIMScheduler"
    call: dict[str, Any] = {"num_inference_steps": 4, "output_type": "np", "use_clipped_model_output": True, "eta": 0.5}
    found, expected = (pipe(generator=seeded(), **call).images for pipe in (ours, theirs))
    assert np.abs(found - expected).max() <= 1 / 255


def test_half_precision_autoencoders_of_sdxl_decode_in_float32(family: Family) -> None:
    pipe = runner.DiffusionPipeline.from_pretrained(family("sdxl"), torch_dtype={"vae": torch.float16})
    decoded: list[torch.dtype] = []
    decode = pipe.vae.decode
    pipe.vae.decode = lambda z: (decoded.append(z.dtype), decode(z))[1]
    call: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 1.0}
    found = pipe("a cat", generator=seeded(), output_type="pt", **call).images
    latents = pipe("a cat", generator=seeded(), output_type="latent", **call).images
    assert decoded == [torch.float32] and pipe.vae.dtype == torch.float16
    pipe.vae.float()  # the same weights, rounded to half precision
    with torch.no_grad():
        expected = decode(latents / pipe.vae.config.scaling_factor).sample
    torch.testing.assert_close(found, (expected / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=1e-5)


def test_outputs_read_by_name_by_key_and_by_index(pair: Pair) -> None:
    ours, _ = pair("sd15")
    call: dict[str, Any] = {"num_inference_steps": 1, "output_type": "latent"}
    output = ours("a cat", **call)
    assert output.images is output["images"] is output[0] and output.nsfw_content_detected is None
    assert list(output.keys()) == ["images", "nsfw_content_detected"] and output.to_tuple()[0] is output.images
    images, flags = ours("a cat", return_dict=False, **call)
    assert images.shape == (1, 4, 8, 8) and flags is None
    assert len(pair("sdxl")[0]("a cat", return_dict=False, **call)) == 1


class TestWithoutTextEncoders:
    """To save memory, scripts encode once, then take what reads text out, and give embeddings."""

    @pytest.mark.parametrize("kind", ["sd15", "sdxl"])
    def test_embeddings_are_all_it_takes(self, pair: Pair, family: Family, kind: str) -> None:
        whole, theirs = pair(kind)
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        embeds = dict(zip(names, whole.encode_prompt("a cat"), strict=False))
        read = dict.fromkeys(whole.family.encoders)
        call = {"num_inference_steps": 2, "output_type": "latent"}
        expected = theirs(**call, **embeds, generator=seeded()).images
        bare = type(whole).from_pretrained(family(kind), **read)
        close(bare(**call, **embeds, generator=seeded()).images, expected)
        later = type(whole)(**whole.components)
        for name in read:
            setattr(later, name, None)
        close(later(**call, **embeds, generator=seeded()).images, expected)
        with pytest.raises(ValueError, match=r"(?s)eta: is 'x'.*prompt: cannot be read.*give prompt_embeds"):
            later("a cat", eta="x")
        with pytest.raises(ValueError, match="prompt: cannot be read, as this pipeline is without"):
            later.encode_prompt("a cat")

    def test_zeros_stand_for_no_negative_prompt_of_embeddings_of_any_length(self, pair: Pair) -> None:
        ours, theirs = pair("sdxl")
        prompt, _, pooled, _ = ours.encode_prompt("a cat")
        call = {"prompt_embeds": torch.cat([prompt, prompt], 1), "pooled_prompt_embeds": pooled}
        both((ours, theirs), num_inference_steps=2, **call)

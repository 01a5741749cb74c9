"""StableDiffusionXLPipeline: the call with two prompts and the sizes that SDXL is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from runner.backends.network_call import CONTEXT
from runner.errors import Problem
from runner.families import Wish
from runner.families.stable_diffusion_xl import SDXL
from runner.python_face.arguments import Call, Texts
from runner.python_face.callbacks import SHOWN, Callback
from runner.python_face.denoising import Generators
from runner.python_face.images import ImagePipelineOutput
from runner.python_face.text_to_image import PromptPipeline

Size = tuple[int, int]
SIZES = (
    "original_size",
    "crops_coords_top_left",
    "target_size",
    "negative_original_size",
    "negative_crops_coords_top_left",
    "negative_target_size",
)


class StableDiffusionXLPipeline(PromptPipeline):
    """Components: tokenizer, tokenizer_2, text_encoder, text_encoder_2, unet, vae, scheduler."""

    family = SDXL
    FLAGS = {"force_zeros_for_empty_prompt": True, "add_watermarker": None}  # noqa: RUF012

    CALLBACK_INPUTS = ("latents", *SHOWN)
    ORDER = (
        "vae",
        "text_encoder",
        "text_encoder_2",
        "tokenizer",
        "tokenizer_2",
        "unet",
        "scheduler",
        "image_encoder",
        "feature_extractor",
        "force_zeros_for_empty_prompt",
        "add_watermarker",
    )
    denoising_end: None = None

    def _extra_index(self) -> dict[str, Any]:
        return super()._extra_index() | {"force_zeros_for_empty_prompt": self.flags["force_zeros_for_empty_prompt"]}

    def __call__(
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        denoising_end: None = None,
        guidance_scale: float = 5.0,
        negative_prompt: Texts = None,
        negative_prompt_2: Texts = None,
        num_images_per_prompt: int = 1,
        eta: float | None = None,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        ip_adapter_image: None = None,
        ip_adapter_image_embeds: None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: None = None,
        guidance_rescale: float = 0.0,
        original_size: Size | None = None,
        crops_coords_top_left: Size = (0, 0),
        target_size: Size | None = None,
        negative_original_size: Size | None = None,
        negative_crops_coords_top_left: Size = (0, 0),
        negative_target_size: Size | None = None,
        clip_skip: int | None = None,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **older: Any,
    ) -> Any:
        """As `StableDiffusionPipeline`'s, and:

        Args:
            prompt_2, negative_prompt_2: what the second text encoder reads; the prompt itself where None.
            negative_prompt: None stands for zeros where the checkpoint wants that; "" is encoded.
            pooled_prompt_embeds: (B, P), goes with `prompt_embeds`; the same of the negative ones.
            original_size, target_size: (height, width) that the network is told; the picture's own where None.
            crops_coords_top_left: (top, left) that it is told.
            negative_original_size, negative_target_size: other sizes for the negative prompt, where both are given.

        Raises:
            ValueError: arguments that cannot work, told before anything is computed.
        """
        embeds = {
            "prompt_embeds": prompt_embeds,
            "negative_prompt_embeds": negative_prompt_embeds,
            "pooled_prompt_embeds": pooled_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        call = Call(
            prompts={
                "prompt": prompt,
                "negative_prompt": negative_prompt,
                "prompt_2": prompt_2,
                "negative_prompt_2": negative_prompt_2,
            },
            wish=Wish(
                "",
                0,
                0,
                clip_skip=clip_skip,
                original_size=original_size,
                crops_coords_top_left=crops_coords_top_left,
                target_size=target_size,
                negative_original_size=negative_original_size,
                negative_crops_coords_top_left=negative_crops_coords_top_left,
                negative_target_size=negative_target_size,
            ),
            height=height,
            width=width,
            steps=num_inference_steps,
            timesteps=timesteps,
            sigmas=sigmas,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            eta=eta,
            count=num_images_per_prompt,
            generator=generator,
            latents=latents,
            output_type=output_type,
            callback=callback_on_step_end,
            callback_inputs=callback_on_step_end_tensor_inputs,
            embeds=embeds,
            older=older,
            refused={
                "denoising_end": denoising_end,
                "ip_adapter_image": ip_adapter_image,
                "ip_adapter_image_embeds": ip_adapter_image_embeds,
                "cross_attention_kwargs": cross_attention_kwargs,
            },
        )
        return self._finish(self._draw(call), return_dict)

    def _problems(self, call: Call, configs: Mapping[str, Any]) -> Iterator[Problem]:
        yield from super()._problems(call, configs)
        yield from _further_problems(call)

    def _finish(self, images: Any, return_dict: bool) -> Any:
        return ImagePipelineOutput(images) if return_dict else (images,)

    def encode_prompt(
        self,
        prompt: Texts,
        prompt_2: Texts = None,
        device: torch.device | str | None = None,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: Texts = None,
        negative_prompt_2: Texts = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        lora_scale: float | None = None,
        clip_skip: int | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Embeddings (B, L, D) of prompt and negative prompt, then the pooled ones (B, P), to be given to a call.

        `lora_scale` is unread.
        """
        prompts = {
            "prompt": prompt,
            "prompt_2": prompt_2,
            "negative_prompt": negative_prompt,
            "negative_prompt_2": negative_prompt_2,
        }
        embeds = {
            "prompt_embeds": prompt_embeds,
            "negative_prompt_embeds": negative_prompt_embeds,
            "pooled_prompt_embeds": pooled_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        wish = Wish("", 0, 0, clip_skip=clip_skip)
        found = self._encoded_alone(prompts, wish, do_classifier_free_guidance, num_images_per_prompt, embeds)
        halves = (found.positive, found.negative)
        return tuple(  # type: ignore[return-value]
            None if half is None else half[name].to(device) for name in (CONTEXT, "text_embeds") for half in halves
        )


def _further_problems(call: Call) -> Iterator[Problem]:
    """Embeddings without their pooled ones, or beside texts; sizes that are none."""
    for sign in ("", "negative_"):
        whole, pooled, second = f"{sign}prompt_embeds", f"{sign}pooled_prompt_embeds", f"{sign}prompt_2"
        if whole in call.given and pooled not in call.given:
            yield Problem(whole, f"is given without {pooled}", hint="encode_prompt returns both")
        if whole in call.given and call.prompts[second] is not None:
            yield Problem(second, f"cannot be given together with {whole}")
    for name in SIZES:
        value = getattr(call.wish, name)
        pair = isinstance(value, list | tuple) and len(value) == 2
        if value is not None and not (pair and all(isinstance(one, int) and one >= 0 for one in value)):
            yield Problem(name, f"is {value!r}, but must be two whole numbers, of the height and of the width")

"""StableDiffusionPipeline: the call that takes a prompt, for Stable Diffusion 1.x, 2.x and latent consistency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from runner.backends.network_call import CONTEXT
from runner.families import Wish
from runner.families.stable_diffusion import SD
from runner.python_face.arguments import Call, Texts
from runner.python_face.callbacks import Callback
from runner.python_face.denoising import Generators
from runner.python_face.text_to_image import PromptPipeline


class StableDiffusionPipeline(PromptPipeline):
    """Components: tokenizer, text_encoder, unet, vae, scheduler. No safety checker is run."""

    family = SD
    FLAGS = {"requires_safety_checker": False}  # noqa: RUF012 (read-only by its annotation in the base)

    ORDER = (
        "vae",
        "text_encoder",
        "tokenizer",
        "unet",
        "scheduler",
        "safety_checker",
        "feature_extractor",
        "image_encoder",
        "requires_safety_checker",
    )

    def _extra_index(self) -> dict[str, Any]:
        return super()._extra_index() | {"requires_safety_checker": False}

    def __call__(
        self,
        prompt: Texts = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float = 7.5,
        negative_prompt: Texts = None,
        num_images_per_prompt: int = 1,
        eta: float | None = None,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        ip_adapter_image: None = None,
        ip_adapter_image_embeds: None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: None = None,
        guidance_rescale: float = 0.0,
        clip_skip: int | None = None,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **older: Any,
    ) -> Any:
        """Pictures, prompt by prompt: `.images`, a list of PIL pictures unless `output_type` says otherwise.

        Args:
            prompt: one text or a list of them; or `prompt_embeds` (B, L, D), as of `encode_prompt`.
            timesteps, sigmas: a listed schedule instead of `num_inference_steps`; any scheduler takes one.
            eta: of schedulers that have it; others ignore it. None is 0, or what the scheduler was made with.
            generator: one for all images, drawn from in one call and left where the call ended; or one for each.
            latents: (B, C, h, w) of unit variance, to start from instead of a draw; any h and w.
            ip_adapter_image, ip_adapter_image_embeds, cross_attention_kwargs: not served, so None.
            callback_on_step_end: called as (pipeline, row, timestep, tensors) after each network evaluation; what it
                returns of the tensors, or changes in place, counts. `pipeline._interrupt = True` stops there.
            older: `callback`, called as (step, timestep, latents) after every `callback_steps` steps.

        Raises:
            ValueError: arguments that cannot work, told before anything is computed.
        """
        call = Call(
            prompts={"prompt": prompt, "negative_prompt": negative_prompt},
            wish=Wish("", 0, 0, clip_skip=clip_skip),
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
            embeds={"prompt_embeds": prompt_embeds, "negative_prompt_embeds": negative_prompt_embeds},
            older=older,
            refused={
                "ip_adapter_image": ip_adapter_image,
                "ip_adapter_image_embeds": ip_adapter_image_embeds,
                "cross_attention_kwargs": cross_attention_kwargs,
            },
        )
        return self._finish(self._draw(call), return_dict)

    def encode_prompt(
        self,
        prompt: Texts,
        device: torch.device | str | None = None,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: Texts = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        lora_scale: float | None = None,
        clip_skip: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Embeddings (B, L, D) of a prompt and of the negative prompt, to be given to a call.

        `lora_scale` is unread.
        """
        prompts = {"prompt": prompt, "negative_prompt": negative_prompt}
        embeds = {"prompt_embeds": prompt_embeds, "negative_prompt_embeds": negative_prompt_embeds}
        wish = Wish("", 0, 0, clip_skip=clip_skip)
        found = self._encoded_alone(prompts, wish, do_classifier_free_guidance, num_images_per_prompt, embeds)
        halves = found.positive, found.negative
        positive, negative = (None if half is None else half[CONTEXT].to(device) for half in halves)
        return positive, negative  # type: ignore[return-value]

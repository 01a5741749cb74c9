"""StableDiffusionXLPipeline: the call with two prompts and the sizes that SDXL is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from runner.backends.base import Guidance
from runner.errors import Problem, RecipeError
from runner.pipelines import text_to_image_xl
from runner.pipelines.base import Wish
from runner.python_face.base import Generators
from runner.python_face.images import ImagePipelineOutput
from runner.python_face.text_to_image import Call, Callback, PromptPipeline, Texts

Size = tuple[int, int]


class StableDiffusionXLPipeline(PromptPipeline):
    """Components: tokenizer, tokenizer_2, text_encoder, text_encoder_2, unet, vae, scheduler."""

    kind = text_to_image_xl
    FLAGS = {"force_zeros_for_empty_prompt": True, "add_watermarker": None}  # noqa: RUF012

    def _extra_index(self) -> dict[str, Any]:
        absent = {name: [None, None] for name in ("feature_extractor", "image_encoder")}
        return {**absent, "force_zeros_for_empty_prompt": self.flags["force_zeros_for_empty_prompt"]}

    def __call__(
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        *,
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
        output_type: str = "pil",
        return_dict: bool = True,
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
        height, width = self._size(height, width)
        embeds = {
            "prompt_embeds": prompt_embeds,
            "negative_prompt_embeds": negative_prompt_embeds,
            "pooled_prompt_embeds": pooled_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        _check_embeds(embeds, {"prompt_2": prompt_2, "negative_prompt_2": negative_prompt_2})
        call = Call(
            prompts={
                "prompt": prompt,
                "negative_prompt": negative_prompt,
                "prompt_2": prompt_2,
                "negative_prompt_2": negative_prompt_2,
            },
            wish=Wish(
                "",
                height,
                width,
                clip_skip=clip_skip,
                original_size=original_size,
                crops_coords_top_left=crops_coords_top_left,
                target_size=target_size,
                negative_original_size=negative_original_size,
                negative_crops_coords_top_left=negative_crops_coords_top_left,
                negative_target_size=negative_target_size,
            ),
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
        )
        return self._finish(self._draw(call), return_dict)

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
        clip_skip: int | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Embeddings (B, L, D) of prompt and negative prompt, then the pooled ones (B, P), to be given to a call."""
        prompts = {
            "prompt": prompt,
            "prompt_2": prompt_2,
            "negative_prompt": negative_prompt,
            "negative_prompt_2": negative_prompt_2,
        }
        guidance = Guidance(2.0 if do_classifier_free_guidance else 1.0)
        found = self._encoded(prompts, Wish("", 0, 0, clip_skip=clip_skip), guidance, num_images_per_prompt)
        four = (found.positive, found.negative, found.added["text_embeds"], found.negative_added.get("text_embeds"))
        return tuple(None if tensor is None else tensor.to(device) for tensor in four)  # type: ignore[return-value]


def _check_embeds(embeds: dict[str, Tensor | None], seconds: dict[str, Texts]) -> None:
    """Embeddings come with their pooled ones, and not beside texts. Raises RecipeError."""
    problems = []
    for sign in ("", "negative_"):
        whole, pooled, second = f"{sign}prompt_embeds", f"{sign}pooled_prompt_embeds", f"{sign}prompt_2"
        if embeds[whole] is not None and embeds[pooled] is None:
            problems.append(Problem(whole, f"is given without {pooled}", hint="encode_prompt returns both"))
        if embeds[whole] is not None and seconds[second] is not None:
            problems.append(Problem(second, f"cannot be given together with {whole}"))
    if problems:
        raise RecipeError(problems)

"""DDPMPipeline and DDIMPipeline: pictures out of noise alone."""

from __future__ import annotations

from typing import Any

from components.schedulers.base import Scheduler
from runner.backends.base import Guidance
from runner.conditions import Conditions
from runner.errors import RecipeError
from runner.families.unconditional import UNCONDITIONAL
from runner.python_face.arguments import count_problems, number_problems
from runner.python_face.base import DiffusionPipeline
from runner.python_face.denoising import Generators
from runner.python_face.images import ImagePipelineOutput, as_output, output_problems


class _UnconditionalPipeline(DiffusionPipeline):
    family = UNCONDITIONAL

    ORDER = ("unet", "scheduler")

    def _draw(
        self, steps: int, batch: int, generator: Generators, output_type: str, return_dict: bool, **run: Any
    ) -> Any:
        problems = [*count_problems("batch_size", "the number of images", batch)]
        problems += self._generator_problems(generator, batch) if not problems else []
        problems += count_problems("num_inference_steps", "the number of steps", steps)
        problems += number_problems("eta", run.get("eta", 0.0), 0.0, 1.0)
        problems += output_problems(output_type, ("pil", "np", "pt"))
        if problems:
            raise RecipeError(problems)
        table = self._table(steps, **run)
        configs, backend = self._configs(), self._backend()
        shape = (batch, self.family.latents(configs).channels, *self.family.size(configs))
        drawn = self._sample(backend, table, shape, Conditions(), Guidance(1.0), generator)
        images = as_output(drawn.images.clone(), output_type)
        return ImagePipelineOutput(images) if return_dict else (images,)


class DDPMPipeline(_UnconditionalPipeline):
    """Components: unet, scheduler."""

    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        num_inference_steps: int = 1000,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """`.images`: so many pictures of what the network was trained on. Raises ValueError before computing."""
        return self._draw(num_inference_steps, batch_size, generator, output_type, return_dict)


class DDIMPipeline(_UnconditionalPipeline):
    """Components: unet, scheduler; whatever scheduler it gets becomes a DDIMScheduler."""

    def _at_home(self, scheduler: Scheduler) -> Scheduler:
        from components.schedulers import DDIMScheduler

        return DDIMScheduler.from_config(scheduler.config)

    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        eta: float = 0.0,
        num_inference_steps: int = 50,
        use_clipped_model_output: bool | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """As `DDPMPipeline`'s; `eta` from 0, deterministic, to 1, as random as DDPM."""
        run = {"eta": eta, "use_clipped_model_output": bool(use_clipped_model_output)}
        return self._draw(num_inference_steps, batch_size, generator, output_type, return_dict, **run)

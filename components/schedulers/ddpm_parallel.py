"""DDPM under the name that parallel sampling (Shih et al. 2023, arXiv 2305.16317) gives it: the table is the same."""

from components.schedulers.ddpm import DDPMScheduler


class DDPMParallelScheduler(DDPMScheduler):
    """A table has no state to make parallel: every row can be applied to any x."""

    aliases = ("ddpm_parallel",)

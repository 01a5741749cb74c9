"""DDIM under the name that parallel sampling (Shih et al. 2023, arXiv 2305.16317) gives it: the table is the same."""

from components.schedulers.ddim import DDIMScheduler


class DDIMParallelScheduler(DDIMScheduler):
    """A table has no state to make parallel: every row can be applied to any x."""

    aliases = ("ddim_parallel",)

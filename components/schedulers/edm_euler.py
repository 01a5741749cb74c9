"""Euler's method for networks preconditioned as in Karras et al. 2022 (arXiv 2206.00364, table 1)."""

from components.schedulers import options as opt
from components.schedulers.base import Array, Level
from components.schedulers.calls import CHURN
from components.schedulers.edm import EDMScheme
from components.schedulers.euler_discrete import EulerDiscreteScheduler


class EDMEulerScheduler(EDMScheme, EulerDiscreteScheduler):
    """x' = x + (sigma' - sigma) eps, with churn (algorithm 2)."""

    aliases = ("edm_euler",)
    format_of = "model_output"
    step_takes = (*CHURN, "generator", "return_dict", "pred_original_sample")
    schedule_takes = ("sigmas",)
    OPTIONS = (*opt.EDM_OPTIONS, *opt.CHURN)

    @property
    def reads_eps(self) -> bool:
        return False

    def churned(self, at: Level, hat: Level) -> tuple[Array, Array]:
        return self.parameterisation(hat)[2:]

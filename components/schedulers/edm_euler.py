"""Euler's method for networks preconditioned as in Karras et al. 2022 (arXiv 2206.00364, table 1)."""

from components.schedulers.edm import EDM_OPTIONS, EDMScheme
from components.schedulers.euler_discrete import EulerDiscreteScheduler
from components.schedulers.options import CHURN


class EDMEulerScheduler(EDMScheme, EulerDiscreteScheduler):
    """x' = x + (sigma' - sigma) eps, with churn (algorithm 2)."""

    aliases = ("edm_euler",)
    OPTIONS = (*EDM_OPTIONS, *CHURN)

    @property
    def reads_eps(self) -> bool:
        return False

"""DPM-Solver++ multistep for networks preconditioned as in Karras et al. 2022 (arXiv 2206.00364, table 1)."""

from components.schedulers.dpm_solver_multistep import THIRD_ORDER, DPMSolverMultistepScheduler
from components.schedulers.edm import EDM_OPTIONS, EDMScheme
from components.schedulers.exponential import ALGORITHM, EULER_AT_FINAL, LOWER_ORDER_FINAL, SOLVER_ORDER, SOLVER_TYPE
from components.schedulers.options import THRESHOLD


class EDMDPMSolverMultistepScheduler(EDMScheme, DPMSolverMultistepScheduler):
    """The solver of DPMSolverMultistep on alpha = 1; see there."""

    variance_preserving = False
    aliases = ("edm_dpmpp_2m",)
    OPTIONS = (
        *EDM_OPTIONS,
        SOLVER_ORDER,
        *THRESHOLD,
        ALGORITHM,
        SOLVER_TYPE,
        LOWER_ORDER_FINAL,
        EULER_AT_FINAL,
        THIRD_ORDER,
    )

"""DPM-Solver++ multistep for networks preconditioned as in Karras et al. 2022 (arXiv 2206.00364, table 1)."""

from components.schedulers import options as opt
from components.schedulers.dpm_solver_multistep import DPMSolverMultistepScheduler
from components.schedulers.edm import EDMScheme


class EDMDPMSolverMultistepScheduler(EDMScheme, DPMSolverMultistepScheduler):
    """The solver of DPMSolverMultistep on alpha = 1; see there."""

    variance_preserving = False
    aliases = ("edm_dpmpp_2m",)
    step_takes = ("generator", "return_dict")
    schedule_takes = ()
    whole_timesteps = False
    OPTIONS = (*opt.EDM_OPTIONS, *opt.MULTISTEP, *opt.THRESHOLD, opt.ALGORITHM)

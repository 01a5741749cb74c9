"""Where the reference library is not the measure, for the schedulers of `wider`; held to its word as `peer_differs`."""

from __future__ import annotations

from dataclasses import replace

from family import Config
from peer_differs import DIFFERS, NAN, RAISES, Cell, Difference, told_the_peers_timesteps_in_float64
from reference_loop import distance, make_peer, peer_in_float64, run_peer

from components.schedulers import Tableau


def in_float64(cell: Cell) -> float:
    """The peer with its float32 numbers in float64."""
    with peer_in_float64():
        return _apart(cell)


def unclipped(cell: Cell) -> float:
    return _apart(cell, replace(cell.table(), clip=None))


def visiting_the_peers_timesteps(cell: Cell) -> float:
    """Our method at the timesteps that the peer visits."""
    with peer_in_float64():
        return _apart(cell, cell.scheduler.tableau(timesteps=cell.peer().timesteps.tolist()))


def visiting_the_peers_sigmas(cell: Cell) -> float:
    """Our method at the levels that the peer visits, told its timesteps."""
    with peer_in_float64():
        peer = cell.peer()
        table = cell.scheduler.tableau(sigmas=_strictly(peer.sigmas.double().tolist()))
        return _apart(cell, replace(table, timestep=peer.timesteps.double().numpy()))


def _strictly(sigmas: list[float]) -> list[float]:
    """With a last step of almost no size where the peer's has none."""
    return [*sigmas[:-1], min(sigmas[-1], sigmas[-2] * (1 - 1e-12))]


def starting_at_the_top(cell: Cell) -> float:
    """The peer with its one level at sigma_max, where ours is, and where its own Karras spacing starts."""
    config, run = cell.member.split(cell.config | {"sigma_schedule": "karras"})
    return distance(cell.run(), run_peer(make_peer(cell.member.name, config, 1), **run))


def rounded_down(cell: Cell) -> float:
    """Our table, told the peer's whole timesteps."""
    with peer_in_float64():
        table, told = cell.table(), cell.peer().timesteps.double().numpy()
        lost = table.timestep - told
        assert (lost > -1e-9).all() and (lost < 1 + 1e-9).all()
        return _apart(cell, replace(table, timestep=told))


def _apart(cell: Cell, table: Tableau | None = None) -> float:
    return distance(cell.run(table), cell.run_peer())


SA, CM, TCD, IPNDM = "SASolverScheduler", "CMStochasticIterativeScheduler", "TCDScheduler", "IPNDMScheduler"
DDIM_INVERSE, INVERSE = "DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler"
EDM, COSINE, SDE = "EDMDPMSolverMultistepScheduler", "CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler"
FLOW_EULER, FLOW_LCM, UNIPC = "FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler", "UniPCMultistepScheduler"


def _flow(c: Config) -> bool:
    return c.get("use_flow_sigmas", False)


WIDER_DIFFERS: tuple[Difference, ...] = (
    Difference(
        ("UnCLIPScheduler",),
        lambda c, n: c["prediction_type"] == "v_prediction",
        RAISES,
        "takes no network that predicts v",
    ),
    Difference(
        ("LCMScheduler", TCD),
        lambda c, n: c["beta_schedule"] == "sigmoid",
        RAISES,
        "knows these betas in DDPM alone",
    ),
    Difference(
        ("LCMScheduler", TCD),
        lambda c, n: c["rescale_betas_zero_snr"] and c["prediction_type"] == "epsilon",
        NAN,
        "divides by alpha = 0; we take the smallest alpha there is in its place",
    ),
    Difference(
        (TCD,),
        lambda c, n: c["clip_sample"] or c["thresholding"],
        DIFFERS,
        "clips x0, and goes on with the one that is not clipped",
        unclipped,
    ),
    Difference(
        (DDIM_INVERSE,),
        lambda c, n: c["timestep_spacing"] == "linspace",
        RAISES,
        "does not know this spacing",
    ),
    Difference(
        (DDIM_INVERSE,),
        lambda c, n: c["prediction_type"] == "sample" and c["set_alpha_to_one"],
        NAN,
        "divides by sigma = 0: a network that predicts x0 tells no eps there, so we start at the smallest sigma",
    ),
    Difference(
        (DDIM_INVERSE,),
        lambda c, n: c["timestep_spacing"] == "trailing" and c["num_train_timesteps"] % n != 0,
        DIFFERS,
        "starts from T // N below the timestep it is told, which is not where the row before went",
    ),
    Difference(
        (INVERSE,),
        lambda c, n: c["use_exponential_sigmas"] and n >= 27,
        RAISES,
        "whole timesteps that repeat: a step is looked up by its timestep, and the last one is past the end",
    ),
    Difference(
        (INVERSE,),
        lambda c, n: c["use_karras_sigmas"] and n >= 45,
        DIFFERS,
        "drops timesteps that repeat and keeps their sigmas: fewer steps than asked, at the wrong levels",
    ),
    Difference(
        (INVERSE,),
        lambda c, n: (c["use_exponential_sigmas"] and n >= 5) or (c["use_beta_sigmas"] and n >= 3),
        DIFFERS,
        "tells the network timesteps rounded down",
        told_the_peers_timesteps_in_float64,
    ),
    Difference(
        (INVERSE,),
        lambda c, n: not _flow(c) and (c["prediction_type"] == "sample" or c["thresholding"]),
        DIFFERS,
        "sigma of timestep 0 in float32: 1 - alpha^2 is 1e-4 to 1e-3 and keeps four digits",
        in_float64,
        witness=({"prediction_type": "sample"}, 2),
    ),
    Difference(
        (INVERSE,),
        lambda c, n: _flow(c),
        DIFFERS,
        "runs a flow downwards, from noise to data, which is not the inverse; we run it upwards",
    ),
    Difference(
        ("UnCLIPScheduler",),
        lambda c, n: n == 1,
        RAISES,
        "divides by N - 1",
    ),
    Difference(
        ("UnCLIPScheduler",),
        lambda c, n: True,
        DIFFERS,
        "its alphas in float32, of which the first is 2e-4 and keeps four digits",
        visiting_the_peers_timesteps,
    ),
    Difference(
        (SA,),
        lambda c, n: (
            not _flow(c) and (c["use_karras_sigmas"] or c["use_exponential_sigmas"] or c["use_beta_sigmas"]) and n == 1
        ),
        DIFFERS,
        "its one step ends at the level where it started; ours ends at sigma_min",
    ),
    Difference(
        (SA,),
        lambda c, n: c["use_beta_sigmas"] and n == 50,
        RAISES,
        "whole timesteps that repeat",
    ),
    Difference(
        (SA,),
        lambda c, n: c["use_exponential_sigmas"] or c["use_beta_sigmas"],
        DIFFERS,
        "tells the network timesteps rounded down",
        told_the_peers_timesteps_in_float64,
    ),
    Difference(
        (SA,),
        lambda c, n: n >= 27 and max(c["predictor_order"], c["corrector_order"]) > 2 and not _flow(c),
        DIFFERS,
        "third and fourth order weights in float32, by formulas that cancel",
        in_float64,
        witness=({"predictor_order": 4, "corrector_order": 4}, 50),
    ),
    Difference(
        (SA, "DEISMultistepScheduler"),
        lambda c, n: _flow(c),
        DIFFERS,
        "a flow's last step has no size: the picture is left as noisy as its last level; ours ends at 0",
        visiting_the_peers_sigmas,
    ),
    Difference(
        (SDE,),
        lambda c, n: c["prediction_type"] == "sample",
        RAISES,
        "not implemented there",
    ),
    Difference(
        (SDE,),
        lambda c, n: c["timestep_spacing"] == "linspace" and (n == 1 or c["use_exponential_sigmas"]),
        DIFFERS,
        "sigma of timestep 0 in float32: four digits",
        in_float64,
        witness=({}, 1),
    ),
    Difference(
        (IPNDM,),
        lambda c, n: n == 1,
        DIFFERS,
        "returns 0: at alpha = 0 it ignores the network even where there is no other row",
    ),
    Difference(
        ("EDMEulerScheduler", EDM, COSINE),
        lambda c, n: n == 1 and c["sigma_schedule"] == "exponential",
        DIFFERS,
        "its one level is sigma_min, which the noise was not scaled to; ours is sigma_max, as with Karras levels",
        starting_at_the_top,
    ),
    Difference(
        ("EDMEulerScheduler",),
        lambda c, n: n == 1 and c["final_sigmas_type"] == "sigma_min",
        DIFFERS,
        "takes the last level for sigma_min: its one step ends where it started",
    ),
    Difference(
        (EDM,),
        lambda c, n: c["algorithm_type"] in ("dpmsolver", "sde-dpmsolver"),
        RAISES,
        "not implemented there",
    ),
    Difference(
        (EDM,),
        lambda c, n: c["solver_order"] == 3 and c["final_sigmas_type"] == "sigma_min" and n >= 15,
        NAN,
        "the last step has no size, and divides by it",
    ),
    Difference(
        (COSINE,),
        lambda c, n: c["solver_order"] == 3 and n >= 5,
        RAISES,
        "UnboundLocalError: this branch was never written",
    ),
    Difference(
        (CM,),
        lambda c, n: c["sigma_min"] == 0.1 and n > 1,
        DIFFERS,
        "c_skip and c_out in float32",
        in_float64,
    ),
    Difference(
        (FLOW_EULER, FLOW_LCM),
        lambda c, n: c["use_dynamic_shifting"],
        RAISES,
        "takes no default for mu; ours is base_shift",
    ),
    Difference(
        (FLOW_EULER, FLOW_LCM),
        lambda c, n: c["shift_terminal"] is not None and n == 1,
        RAISES,
        "IndexError: stretches an empty list",
    ),
    Difference(
        (FLOW_EULER,),
        lambda c, n: c.get("stochastic_sampling", False) and n > 1,
        DIFFERS,
        "draws from torch's global generator and not from the one it is given",
    ),
    Difference(
        (UNIPC,),
        lambda c, n: c["shift_terminal"] is not None and n == 1,
        NAN,
        "stretches by 1 / 0",
    ),
    Difference(
        ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", UNIPC),
        lambda c, n: _flow(c),
        DIFFERS,
        "tells a flow's network whole timesteps, rounded down; a flow is told sigma T itself",
        rounded_down,
        witness=({}, 5),
    ),
)

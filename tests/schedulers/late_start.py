"""Runs that begin in the middle, by the reference library and by a table: a stand-in network, one small latent.

Neither loop knows the other. The reference is begun at a row with `set_begin_index`, or is handed the rest of its
timesteps where it has none; in LMS and PNDM it takes outputs that never were for history, and the textbook's loop
stands here instead.
"""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import diffusers
import torch
from family import SD, Config
from reference_loop import peer_in_float64, smooth_path
from torch import Tensor

from components.schedulers import Tableau, find_scheduler
from components.schedulers.brownian import brownian_path

SHAPE = (1, 4, 1, 1)
IMAGE = torch.tensor([0.8, -0.5, 0.2, 0.0], dtype=torch.float64).reshape(SHAPE)
NOISE = torch.tensor([0.3, -1.1, 0.7, 1.5], dtype=torch.float64).reshape(SHAPE)

CASES: tuple[tuple[str, Config], ...] = (
    ("ddim", {}),
    ("ddim", {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False, "eta": 1.0}),
    ("ddim_inverse", {}),
    ("ddpm", {}),
    ("unclip", {}),
    ("euler", {"use_karras_sigmas": True}),
    ("euler", {"s_churn": 5.0, "timestep_spacing": "leading", "steps_offset": 1}),
    ("euler_a", {}),
    ("heun", {}),
    ("dpm2", {}),
    ("dpm2_a", {}),
    ("lms", {}),
    ("pndm", {"skip_prk_steps": True, "steps_offset": 1}),
    ("pndm", {"steps_offset": 1}),
    ("dpmpp_2m", {}),
    ("dpmpp_2m", {"use_karras_sigmas": True, "euler_at_final": True}),
    ("dpmpp_2m", {"solver_order": 3}),
    ("dpmpp_2m", {"solver_order": 3, "lower_order_final": False, "final_sigmas_type": "sigma_min"}),
    ("dpmpp_2m", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    ("dpmpp_2m", {"algorithm_type": "sde-dpmsolver++"}),
    ("dpmpp_2m", {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}),
    ("dpmpp_2m_inverse", {}),
    ("dpmpp_2s", {"lower_order_final": True}),
    ("dpmpp_2s", {"solver_order": 3, "lower_order_final": True}),
    ("unipc", {}),
    ("unipc", {"solver_order": 3, "disable_corrector": [0, 4, 9]}),
    ("deis", {}),
    ("deis", {"solver_order": 3}),
    ("sa_solver", {}),
    ("sa_solver", {"predictor_order": 3, "corrector_order": 4}),
    ("dpmpp_sde", {"noise_sampler_seed": 0}),
    ("ipndm", {}),
    ("edm_euler", {}),
    ("edm_dpmpp_2m", {}),
    ("edm_dpmpp_2m", {"solver_order": 3}),
    ("cosine_dpmpp_2m_sde", {}),
    ("consistency", {"clip_denoised": False}),
    ("lcm", {}),
    ("tcd", {}),
    ("flow_euler", {"shift": 3.0}),
    ("flow_heun", {}),
    ("flow_lcm", {}),
)


def configured(name: str, config: Config) -> tuple[type, Config]:
    """The class of an alias and a configuration of it: SD's betas where it has betas, and nothing clipped."""
    cls = find_scheduler(name)
    usual = {**SD, "clip_sample": False} if name != "unclip" else {"clip_sample": False}
    return cls, {key: value for key, value in usual.items() if key in cls.options()} | config


def network(x: Tensor, timestep: float) -> Tensor:
    return 0.4 * x + 0.3 * torch.sin(3 * x) + 0.2 * math.cos(timestep / 100)


def draws() -> Iterator[Tensor]:
    """The j-th fresh draw, j = 1, 2, …: sin(i + 1.7 j)."""
    for j in itertools.count(1):
        yield torch.sin(torch.arange(4, dtype=torch.float64) + 1.7 * j).reshape(SHAPE)


@contextmanager
def known_draws() -> Iterator[None]:
    """Within it torch.randn gives `draws`, and a Brownian path is a smooth function of time."""
    fresh, randn = draws(), torch.randn

    def known(*shape: Any, **options: Any) -> Tensor:
        return next(fresh).clone() if tuple(shape[0]) == SHAPE else randn(*shape, **options)

    with smooth_path(), mock.patch("torch.randn", known):
        yield


def start_of(table: Tableau) -> Tensor:
    alpha, sigma = table.read[0]
    return float(alpha) * IMAGE + float(sigma) * NOISE


def after_rows(table: Tableau) -> list[Tensor]:
    """x after each row of a table that is begun as image to image begins."""
    update, fresh, seen = torch.from_numpy(table.update), draws(), []
    state = torch.zeros((table.registers, *SHAPE[1:]), dtype=torch.float64)
    state[:1] = start_of(table)
    with smooth_path():
        path = table.brownian and brownian_path(0, SHAPE, *table.brownian, dtype=torch.float64)
        for n in range(table.rows):
            output = network(float(table.input_scale[n]) * state[:1], float(table.timestep[n]))
            x0 = torch.zeros(SHAPE, dtype=torch.float64)
            if update[n, :, -2].any():
                x0 = float(table.to_x0[n, 0]) * state[:1] + float(table.to_x0[n, 1]) * output
            noise = 0 * x0
            if table.takes_noise[n]:
                noise = torch.as_tensor(path.unit(table.noise_span[n])) if path else next(fresh)
            state = torch.tensordot(update[n], torch.cat([state, output, x0, noise]), 1)
            seen.append(state[:1].clone())
    return seen


def walked(scheduler: Any, x: Tensor, timesteps: Any, options: Config) -> list[Tensor]:
    """x after each call of a caller's own loop over some timesteps, whoever's the scheduler is."""
    parameters, seen = inspect.signature(scheduler.step).parameters, []
    options = {name: value for name, value in options.items() if name in parameters}
    scaled = getattr(scheduler, "scale_model_input", lambda x, t: x)
    for n, t in enumerate(timesteps):
        if "prev_timestep" in parameters:  # UnCLIP is told where it goes
            options["prev_timestep"] = timesteps[n + 1] if n + 1 < len(timesteps) else None
        x = scheduler.step(network(scaled(x, t), float(t)), t, x, **options).prev_sample
        seen.append(x.double())
    return seen


def peer_after_rows(name: str, config: Config, steps: int, row: int, x: Tensor) -> tuple[list[Tensor], list[float]]:
    """The same of the reference, begun at this row of its timesteps, and these. Every number of it is a float64."""
    cls, config = configured(name, config)
    run = {key: value for key, value in config.items() if cls.options()[key].run}
    with peer_in_float64(), known_draws(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = getattr(diffusers, cls.__name__)(**{k: v for k, v in config.items() if k not in run})
        peer.set_timesteps(steps)
        if hasattr(peer, "set_begin_index"):
            peer.set_begin_index(row)
        generator = torch.Generator().manual_seed(0)
        seen = walked(peer, x.clone(), peer.timesteps[row:], {**run, "generator": generator})
        return seen, peer.timesteps[row:].tolist()

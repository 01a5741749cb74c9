"""What scripts written for the reference library read from a scheduler and hand to it.

Expected values: the reference library's own attributes, signatures and results, class by class.
"""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from late_start import IMAGE, NOISE, configured, network
from reference_loop import FLOAT32

import components.schedulers as family
from components.schedulers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    SchedulerConfigError,
    find_scheduler,
    scheduler_classes,
)

NAMES = tuple(scheduler_classes())
CLASSES = pytest.mark.parametrize("name", NAMES)
CLOCK = ("betas", "alphas", "alphas_cumprod", "final_alpha_cumprod", "initial_alpha_cumprod", "one")
CLOCK += ("alpha_t", "sigma_t", "lambda_t")
RUN = ("timesteps", "sigmas", "init_noise_sigma", "step_index", "begin_index")

OTHERWISE = {
    ("IPNDMScheduler", "betas"),  # a curve of its own, for no network trained on betas
    ("IPNDMScheduler", "alphas"),
    ("PNDMScheduler", "timesteps"),  # None there, before a run is set
    ("EDMEulerScheduler", "timesteps"),  # one more than its clock has, before a run is set
    ("EDMEulerScheduler", "sigmas"),
    ("DPMSolverSDEScheduler", "sigmas"),  # those of the ends of a step in its middle, too
    ("KDPM2DiscreteScheduler", "sigmas"),
    ("KDPM2AncestralDiscreteScheduler", "sigmas"),
}
"""Where ours is what its docstring says instead."""


def both(name: str, *, whole_clock: bool = False) -> tuple[Any, Any]:
    """(ours, the reference's); some of those space the whole training clock when they are made, which takes long."""
    cls = getattr(diffusers, name)
    with pytest.MonkeyPatch.context() as patch:
        if not whole_clock:
            spaced = cls.set_timesteps
            patch.setattr(cls, "set_timesteps", lambda self, *_, **__: spaced(self, 2))
        return scheduler_classes()[name](), cls()


def assert_read_alike(ours: Any, theirs: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if not hasattr(theirs, name) or (type(ours).__name__, name) in OTHERWISE:
            continue
        found, expected = getattr(ours, name), getattr(theirs, name)
        if expected is None:
            assert found is None, name
        else:
            expected = torch.as_tensor(expected).double()
            assert torch.as_tensor(found).shape == expected.shape, name
            apart = (torch.as_tensor(found).double() - expected).abs().max()
            assert apart <= 2e-5 * max(1.0, float(expected.abs().max())), name  # their float32


TAKES_LONG = {"KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "CosineDPMSolverMultistepScheduler"}
TAKES_LONG |= {"DEISMultistepScheduler", "DPMSolverSDEScheduler"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in TAKES_LONG else ()) for n in NAMES])
def test_attributes_before_a_run(name: str) -> None:
    ours, theirs = both(name, whole_clock=True)
    assert_read_alike(ours, theirs, (*CLOCK, *RUN))


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"])
@pytest.mark.parametrize(
    "options",
    [
        {"shift": 3.0},
        {"shift": 3.0, "shift_terminal": 0.1},
        {"shift": 3.0, "use_karras_sigmas": True},
        {"shift": 3.0, "use_dynamic_shifting": True},
    ],
)
def test_levels_that_a_flow_is_trained_at(name: str, options: dict[str, Any]) -> None:
    """Training scripts pick from `sigmas` and `timesteps` before any run: a fixed shift alone moves them."""
    cls = scheduler_classes()[name]
    options = {key: value for key, value in options.items() if key in cls.options()}
    assert_read_alike(cls(**options), getattr(diffusers, name)(**options), ("timesteps", "sigmas"))


@CLASSES
def test_attributes_in_a_run(name: str) -> None:
    ours, theirs = both(name)
    ours.set_timesteps(5)
    theirs.set_timesteps(5)
    assert_read_alike(ours, theirs, (*CLOCK, *RUN))
    assert isinstance(ours.init_noise_sigma, float)
    assert ours.num_inference_steps == 5


@CLASSES
def test_arguments_by_place_are_the_references(name: str) -> None:
    def by_place(call: Any) -> list[str]:
        kinds = inspect.signature(call).parameters.items()
        return [name for name, parameter in kinds if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]

    ours, theirs = both(name)
    for call in ("step", "set_timesteps"):
        assert by_place(getattr(ours, call)) == by_place(getattr(theirs, call))
        for argument, expected in inspect.signature(getattr(theirs, call)).parameters.items():
            found = inspect.signature(getattr(ours, call)).parameters[argument].default
            assert found in (expected.default, None, inspect.Parameter.empty)


@pytest.mark.filterwarnings("ignore:Should have tb<=t1")  # of the reference, whose last time is a bit past the end
@CLASSES
def test_a_tuple_has_as_many_values(name: str) -> None:
    ours, theirs = both(name)
    x, results = torch.ones((1, 4, 2, 2)), []
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(5)
        t = scheduler.timesteps[0]
        more = {"prev_timestep": scheduler.timesteps[1]} if name == "UnCLIPScheduler" else {}
        getattr(scheduler, "scale_model_input", lambda x, t: x)(x, t)
        torch.manual_seed(0)
        results.append(scheduler.step(x, t, x, return_dict=False, **more))
    assert ours.step_index == 1
    assert len(results[0]) == len(results[1])


@pytest.mark.parametrize("name", ["ddim", "lcm", "tcd", "euler", "dpmpp_2m"])
def test_a_steps_result_by_name_by_place_and_unpacked(name: str) -> None:
    """LCM's second value is its denoised x, TCD's is x before fresh noise; both as the reference has them."""
    cls, options = configured(name, {})
    ours, theirs = cls(**options), getattr(diffusers, cls.__name__)(**options)
    for row in (0, 3):
        found, expected = [], []
        for scheduler, out in ((ours, found), (theirs, expected)):
            scheduler.set_timesteps(4)
            scheduler.set_begin_index(row) if hasattr(scheduler, "set_begin_index") else None
            t = scheduler.timesteps[row]
            x = scheduler.scale_model_input(IMAGE, t)
            out.append(scheduler.step(network(x, float(t)), t, IMAGE, generator=torch.Generator().manual_seed(0)))
        for key in expected[0].keys():  # noqa: SIM118 (a tuple, here)
            assert torch.allclose(found[0][key].double(), expected[0][key].double(), atol=1e-5), key
            assert torch.equal(getattr(found[0], key), found[0][key])
        first, second = found[0]
        assert torch.equal(found[0][0], first) and torch.equal(found[0].to_tuple()[1], second)
        assert list(found[0].keys())[: len(expected[0].keys())] == list(expected[0].keys())


def test_options_of_a_step_by_place() -> None:
    """eta, use_clipped_model_output and the generator, as the reference's DDIM takes them."""
    results = []
    for cls in (DDIMScheduler, diffusers.DDIMScheduler):
        scheduler = cls(clip_sample=False)
        scheduler.set_timesteps(10)
        generator = torch.Generator().manual_seed(4)
        results.append(scheduler.step(NOISE, scheduler.timesteps[3], IMAGE, 1.0, False, generator, None, False)[0])
    assert torch.allclose(*results, atol=1e-5)
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(TypeError, match="takes 8 arguments by place, but 9 were given"):
        scheduler.step(NOISE, 900, IMAGE, 0.0, False, None, None, True, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'etta'"):
        scheduler.step(NOISE, 900, IMAGE, etta=1.0)
    with pytest.raises(SchedulerConfigError, match="eta is -1"):
        scheduler.step(NOISE, 900, IMAGE, eta=-1)
    with pytest.raises(TypeError, match="no option of a run named 's_churn'"):
        scheduler.set_timesteps(10, s_churn=1.0)


def test_what_a_signature_takes_and_no_row_reads_is_refused_where_it_would_matter() -> None:
    heun, x = find_scheduler("flow_heun")(), torch.ones((1, 4, 2, 2))
    heun.set_timesteps(4)
    heun.step(x, 1000, x, 0.0, 0.0, float("inf"), 1.0)
    with pytest.raises(ValueError, match=r"takes s_churn for old scripts' sake"):
        heun.step(x, heun.timesteps[1], x, 5.0)
    unclip = find_scheduler("unclip")()
    unclip.set_timesteps(4)
    with pytest.raises(ValueError, match="prev_timestep is 5, but the row after timestep 999 is told 666"):
        unclip.step(x, 999, x, prev_timestep=5)
    with pytest.raises(ValueError, match="num_train_timesteps is 500, but this scheduler's clock has 1000"):
        find_scheduler("heun")().set_timesteps(4, None, 500)


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler"])
def test_a_loop_over_the_whole_clock_needs_no_set_timesteps(name: str) -> None:
    """`for t in scheduler.timesteps: step`, as the tutorials of unconditional generation have it."""
    xs = []
    for scheduler in both(name, whole_clock=True):
        x = NOISE.to(FLOAT32) * float(scheduler.init_noise_sigma)
        for t in scheduler.timesteps[:4]:
            x = scheduler.scale_model_input(x, t)
            x = scheduler.step(0.1 * x, t, x, **_seeded(scheduler, int(t))).prev_sample
        xs.append(x)
    assert torch.allclose(*xs, rtol=2e-4)


def _seeded(scheduler: Any, seed: int) -> dict[str, Any]:
    takes = "generator" in inspect.signature(scheduler.step).parameters
    return {"generator": torch.Generator().manual_seed(seed)} if takes else {}


@CLASSES
def test_noise_is_added_at_the_level_of_the_row_or_of_the_clock(name: str) -> None:
    ours, theirs = both(name)
    ours.set_timesteps(5)
    theirs.set_timesteps(5)
    for row, t in enumerate(ours.timesteps if hasattr(theirs, "add_noise") else ()):
        if name == "DPMSolverMultistepInverseScheduler" and row == 0:
            continue  # told timestep 0, of which the reference takes the first place it finds
        told = theirs.timesteps[row : row + 1]
        if name in ("DPMSolverSDEScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler") and row % 2:
            continue  # a step's middle, which the reference takes for its end
        expected = theirs.add_noise(IMAGE, NOISE, told)
        assert torch.allclose(ours.add_noise(IMAGE, NOISE, t[None]), expected.double(), rtol=2e-5, atol=2e-5)
    fresh, known = both(name)
    if hasattr(known, "get_velocity") and name != "EulerDiscreteScheduler":  # which takes no whole numbers there
        t = torch.tensor([0, 500, 999])
        x = IMAGE.expand(3, -1, -1, -1)
        assert torch.allclose(fresh.get_velocity(x, x, t), known.get_velocity(x, x, t).double(), atol=1e-5)
        assert torch.allclose(fresh.add_noise(x, -x, t), known.add_noise(x, -x, t).double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "ends"), [("ddim", "0 to 999"), ("euler", "0 to 999"), ("flow_euler", "0 to 1000")])
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("wrong", [1500, -1, float("nan")])
def test_no_noise_beyond_the_clock(name: str, ends: str, begun: bool, wrong: float) -> None:
    scheduler = find_scheduler(name)()
    if begun:
        scheduler.set_timesteps(5)
    for call in (scheduler.add_noise, scheduler.get_velocity):
        with pytest.raises(ValueError, match=f"is beyond the training clock, which runs from {ends}"):
            call(IMAGE, NOISE, torch.tensor([wrong]))


def test_a_rows_level_is_not_that_of_the_whole_timestep_it_is_told() -> None:
    scheduler = find_scheduler("dpmpp_2m")(use_karras_sigmas=True)
    scheduler.set_timesteps(20)
    alpha, sigma = scheduler.table.read[8]
    expected = float(alpha) * IMAGE + float(sigma) * NOISE
    assert torch.equal(scheduler.add_noise(IMAGE, NOISE, scheduler.timesteps[8:9]), expected)
    scheduler.set_timesteps(3)
    assert not torch.allclose(scheduler.add_noise(IMAGE, NOISE, torch.tensor([561])), expected, atol=1e-6)


# ---- flows ---------------------------------------------------------------------------------------------------------

HABIT = np.linspace(1, 1 / 4, 4)
FLOW: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
DYNAMIC = {"use_dynamic_shifting": True}
OF_FLOWS = [
    *((name, config) for name in ("flow_euler", "flow_lcm") for config in ({}, {"shift": 3.0}, DYNAMIC)),
    *(("flow_euler", {"shift": 3.0, f"use_{kind}_sigmas": True}) for kind in ("karras", "exponential", "beta")),
    ("flow_euler", {"shift": 3.0, "shift_terminal": 0.1}),
    ("flow_euler", {**DYNAMIC, "time_shift_type": "linear"}),
    *(("unipc", {**FLOW, **config}) for config in ({}, {"flow_shift": 3.0}, DYNAMIC)),
    ("unipc", {**FLOW, "use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 200.0}),
]


@pytest.mark.parametrize("call", [{"num_inference_steps": 4}, {"sigmas": HABIT.tolist()}])
@pytest.mark.parametrize(("name", "config"), OF_FLOWS)
def test_a_flow_visits_the_references_levels(name: str, config: dict[str, Any], call: dict[str, Any]) -> None:
    cls = find_scheduler(name)
    ours, theirs = cls(**config), getattr(diffusers, cls.__name__)(**config)
    call = call | ({"mu": 0.8} if config.get("use_dynamic_shifting") else {})
    ours.set_timesteps(**call)
    theirs.set_timesteps(**call if name != "unipc" or "sigmas" not in call else call | {"sigmas": HABIT})
    assert torch.allclose(ours.sigmas, theirs.sigmas.float(), atol=2e-5)
    assert (ours.timesteps - theirs.timesteps).abs().max() <= 1  # some are told whole timesteps there
    assert len(ours.timesteps) == 4


@pytest.mark.parametrize("name", ["dpmpp_2m", "dpmpp_2s", "deis", "sa_solver", "unipc"])
@pytest.mark.parametrize("kind", ["karras", "exponential", "beta"])
def test_a_sigma_spacing_of_a_flow_is_one_of_noise_to_signal(name: str, kind: str) -> None:
    """As with betas, and then sigma / (1 + sigma): the reference's UniPC with Karras levels."""
    cls, flag = find_scheduler(name), {f"use_{kind}_sigmas": True}
    betas, flow = cls(**flag), cls(**FLOW, **flag)
    betas.set_timesteps(6)
    flow.set_timesteps(6)
    ratio = betas.sigmas[:-1]
    assert torch.allclose(flow.sigmas[:-1], ratio / (1 + ratio), atol=1e-6)
    if (name, kind) == ("unipc", "karras"):
        theirs = diffusers.UniPCMultistepScheduler(**FLOW, **flag)
        theirs.set_timesteps(6)
        assert torch.allclose(flow.sigmas, theirs.sigmas.float(), atol=2e-5)


def test_a_flows_list_may_name_its_end_and_must_fall() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=[1.0, 0.5, 0.0])
    assert torch.allclose(scheduler.sigmas, torch.tensor([1.0, 0.75, 0.0]))
    for wrong in ([0.5, 0.7], [1.2, 0.5], [1.0, -0.1], [float("nan")]):
        with pytest.raises(SchedulerConfigError, match=r"sigmas must fall and lie in \(0, 1\]"):
            scheduler.set_timesteps(sigmas=wrong)
    with pytest.raises(SchedulerConfigError, match="steps are 7, but 4 sigmas are listed"):
        scheduler.set_timesteps(7, sigmas=HABIT)
    with pytest.raises(SchedulerConfigError, match="sigmas cannot be given together with timesteps"):
        scheduler.set_timesteps(sigmas=[1.0, 0.5], timesteps=[1000, 500])


@pytest.mark.parametrize("name", ["flow_euler", "flow_heun", "flow_lcm"])
def test_a_flows_noise_is_scaled_by_its_sigma(name: str) -> None:
    scheduler = find_scheduler(name)(shift=3.0)
    scheduler.set_timesteps(5)
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        expected = (1 - float(sigma)) * IMAGE + float(sigma) * NOISE
        assert torch.allclose(scheduler.scale_noise(IMAGE, t[None], NOISE), expected, atol=1e-6)


def test_a_flows_shift_is_set_as_in_the_reference() -> None:
    ours, theirs = both("FlowMatchEulerDiscreteScheduler")
    for scheduler in (ours, theirs):
        scheduler.set_shift(3.0)
        scheduler.set_timesteps(4)
    assert torch.allclose(ours.sigmas, theirs.sigmas) and ours.shift == theirs.shift == 3.0
    assert ours.config.shift == theirs.config.shift == 1.0
    assert (ours.sigma_min, ours.sigma_max) == pytest.approx((theirs.sigma_min, theirs.sigma_max))
    found, expected = (s.scale_noise(IMAGE, s.timesteps[1:2], NOISE) for s in (ours, theirs))
    assert torch.allclose(found, expected)


# ---- the rest ------------------------------------------------------------------------------------------------------


def test_students_take_their_teachers_steps_and_strength_for_a_run() -> None:
    ours, theirs = both("LCMScheduler")
    for call in ({"original_inference_steps": 100}, {"strength": 0.5}, {}):
        for scheduler in (ours, theirs):
            scheduler.set_timesteps(4, **call)
        assert torch.equal(ours.timesteps, theirs.timesteps)
    assert isinstance(ours, LCMScheduler) and ours.config.original_inference_steps == 50


def test_a_row_is_found_as_in_the_reference() -> None:
    for name in ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler"):
        ours, theirs = both(name)
        ours.set_timesteps(5)
        theirs.set_timesteps(5)
        for t, other in zip(ours.timesteps, theirs.timesteps, strict=True):
            assert ours.index_for_timestep(t) == theirs.index_for_timestep(other)
            assert ours.index_for_timestep(t, theirs.timesteps) == theirs.index_for_timestep(other)
    with pytest.raises(ValueError, match="is not one of this run's"):
        ours.index_for_timestep(3)


def test_the_timestep_before_is_the_references() -> None:
    ours, theirs = both("DDPMScheduler")
    assert ours.previous_timestep(500) == theirs.previous_timestep(torch.tensor(500)) == 499
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(5)
    assert [int(ours.previous_timestep(t)) for t in ours.timesteps] == [600, 400, 200, 0, -1]
    assert [int(theirs.previous_timestep(t)) for t in theirs.timesteps] == [600, 400, 200, 0, -1]


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, tuple])
def test_trained_betas_may_be_an_array(kind: Any) -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    scheduler, plain = DDIMScheduler(trained_betas=kind(betas.tolist())), DDIMScheduler(trained_betas=betas.tolist())
    assert torch.equal(scheduler.betas, plain.betas)
    assert json.loads(scheduler.to_json_string())["trained_betas"] == pytest.approx(betas.tolist())


def test_a_script_draws_again_after_it_sets_the_index_to_none() -> None:
    scheduler, x = find_scheduler("unipc")(), torch.ones((1, 4, 2, 2))
    scheduler.set_timesteps(3)
    results = []
    for _ in range(2):
        scheduler._step_index = None
        for t in scheduler.timesteps:
            results.append(scheduler.step(0.1 * x, t, x).prev_sample)
    assert torch.equal(results[2], results[5])


def test_a_copy_has_a_loop_of_its_own() -> None:
    scheduler, x = find_scheduler("dpmpp_2m")(), torch.ones((1, 4, 2, 2))
    scheduler.set_timesteps(4)
    other = copy.deepcopy(scheduler)
    scheduler.step(x, scheduler.timesteps[0], x)
    assert (scheduler.step_index, other.step_index) == (1, None)
    assert other.step(x, other.timesteps[0], x).prev_sample is not None


@CLASSES
def test_the_reference_reads_what_is_saved(name: str, tmp_path: Path) -> None:
    scheduler, theirs = both(name)
    scheduler.save_config(tmp_path)
    read = type(theirs).load_config(tmp_path)
    for key in set(theirs.config) & set(scheduler.config):
        assert read[key] == scheduler.config[key] == theirs.config[key]
    written = json.loads((tmp_path / "scheduler_config.json").read_text())
    version = json.loads(theirs.to_json_string())["_diffusers_version"]
    assert (written["_class_name"], written["_diffusers_version"]) == (name, version)
    if name not in TAKES_LONG:
        made = type(theirs).from_pretrained(tmp_path)
        assert all(made.config[key] == scheduler.config[key] for key in set(theirs.config) & set(scheduler.config))


def test_the_reference_takes_a_configuration_of_ours() -> None:
    ours = EulerDiscreteScheduler(beta_end=0.012)
    assert diffusers.DDIMScheduler.from_config(ours.config).config.beta_end == 0.012
    assert json.loads(json.dumps(ours.config))["beta_end"] == 0.012
    for change in (lambda c: c.update(beta_end=1), lambda c: c.pop("beta_end"), lambda c: c.__setitem__("beta_end", 1)):
        with pytest.raises(TypeError, match="cannot be changed"):
            change(ours.config)


def test_a_file_is_read_for_a_class_to_be_made_from(tmp_path: Path) -> None:
    diffusers.PNDMScheduler(skip_prk_steps=True, beta_end=0.012).save_pretrained(tmp_path / "scheduler")
    read = EulerDiscreteScheduler.load_config(tmp_path, subfolder="scheduler")
    assert read == diffusers.EulerDiscreteScheduler.load_config(tmp_path / "scheduler")
    assert EulerDiscreteScheduler.from_config(read).config.beta_end == 0.012


def test_options_are_registered_in_place() -> None:
    """As training scripts set the prediction type of a loaded scheduler."""
    scheduler = DDPMScheduler(beta_end=0.012)
    scheduler.register_to_config(prediction_type="v_prediction")
    assert (scheduler.config.prediction_type, scheduler.config.beta_end) == ("v_prediction", 0.012)
    with pytest.raises(SchedulerConfigError, match="prediction_type is 'x'"):
        scheduler.register_to_config(prediction_type="x")


def test_the_package_lists_its_classes() -> None:
    assert set(scheduler_classes()) <= set(dir(family))
    assert len(PNDMScheduler(num_train_timesteps=500)) == 500


# ---- what scripts set ----------------------------------------------------------------------------------------------


@CLASSES
def test_what_scripts_move_they_read_back_as_they_set_it(name: str) -> None:
    """`scheduler.timesteps = scheduler.timesteps.to(torch.float32)` and the like, until the next run."""
    ours = scheduler_classes()[name]()
    ours.set_timesteps(5)
    for array in ("timesteps", "sigmas", *(key for key in CLOCK if hasattr(ours, key))):
        moved = getattr(ours, array).half()
        setattr(ours, array, moved)
        assert getattr(ours, array) is moved
    ours.timesteps = ours.timesteps[2 * ours.order :]
    assert len(ours.timesteps) == (len(ours.table.timestep) - 2 * ours.order)
    ours.num_inference_steps, ours.init_noise_sigma = 5, torch.tensor(ours.init_noise_sigma)
    ours.set_timesteps(3)
    assert len(ours.timesteps) == ours.table.rows and isinstance(ours.init_noise_sigma, float)


@pytest.mark.parametrize("cls", ["DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler"])
def test_betas_that_a_script_replaces_are_those_of_the_clock(cls: str) -> None:
    """As scripts that rescale a scheduler's betas do it; alpha = 0 at the end included."""
    results = []
    for scheduler in both(cls):
        betas = torch.linspace(0.001, 0.03, 1000, dtype=torch.float64)
        scheduler.betas = betas
        scheduler.alphas = 1 - betas
        scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
        scheduler.set_timesteps(4)
        t = scheduler.timesteps[1]
        x = scheduler.scale_model_input(IMAGE, t)
        generator = torch.Generator().manual_seed(0)
        more = {} if cls.startswith("UniPC") else {"generator": generator}
        results.append(scheduler.step(network(x, float(t)), t, IMAGE, **more).prev_sample)
    assert torch.allclose(results[0].double(), results[1].double(), atol=2e-5)
    ours = scheduler_classes()[cls]()
    ours.set_timesteps(4)
    alphas_cumprod = ours.alphas_cumprod.double()
    alphas_cumprod[-1] = 0.0
    ours.alphas_cumprod = alphas_cumprod
    assert np.isfinite(ours.table.update).all() and ours.table.rows == 4


@pytest.mark.parametrize(
    ("array", "value", "told"),
    [
        ("timesteps", [900, 123], r"timestep 123 is not one of this run's.*set_timesteps\(timesteps=…\)"),
        (
            "sigmas",
            torch.ones(6),
            r"sigmas of a DDIMScheduler cannot be set to other numbers: set_timesteps\(sigmas=…\)",
        ),
        ("betas", torch.full((1000,), 2.0), "betas of a DDIMScheduler cannot be set"),
        ("betas", torch.full((10,), 0.1), "betas of a DDIMScheduler cannot be set"),
        ("num_inference_steps", 7, "set_timesteps begins a run of another number"),
        ("final_alpha_cumprod", 0.5, "it follows from the betas and the options"),
    ],
)
def test_numbers_that_no_row_could_follow_are_not_set(array: str, value: Any, told: str) -> None:
    ours = DDIMScheduler()
    ours.set_timesteps(10)
    with pytest.raises(ValueError, match=told):
        setattr(ours, array, value)


@pytest.mark.parametrize("name", ["euler", "euler_a", "flow_euler", "unipc", "sa_solver", "ddim", "dpmpp_2m", "ddpm"])
@pytest.mark.parametrize(("x", "answer"), [(torch.float32, torch.float16), (torch.float16, torch.float32)])
def test_number_formats_that_differ_give_the_references(name: str, x: torch.dtype, answer: torch.dtype) -> None:
    cls, options = configured(name, {})
    formats = []
    for scheduler in (cls(**options), getattr(diffusers, cls.__name__)(**options)):
        scheduler.set_timesteps(4)
        t = scheduler.timesteps[0]
        getattr(scheduler, "scale_model_input", lambda x, t: x)(IMAGE.to(x), t)
        formats.append(scheduler.step(NOISE.to(answer), t, IMAGE.to(x)).prev_sample.dtype)
    assert formats[0] == formats[1]

"""Configuration: the peer's option names and defaults, inheritance between classes, files both can read, discovery."""

import inspect
import json
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
from family import ours_alone

import components.schedulers
from components.component_files import FORMAT_VERSION
from components.schedulers import SchedulerConfigError, find_scheduler, scheduler_classes

CLASSES = scheduler_classes()
CLASS = re.compile(r"^class (\w+Scheduler)\(", re.MULTILINE)
classes = pytest.mark.parametrize("name", CLASSES)
from_sd = pytest.mark.parametrize("name", [name for name in CLASSES if name != "UnCLIPScheduler"])
"""UnCLIP's takes its own betas alone, here and there."""

REFUSED_OPTIONS = {"SASolverScheduler": {"tau_func"}, "DDIMInverseScheduler": {"kwargs"}}
"""Parameters of the peer's that are no options here: a function, which no file can hold, and one that means nothing."""

FURTHER_CHOICES: dict[tuple[str, str], set[str]] = {
    ("PNDMScheduler", "prediction_type"): {"sample"},
    ("UnCLIPScheduler", "prediction_type"): {"v_prediction"},
    ("DEISMultistepScheduler", "algorithm_type"): {"dpmsolver", "dpmsolver++"},
    ("DPMSolverSinglestepScheduler", "algorithm_type"): {"sde-dpmsolver"},
    ("EDMDPMSolverMultistepScheduler", "algorithm_type"): {"dpmsolver", "sde-dpmsolver"},
    ("DDIMInverseScheduler", "timestep_spacing"): {"linspace"},
    ("UnCLIPScheduler", "variance_type"): {"learned", "fixed_large", "fixed_large_log", "fixed_small"},
    **{
        (f"{name}Scheduler", "time_shift_type"): {"linear"}
        for name in ("DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep")
    },
}
"""Choices here that the peer's annotation does not name (sigmoid betas apart, which it has in DDPM alone)."""

PEERS_ALONE: dict[tuple[str, str], set[str]] = {
    ("DPMSolverMultistepInverseScheduler", "algorithm_type"): {"sde-dpmsolver", "sde-dpmsolver++"},
    ("CosineDPMSolverMultistepScheduler", "prediction_type"): {"sample"},
    ("EDMDPMSolverMultistepScheduler", "prediction_type"): {"sample"},
    ("FlowMatchLCMScheduler", "upscale_mode"): {"nearest", "linear", "bilinear", "trilinear", "area", "nearest-exact"},
}
"""And those it names that are not here: the reversed SDE gives nan there, and a preconditioned network has no x0."""

SD15 = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
"""scheduler_config.json of Stable Diffusion 1.5: it says nothing of a timestep spacing."""

SDXL = SD15 | {
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.19.0.dev0",
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "use_karras_sigmas": False,
}
"""scheduler_config.json of SDXL 1.0: it does."""


def peer_options(name: str) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(getattr(diffusers, name).__init__).parameters)
    del parameters["self"]
    return parameters


# ---- options -------------------------------------------------------------------------------------------------------


@classes
def test_options_and_defaults_are_the_peers(name: str) -> None:
    ours = {key: option.default for key, option in CLASSES[name].options().items() if not option.run}
    ours = {key: default for key, default in ours.items() if key not in ours_alone(name) | {"tau"}}
    refused = REFUSED_OPTIONS.get(name, set())
    peers = {key: parameter.default for key, parameter in peer_options(name).items()}
    assert refused <= set(peers)
    assert ours == {key: default for key, default in peers.items() if key not in refused}


@classes
def test_options_of_a_run_are_the_peers_step_arguments(name: str) -> None:
    run = {key: option.default for key, option in CLASSES[name].options().items() if option.run}
    peer = getattr(diffusers, name)
    arguments = {**inspect.signature(peer.set_timesteps).parameters, **inspect.signature(peer.step).parameters}
    assert run == {key: arguments[key].default for key in run}


@classes
def test_choices_are_the_peers(name: str) -> None:
    for key, parameter in peer_options(name).items():
        choices = set(typing.get_args(parameter.annotation)) if "Literal" in str(parameter.annotation) else set()
        option = CLASSES[name].options().get(key)
        if option is None or not all(isinstance(choice, str) for choice in choices) or not choices:
            continue
        further = FURTHER_CHOICES.get((name, key), set()) | {"sigmoid"}
        assert set(option.choices or ()) - further == choices - further - PEERS_ALONE.get((name, key), set()), key


@classes
def test_every_option_says_what_it_means(name: str) -> None:
    for option in CLASSES[name].options().values():
        assert option.doc.endswith("."), option.name
        assert option.problem(option.default) is None, option.name


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("UniPCMultistepScheduler", "solver_p", "DDIMScheduler"),
        ("FlowMatchLCMScheduler", "scale_factors", [0.5, 1.0]),
        ("FlowMatchEulerDiscreteScheduler", "invert_sigmas", True),
    ],
)
def test_what_is_not_here_is_refused_by_name(name: str, option: str, value: Any) -> None:
    with pytest.raises(SchedulerConfigError, match=option):
        CLASSES[name](**{option: value})


def test_a_function_of_tau_is_refused_with_the_option_that_takes_its_place() -> None:
    with pytest.raises(SchedulerConfigError, match="tau_func is not an option here"):
        CLASSES["SASolverScheduler"](tau_func=1)
    for tau in ({"start": 1}, {"start": 0, "end": 1, "value": -1.0}, {"start": 0, "end": "x", "value": 1}):
        with pytest.raises(SchedulerConfigError, match=r"tau is .* but must be"):
            CLASSES["SASolverScheduler"](tau=tau)


def test_an_unknown_option_is_an_error_with_a_suggestion() -> None:
    """The reference library swallows this one in silence and gives plain dpmsolver++."""
    with pytest.raises(SchedulerConfigError) as error:
        find_scheduler("dpmpp_2m").from_config(SD15, algorithm_typ="sde-dpmsolver++")
    [problem] = error.value.problems
    assert (problem.option, problem.nearest) == ("algorithm_typ", "algorithm_type")
    assert "did you mean algorithm_type?" in str(error.value)


def test_an_option_of_another_scheduler_is_named_as_such() -> None:
    [problem] = CLASSES["EulerDiscreteScheduler"].check_options({"skip_prk_steps": True})
    assert problem.hint is not None and "PNDMScheduler" in problem.hint


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("solver_order", 2.0, "must be a whole number"),
        ("solver_order", True, "must be a whole number"),
        ("solver_order", 4, "must be between 1 and 3"),
        ("use_karras_sigmas", "yes", "must be true or false"),
        ("use_karras_sigmas", None, "must not be null"),
        ("algorithm_type", "dpmsolver+", "is not one of its values"),
        ("beta_start", -0.1, "must be between 0 and 1"),
        ("trained_betas", [], "must be a list of numbers, and not an empty one"),
        ("num_train_timesteps", 0, "must be at least 1"),
    ],
)
def test_a_value_that_does_not_fit(option: str, value: Any, what: str) -> None:
    [problem] = CLASSES["DPMSolverMultistepScheduler"].check_options({option: value})
    assert problem.option == option and what in problem.what


def test_a_wrong_choice_is_told_the_choices_and_the_nearest() -> None:
    [problem] = CLASSES["DPMSolverMultistepScheduler"].check_options({"algorithm_type": "dpmsolver+"})
    assert problem.nearest in ("dpmsolver", "dpmsolver++") and len(problem.allowed) == 4


def test_two_sigma_spacings_at_once_are_refused() -> None:
    [problem] = CLASSES["EulerDiscreteScheduler"].check_options({"use_karras_sigmas": True, "use_beta_sigmas": True})
    assert problem.what == "cannot be true together with use_karras_sigmas"


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SchedulerConfigError) as error:
        CLASSES["EulerDiscreteScheduler"](beta_start="a", timestep_spacing="b", c=1)
    assert [problem.option for problem in error.value.problems] == ["beta_start", "timestep_spacing", "c"]


# ---- inheritance ---------------------------------------------------------------------------------------------------


@from_sd
@pytest.mark.parametrize("file", [SD15, SDXL], ids=["sd15", "sdxl"])
def test_from_config_comes_to_what_the_peer_comes_to(name: str, file: dict[str, Any]) -> None:
    ours = CLASSES[name].from_config(file).config
    peer = getattr(diffusers, name).from_config(file).config
    for key in CLASSES[name].options():
        if key in peer:
            assert ours[key] == peer[key], key


@pytest.mark.parametrize(
    ("name", "sd15"),
    [
        ("PNDMScheduler", "leading"),
        ("DDIMScheduler", "leading"),
        ("DDPMScheduler", "leading"),
        ("EulerDiscreteScheduler", "linspace"),
        ("EulerAncestralDiscreteScheduler", "linspace"),
        ("LMSDiscreteScheduler", "linspace"),
        ("HeunDiscreteScheduler", "linspace"),
        ("DPMSolverMultistepScheduler", "linspace"),
    ],
)
def test_a_spacing_the_file_leaves_out_is_each_classs_own(name: str, sd15: str) -> None:
    assert CLASSES[name].from_config(SD15).timestep_spacing == sd15
    assert CLASSES[name].from_config(SDXL).timestep_spacing == "leading"


def test_what_a_scheduler_merely_defaulted_to_is_not_inherited() -> None:
    made = find_scheduler("euler").from_config(find_scheduler("ddim")(beta_start=0.001))
    assert made.timestep_spacing == "linspace" and made.beta_start == 0.001
    assert made.inherited == {"beta_start": 0.001}


def test_the_configuration_alone_says_as_much_as_the_scheduler() -> None:
    """`from_config(pipe.scheduler.config)` is what everybody writes."""
    made = find_scheduler("euler").from_config(find_scheduler("ddim")(beta_start=0.001).config)
    assert made.timestep_spacing == "linspace" and made.config.beta_start == 0.001
    assert made.inherited == {"beta_start": 0.001}


def test_a_correction_is_not_inherited_where_it_corrects_a_default() -> None:
    """The reference pipelines correct steps_offset in place: in force here, but still a default for other classes."""
    said = find_scheduler("ddim").from_config(SD15 | {"steps_offset": 0}).corrected({"steps_offset": 1})
    unsaid = find_scheduler("ddim")().corrected({"steps_offset": 1})
    assert (said.steps_offset, unsaid.steps_offset) == (1, 1)
    assert find_scheduler("euler").from_config(said.config).steps_offset == 1
    assert find_scheduler("euler").from_config(unsaid.config).steps_offset == 0


def test_an_explicit_option_wins_and_stays_on_the_next_switch() -> None:
    made = find_scheduler("euler").from_config(SDXL, timestep_spacing="trailing")
    assert made.timestep_spacing == "trailing" and "timestep_spacing" not in made.inherited
    assert find_scheduler("lms").from_config(made).timestep_spacing == "trailing"


def test_keys_of_other_classes_survive_the_way_there_and_back() -> None:
    there = find_scheduler("euler").from_config(SD15)
    assert there.config["skip_prk_steps"] is True and there.config["set_alpha_to_one"] is False
    back = find_scheduler("pndm").from_config(there)
    original = find_scheduler("pndm").from_config(SD15)
    assert {key: back.config[key] for key in original.config} == dict(original.config)
    np.testing.assert_array_equal(back.tableau(20).update, original.tableau(20).update)


def test_what_no_scheduler_knows_is_dropped_and_told() -> None:
    made = find_scheduler("euler").from_config(SD15 | {"mystery": 3})
    assert made.dropped == {"mystery": 3}
    assert "skip_prk_steps" not in made.dropped  # another class's, carried along


def test_options_of_a_run_are_not_configuration() -> None:
    made = find_scheduler("euler")(s_churn=3.0)
    assert made.run.s_churn == 3.0
    assert "s_churn" not in made.config and "s_churn" not in made.to_json()


def test_betas_that_a_sampler_cannot_have_are_refused_and_not_dropped() -> None:
    with pytest.raises(SchedulerConfigError, match=r"beta_schedule is 'scaled_linear'.* squaredcos_cap_v2"):
        CLASSES["UnCLIPScheduler"].from_config(SD15)


# ---- files ---------------------------------------------------------------------------------------------------------


@from_sd
def test_the_peer_reads_what_we_save(name: str, tmp_path: Path) -> None:
    ours = CLASSES[name].from_config(SD15 | {"beta_end": 0.015})
    ours.save_pretrained(tmp_path)
    peer = getattr(diffusers, name).from_pretrained(tmp_path)
    for key in CLASSES[name].options():
        if key in peer.config:
            assert peer.config[key] == ours.config[key], key
    assert peer.config["skip_prk_steps"] is True  # hidden keys too


@from_sd
def test_we_read_what_the_peer_saves(name: str, tmp_path: Path) -> None:
    getattr(diffusers, name).from_config(SD15 | {"beta_end": 0.015}).save_pretrained(tmp_path / "scheduler")
    ours = CLASSES[name].from_pretrained(tmp_path, "scheduler")
    assert (ours.config["beta_end"], ours.config["beta_start"], ours.config["skip_prk_steps"]) == (0.015, 0.00085, True)


@classes
def test_saved_and_loaded_is_the_same(name: str, tmp_path: Path) -> None:
    scheduler = CLASSES[name](**({"beta_end": 0.015} if "beta_end" in CLASSES[name].options() else {}))
    scheduler.save_pretrained(tmp_path)
    text = (tmp_path / "scheduler_config.json").read_text()
    assert text.endswith("}\n") and list(json.loads(text)) == sorted(json.loads(text))
    for place in (tmp_path, tmp_path / "scheduler_config.json"):
        assert dict(CLASSES[name].from_pretrained(place).config) == dict(scheduler.config)


@classes
def test_repr_is_the_class_and_its_json(name: str) -> None:
    scheduler = CLASSES[name]()
    kind, text = repr(scheduler).split(" ", 1)
    assert kind == name
    assert json.loads(text) == {"_class_name": name, "_diffusers_version": FORMAT_VERSION, **scheduler.config}


def test_a_configuration_cannot_be_changed() -> None:
    """The reference library means its own to be frozen, but two ways of writing to it work, and then disagree."""
    scheduler = find_scheduler("euler")()
    with pytest.raises(TypeError):
        scheduler.config["beta_start"] = 1.0
    for change in ("update", "setdefault", "pop", "__ior__"):
        with pytest.raises(TypeError):
            getattr(scheduler.config, change)({"beta_start": 1.0})
    with pytest.raises(AttributeError):
        scheduler.config.beta_start = 1.0
    assert scheduler.config["beta_start"] == scheduler.beta_start == 0.0001


def test_options_read_as_attributes_and_others_do_not() -> None:
    scheduler = find_scheduler("euler")()
    assert scheduler.beta_end == 0.02
    with pytest.raises(AttributeError, match="'EulerDiscreteScheduler' object has no attribute 'skip_prk_steps'"):
        _ = scheduler.skip_prk_steps


# ---- the family ----------------------------------------------------------------------------------------------------


def test_discovery_finds_every_class_with_a_short_name_in_the_file_of_its_name() -> None:
    folder = Path(components.schedulers.__file__).parent
    defined = {f"{path.stem}:{name}" for path in folder.glob("*.py") for name in CLASS.findall(path.read_text("utf-8"))}
    found = {f"{cls.__module__.rpartition('.')[2]}:{name}" for name, cls in CLASSES.items()}
    assert found == {name for name in defined if name.split(":")[0] not in ("base", "options")}
    for name, cls in CLASSES.items():
        written = name.removesuffix("Scheduler").removesuffix("Parallel").lower()
        assert cls.__module__.rpartition(".")[2].replace("_", "") == written


def test_names_and_aliases_are_unique_and_find_their_class() -> None:
    names = [*CLASSES, *(alias for cls in CLASSES.values() for alias in cls.aliases)]
    assert len(names) == len(set(names)) == len({name.lower() for name in names})
    for name, cls in CLASSES.items():
        assert find_scheduler(name) is cls
        for alias in cls.aliases:
            assert find_scheduler(alias) is cls


def test_an_unknown_scheduler_is_told_the_nearest() -> None:
    with pytest.raises(SchedulerConfigError) as error:
        find_scheduler("eular")
    [problem] = error.value.problems
    assert problem.nearest == "euler" and "EulerDiscreteScheduler" in problem.allowed


def test_a_scheduler_by_name_with_a_checkpoints_configuration() -> None:
    made = find_scheduler("dpmpp_2m").from_config(SD15, use_karras_sigmas=True)
    assert made.use_karras_sigmas is True and made.beta_schedule == "scaled_linear"


def test_a_class_imports_by_name_and_an_unknown_one_does_not() -> None:
    assert components.schedulers.DDIMScheduler is CLASSES["DDIMScheduler"]
    with pytest.raises(AttributeError, match="NoSuchScheduler"):
        _ = components.schedulers.NoSuchScheduler


def test_importing_and_tabulating_needs_neither_torch_nor_diffusers_nor_scipy() -> None:
    script = (
        "import sys, components.schedulers as s\n"
        "for cls in s.scheduler_classes().values(): cls().tableau(10)\n"
        "heavy = {'torch', 'jax', 'diffusers', 'transformers', 'huggingface_hub', 'hydra', 'runner', 'scipy'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    root = Path(components.schedulers.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_null_that_means_nothing_to_the_next_class_leaves_its_default() -> None:
    saved = {"_class_name": "DPMSolverMultistepScheduler", "variance_type": None, "trained_betas": None}
    assert find_scheduler("ddpm").from_config(saved).variance_type == "fixed_small"

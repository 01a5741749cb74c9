"""What a checkpoint's scheduler file says and what the recipe says: who wins, what is told, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.bundled import DEMO_FOLDER
from runner.errors import RecipeError
from runner.plan import Plan, make_plan

KARRAS = {"use_karras_sigmas": True}
V_ZERO = ("checkpoint.prediction_type=v_prediction", "checkpoint.zero_terminal_snr=true")


@pytest.fixture
def saying(here: Any) -> Any:
    """`saying(option=value, …)`: the bundled checkpoint in a folder, its scheduler's file saying that as well."""

    def make(**values: Any) -> str:
        folder = here.folder / "checkpoint"
        if not folder.exists():
            link = lambda a, b: Path(b).symlink_to(a) if Path(a).suffix == ".safetensors" else shutil.copy(a, b)  # noqa: E731
            shutil.copytree(DEMO_FOLDER / "shapes", folder, copy_function=link)
        file = folder / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))
        return "checkpoint.repo=checkpoint"

    return make


def planned(here: Any, *words: str) -> Plan:
    return make_plan(here.recipe("num_images=1", *words))


# ---- a file's options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "scheduler", "said"),
    [
        ({"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}, "dpmpp_2m", "variance_type is fixed_large"),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_type": "midpoint"}, "unipc", "solver_type is midpoint"),
        ({"_class_name": "DEISMultistepScheduler", "algorithm_type": "deis"}, "sa_solver", "algorithm_type is deis"),
    ],
)
def test_what_means_nothing_to_the_chosen_class_is_dropped_and_told(
    here: Any, saying: Any, file: dict[str, Any], scheduler: str, said: str
) -> None:
    plain = planned(here, f"scheduler={scheduler}")
    plan = planned(here, saying(**file), f"scheduler={scheduler}")
    np.testing.assert_array_equal(plan.tableau.update, plain.tableau.update)
    [note] = plan.notes
    assert said in note and "which means nothing to" in note
    code, out, _ = here.recipe_command("plan", "shapes", "checkpoint.repo=checkpoint", f"scheduler={scheduler}")
    assert code == 0 and note in out and "dropped" in out
    assert "not for" not in here.recipe_command("schedulers", scheduler, "checkpoint.repo=checkpoint")[1]


def test_one_such_job_stops_no_sweep(here: Any, saying: Any) -> None:
    words = saying(_class_name="DDPMScheduler", variance_type="fixed_small"), "scheduler=ddpm,dpmpp_2m,unipc,euler"
    code, out, err = here.recipe_command("plan", "-m", "shapes", *words, "num_images=1")
    assert (code, err) == (0, "") and "4 pictures" in out


def test_damage_is_told_with_the_file_and_the_key(here: Any, saying: Any) -> None:
    saying(steps_offset="x")
    with pytest.raises(RecipeError) as error:
        planned(here, "checkpoint.repo=checkpoint")
    [problem] = error.value.problems
    assert problem.where == "checkpoint/scheduler/scheduler_config.json steps_offset"
    assert problem.what == "is 'x', but must be a whole number"


# ---- a file's spacing of sigma -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("schedule=ays_sd15",), "schedule.timesteps"),
        (("schedule.spacing=exponential",), "schedule.spacing"),
        (("schedule.sigmas=[10,3,1,0]", "steps=null"), "schedule.sigmas"),
        (("scheduler.use_exponential_sigmas=true",), "what is set"),
    ],
)
def test_the_recipe_s_levels_beat_the_file_s_switch(here: Any, saying: Any, words: tuple[str, ...], said: str) -> None:
    plain = planned(here, "scheduler=euler", *words)
    plan = planned(here, saying(**KARRAS), "scheduler=euler", *words)
    np.testing.assert_array_equal(plan.tableau.update, plain.tableau.update)
    assert plan.notes == (f"The checkpoint's use_karras_sigmas gives way to {said}.",)


def test_a_switch_that_nothing_contradicts_holds(here: Any, saying: Any) -> None:
    switched = planned(here, "scheduler=euler", "scheduler.use_karras_sigmas=true")
    plan = planned(here, saying(**KARRAS), "scheduler=euler")
    np.testing.assert_array_equal(plan.tableau.update, switched.tableau.update)
    assert plan.notes == ()
    same = planned(here, "checkpoint.repo=checkpoint", "scheduler=euler", "schedule.spacing=karras")
    assert same.notes == ()


def test_a_sweep_over_schedules_is_none_of_the_file_s_business(here: Any, saying: Any) -> None:
    words = saying(**KARRAS), "scheduler=euler", "schedule=default,ays_sd15,karras", "num_images=1"
    code, out, err = here.recipe_command("plan", "-m", "shapes", *words)
    assert (code, err) == (0, "") and "3 pictures" in out


def test_two_things_the_user_wrote_conflict_and_both_places_are_named(here: Any) -> None:
    error = here.error("scheduler=euler", "scheduler.use_karras_sigmas=true", "scheduler.use_beta_sigmas=true")
    assert "command line: scheduler.use_beta_sigmas=true: this cannot be true together with" in error
    assert "scheduler.use_karras_sigmas is set here: command line: scheduler.use_karras_sigmas=true" in error
    error = here.error("scheduler=euler_karras", "schedule=ays_sd15")
    assert "schedule/ays_sd15.yaml" in error and "scheduler/euler_karras.yaml" in error


# ---- what the network is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["heun", "lms", "dpm2", "plms", "deis", "dpmpp_2s", "sa_solver", "ddim", "euler"])
def test_facts_hold_for_every_scheduler_like_a_file_that_states_them(here: Any, saying: Any, scheduler: str) -> None:
    stated = planned(here, f"scheduler={scheduler}", *V_ZERO)
    told = planned(here, saying(rescale_betas_zero_snr=True, prediction_type="v_prediction"), f"scheduler={scheduler}")
    np.testing.assert_array_equal(stated.tableau.to_x0, told.tableau.to_x0)
    np.testing.assert_array_equal(stated.tableau.update, told.tableau.update)
    plain = planned(here, f"scheduler={scheduler}")
    assert not np.array_equal(plain.tableau.to_x0, told.tableau.to_x0)
    assert stated.notes[:2] == (
        "checkpoint.prediction_type is v_prediction, by the recipe; the checkpoint's files say epsilon.",
        "checkpoint.zero_terminal_snr is true, by the recipe; the checkpoint's files do not say.",
    )
    assert stated.scheduler.config["rescale_betas_zero_snr"] and "prediction_type" not in stated.scheduler.inherited


def test_facts_beat_the_file(here: Any, saying: Any) -> None:
    word = saying(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    words = "checkpoint.prediction_type=epsilon", "checkpoint.zero_terminal_snr=false"
    beaten, plain = planned(here, word, "scheduler=euler", *words), planned(here, "scheduler=euler")
    np.testing.assert_array_equal(beaten.tableau.to_x0, plain.tableau.to_x0)


@pytest.mark.parametrize(
    ("scheduler", "kind"), [("edm_euler", "edm"), ("flow_euler", "flow"), ("consistency", "consistency")]
)
def test_schedulers_of_other_networks_refuse_facts_by_name(here: Any, scheduler: str, kind: str) -> None:
    error = here.error(f"scheduler={scheduler}", *V_ZERO)
    for word in V_ZERO:
        assert f"command line: {word}: this is of networks on a clock of betas" in error
    assert f"samples those of the kind '{kind}'" in error


def test_a_solver_that_is_told_to_sample_flows_refuses_them_too(here: Any) -> None:
    error = here.error("scheduler=dpmpp_2m", "scheduler.use_flow_sigmas=true", V_ZERO[0])
    assert "DPMSolverMultistepScheduler samples those of the kind 'flow'" in error


@pytest.mark.parametrize(
    ("fact", "option"),
    [
        (V_ZERO[0], "scheduler.prediction_type=epsilon"),
        (V_ZERO[1], "scheduler.rescale_betas_zero_snr=false"),
    ],
)
def test_a_contradiction_is_one_problem_that_names_both_places(here: Any, fact: str, option: str) -> None:
    error = here.error("scheduler=euler", fact, option)
    key, value = option.split("=")
    assert error.count("command line: ") == 2 and "problems" not in error
    assert f"command line: {fact}: this is {fact.split('=')[1]}, but {key} is {value}" in error
    assert f"{key} is set here: command line: {option}" in error
    here.recipe("scheduler=euler", fact, f"{key}={fact.split('=')[1]}")  # the same said twice is none


def test_networks_of_two_kinds_share_files_and_batches(here: Any) -> None:
    words = "scheduler=euler", "num_images=1", "steps=3", "checkpoint.prediction_type=epsilon,v_prediction"
    code, out, err = here.recipe_command("plan", "-m", "shapes", *words)
    assert (code, err) == (0, "") and "2 pictures in 1 batches" in out

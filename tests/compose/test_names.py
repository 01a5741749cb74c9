"""Names that other tools have for schedulers and schedules: taken wherever ours are, and what they mean there."""

from __future__ import annotations

import numpy as np
import pytest

from components.schedulers import SchedulerConfigError, find_scheduler, scheduler_classes
from runner.compose import to_yaml
from runner.names import ALSO, CALLED, MISSING
from runner.registry import Library

# Every name that ComfyUI has for its sampler and scheduler, and A1111 (with Forge) for its sampler and schedule type.
COMFY = """
euler, euler_cfg_pp, euler_ancestral, euler_ancestral_cfg_pp, heun, heunpp2, exp_heun_2_x0, exp_heun_2_x0_sde, dpm_2,
dpm_2_ancestral, lms, dpm_fast, dpm_adaptive, dpmpp_2s_ancestral, dpmpp_2s_ancestral_cfg_pp, dpmpp_sde, dpmpp_sde_gpu,
dpmpp_2m, dpmpp_2m_cfg_pp, dpmpp_2m_sde, dpmpp_2m_sde_gpu, dpmpp_2m_sde_heun, dpmpp_2m_sde_heun_gpu, dpmpp_3m_sde,
dpmpp_3m_sde_gpu, ddpm, lcm, ipndm, ipndm_v, deis, res_multistep, res_multistep_cfg_pp, res_multistep_ancestral,
res_multistep_ancestral_cfg_pp, gradient_estimation, gradient_estimation_cfg_pp, er_sde, seeds_2, seeds_3, sa_solver,
sa_solver_pece, ddim, uni_pc, uni_pc_bh2"""
COMFY_SCHEDULES = "simple, sgm_uniform, karras, exponential, ddim_uniform, beta, normal, linear_quadratic, kl_optimal"
A1111 = """
DPM++ 2M, DPM++ SDE, DPM++ 2M SDE, DPM++ 2M SDE Heun, DPM++ 2S a, DPM++ 3M SDE, Euler a, Euler, LMS, Heun, DPM2, DPM2 a,
DPM fast, DPM adaptive, Restart, DDIM, DDIM CFG++, PLMS, UniPC, LCM, HeunPP2, IPNDM, IPNDM_V, DEIS, DDPM, Euler CFG++"""
A1111_SCHEDULES = """
Automatic, Uniform, Karras, Exponential, Polyexponential, SGM Uniform, KL Optimal, Align Your Steps, Simple, Normal,
DDIM, Beta, Turbo"""


def printed() -> list[tuple[str, str]]:
    """(choice, name elsewhere) of every name in the table of `recipe schedulers`."""
    library = Library.at()
    names = [(choice, library.names.called("scheduler", choice)) for choice in library.choices("scheduler")]
    return [(choice, name) for choice, called in names for name in called.values()]


def chosen(recipe) -> tuple[str, dict, str | None]:
    return recipe.scheduler.name, recipe.scheduler.options, recipe.schedule.spacing


@pytest.mark.parametrize(("choice", "name"), printed(), ids=lambda value: value.replace(" ", "_"))
def test_every_name_that_is_printed_means_the_row_it_is_printed_in(here, choice, name) -> None:
    assert chosen(here.recipe(f"scheduler={name}")) == chosen(here.recipe(f"scheduler={choice}"))


def test_the_table_prints_every_name_there_is_and_in_no_row_but_its_own(here) -> None:
    library = Library.at()
    assert {choice for group in CALLED for choice in CALLED[group]} <= {
        choice for group in CALLED for choice in library.choices(group)
    }
    for names in ALSO.values():
        assert all(any(choice in library.choices(group) for group in CALLED) for choice in names.values())
    out = here.recipe_command("schedulers")[1]
    rows = {line.split()[0]: line for line in out.split("\n\n")[0].splitlines()[1:]}
    for choice, name in printed():
        assert name in rows[choice]
    assert len({name for _, name in printed()}) == len(printed()) - sum(
        set(CALLED["scheduler"].get(choice, ())) == {name} for choice, name in printed()
    )


@pytest.mark.parametrize(
    ("group", "name"),
    [
        *(("scheduler", name.strip()) for name in f"{COMFY}, {A1111}".split(",")),
        *(("schedule", name.strip()) for name in f"{COMFY_SCHEDULES}, {A1111_SCHEDULES}".split(",")),
    ],
    ids=lambda value: value.replace(" ", "_"),
)
def test_every_name_of_comfyui_and_a1111_ends_in_a_choice_or_in_a_sentence_with_the_nearest(group, name) -> None:
    library = Library.at()
    meant, said = library.meaning(group, name), library.names.sentence(group, name)
    if meant is None:
        assert said is not None
        near = said.rpartition(f"nearest here: {group}=")[2].split(",")[0].split()[0]
        assert near in library.choices(group)
    else:
        assert all(choice in library.choices(one) for one, choice in meant.items())


def test_what_is_missing_is_not_also_there() -> None:
    """A1111's KL Optimal is another schedule than ComfyUI's, which is ours."""
    library = Library.at()
    there = {name for group in MISSING for name in MISSING[group] if library.meaning(group, name)}
    assert there == set()


@pytest.mark.parametrize(
    ("names", "words"),
    [  # what a name means in words that were always there
        (["DPM++ 2M Karras", "dpm++ 2m karras", "dpmpp_2m Karras", "k_dpmpp_2m karras"], ["scheduler=dpmpp_2m_karras"]),
        (["DPM++ 2M SDE Karras", "dpmpp_2m_sde_gpu karras"], ["scheduler=dpmpp_2m_sde_karras"]),
        (["Euler a", "euler_ancestral", "k_euler_a", "euler a", "EULER A", "Euler Ancestral"], ["scheduler=euler_a"]),
        (["Euler a Karras", "euler_ancestral_karras"], ["scheduler=euler_a", "schedule=karras"]),
        (["DPM++ SDE Karras", "dpmpp_sde, karras"], ["scheduler=dpmpp_sde", "schedule=karras"]),
        (["DPM++ 2M SDE Exponential"], ["scheduler=dpmpp_2m_sde", "schedule=exponential"]),
        (["DPM++ 2M SGM Uniform", "dpmpp_2m_sgm_uniform"], ["scheduler=dpmpp_2m", "schedule=sgm_uniform"]),
        (["deis beta", "DEIS Beta"], ["scheduler=deis", "schedule=beta"]),
        (["EulerDiscreteScheduler", "FlaxEulerDiscreteScheduler", "euler discrete", "k_euler"], ["scheduler=euler"]),
        (["DPMSolverMultistepScheduler", "dpmsolver++"], ["scheduler=dpmpp_2m"]),
        (["FlaxDDIMScheduler"], ["scheduler=ddim"]),
        (["UniPC"], ["scheduler=unipc", "scheduler.solver_type=bh1", "scheduler.solver_order=3"]),
        (["res_multistep", "res_2m"], ["scheduler=dpmpp_2m", "scheduler.solver_type=heun"]),
        (["UniPC Karras"], ["scheduler=unipc_bh1", "schedule=karras"]),
        (["UniPCMultistepScheduler"], ["scheduler=unipc"]),
    ],
    ids=lambda value: value[0],
)
def test_a_name_is_forgiven_its_spelling_and_composed_as_its_canonical_words(here, names, words) -> None:
    for name in names:
        assert to_yaml(here.recipe(f"scheduler={name}")) == to_yaml(here.recipe(*words)), name


@pytest.mark.parametrize("name", ["Unipc", "UNI PC"])
def test_a_spelling_that_may_be_two_things_is_neither(here, name) -> None:
    message = here.error(f"scheduler={name}")
    assert f"'{name}' may be unipc or unipc_bh1" in message and "allowed" not in message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dpm_adaptive", "chooses its steps while it runs"),
        ("DPM++ 2S a Karras", "nearest here: scheduler=dpmpp_2s, without that noise"),
        ("Euler a CFG++", "lets guidance move the noise alone (CFG++); nearest here: scheduler=euler_a"),
        ("dpmpp_2s_ancestral_cfg_pp", "(CFG++); nearest here: scheduler=dpmpp_2s,"),
        ("DPM++ 2M Automatic", "nearest here: schedule=karras for the DPM samplers"),
        ("linear_quadratic", "nearest here: schedule=normal"),
        ("Karras", "'Karras' is a schedule: schedule=karras; what others call scheduler is the schedule here"),
        ("sgm_uniform", "schedule=sgm_uniform"),
    ],
)
def test_what_we_have_not_is_said_in_a_sentence(here, name, says) -> None:
    assert says in " ".join(here.error(f"scheduler={name}").split())


def test_a_scheduler_given_as_the_schedule_is_told(here) -> None:
    assert "'Euler a' is a scheduler: scheduler=euler_a" in here.error("schedule=Euler a")


def test_names_in_a_list_are_jobs_of_their_own(here) -> None:
    jobs = here.compose("scheduler=Euler a,DPM++ 2M Karras,Euler a Karras", "schedule.spacing=null", multirun=True).jobs
    assert [chosen(job.recipe)[0] for job in jobs] == [
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "EulerAncestralDiscreteScheduler",
    ]
    jobs = here.compose("recipe=sd15", "scheduler=Euler a,DPM++ 2M Karras,Euler a Karras", multirun=True).jobs
    assert [job.recipe.schedule.spacing for job in jobs] == [None, None, "karras"]
    assert [job.overrides["scheduler"] for job in jobs] == ["euler_a", "dpmpp_2m_karras", "euler_a karras"]
    assert jobs[2].label == "scheduler-euler_a-karras"


def test_a_list_without_m_is_told_with_the_command_to_type(here) -> None:
    assert "run -m 'scheduler=Euler a,LMS'" in here.error("scheduler=Euler a,LMS")


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [override /scheduler: Euler a Karras]",
        "defaults: [{override /scheduler: Euler a}, {override /schedule: Karras}]",
        "scheduler: {name: Euler a Karras}",
        "scheduler: {name: EulerAncestralDiscreteScheduler}\nschedule: {spacing: karras}",
    ],
)
def test_names_in_a_recipe_file(here, text) -> None:
    here.put("recipes/recipe/mine.yaml", text)
    expected = here.recipe("recipe=mine", "scheduler=euler_a", "schedule=karras")
    assert to_yaml(here.recipe("recipe=mine")) == to_yaml(expected)
    assert chosen(expected) == ("EulerAncestralDiscreteScheduler", {}, "karras")


def test_options_beside_a_name_are_those_of_the_named(here) -> None:
    here.put("recipes/recipe/mine.yaml", "scheduler: {name: DPM++ 2M Karras, solver_order: 3}")
    options = here.recipe("recipe=mine").scheduler.options
    assert options == {"algorithm_type": "dpmsolver++", "solver_order": 3, "use_karras_sigmas": True}
    assert here.recipe("recipe=mine", "scheduler=DDIM").scheduler.options == {}, (
        "they go with the scheduler they are for"
    )


def test_names_in_a_sweep_of_a_file_its_zips_and_its_exclusions(here) -> None:
    here.put(
        "recipes/recipe/mine.yaml",
        """
        sweep:
          scheduler: [Euler a, DPM++ 2M Karras, Heun]
          steps: [5, 6]
          exclude: [{scheduler: [euler_ancestral, heun], steps: 6}]
        """,
    )
    composition = here.compose("recipe=mine")
    assert [(job.overrides["scheduler"], job.overrides["steps"]) for job in composition.jobs] == [
        ("euler_a", 5),
        ("dpmpp_2m_karras", 5),
        ("dpmpp_2m_karras", 6),
        ("heun", 5),
    ]
    assert composition.base.sweep["scheduler"] == ["euler_a", "dpmpp_2m_karras", "heun"]
    here.put("recipes/recipe/zip.yaml", "sweep: {zip: {scheduler: [Euler a Karras, LMS], steps: [5, 6]}}")
    spacings = [job.recipe.schedule.spacing for job in here.compose("recipe=zip").jobs]
    assert spacings == ["karras", None]


def test_a_saved_sweep_over_names_makes_the_same_jobs_again(here) -> None:
    from runner.compose import load_file

    made = here.compose("recipe=sd15", "scheduler=Euler a Karras,LMS", multirun=True)
    file = here.put("saved.yaml", to_yaml(made.base))
    assert [to_yaml(job.recipe) for job in load_file(file).jobs] == [to_yaml(job.recipe) for job in made.jobs]


def test_a_complete_recipe_may_name_its_scheduler_so_too(here) -> None:
    from runner.compose import load_file

    text = to_yaml(here.recipe("recipe=sd15", "scheduler=euler"))
    for name, words in (
        ("Euler a", ["scheduler=euler_a"]),
        ("DPM++ SDE Karras", ["scheduler=dpmpp_sde", "schedule=karras"]),
    ):
        file = here.put("mine.yaml", text.replace("name: EulerDiscreteScheduler", f"name: {name}"))
        assert chosen(load_file(file).jobs[0].recipe) == chosen(here.recipe("recipe=sd15", *words))


def test_a_file_of_the_users_own_comes_before_a_name_and_may_use_one(here) -> None:
    here.put("recipes/scheduler/euler_a.yaml", "name: Euler a\nsteps_offset: 1\n")
    here.put("recipes/scheduler/k_euler.yaml", "name: Heun\n")
    assert chosen(here.recipe("scheduler=euler_ancestral"))[:2] == (
        "EulerAncestralDiscreteScheduler",
        {"steps_offset": 1},
    )
    assert here.recipe("scheduler=k_euler").scheduler.name == "HeunDiscreteScheduler"


def test_a_schedulers_file_builds_on_another_by_any_of_its_names(here) -> None:
    here.put("recipes/scheduler/mine.yaml", "defaults: [DPM++ 2M Karras]\nsolver_order: 3\n")
    options = here.recipe("scheduler=mine").scheduler.options
    assert options == {"algorithm_type": "dpmsolver++", "solver_order": 3, "use_karras_sigmas": True}
    here.put("recipes/scheduler/mine.yaml", "defaults: [Eulr a]\n")
    assert "mine.yaml:1 defaults: Eulr a: there is no scheduler 'Eulr a'. Did you mean" in here.error("scheduler=mine")


def test_every_class_of_diffusers_is_chosen_by_its_name_and_its_flax_name() -> None:
    library = Library.at()
    for name in scheduler_classes():
        meant = library.meaning("scheduler", name)
        assert meant is not None and meant == library.meaning("scheduler", f"Flax{name}")
        assert f"name: {name}\n" in library.choices("scheduler")[meant["scheduler"]].read_text("utf-8")


# ---- a name that holds a schedule, and another schedule --------------------------------------------------------------


@pytest.mark.parametrize("name", ["Euler a Karras", "DPM++ 2M Karras"])
def test_what_the_command_line_names_ends_the_schedule_of_the_recipe(here, name) -> None:
    recipe = here.recipe("recipe=ays_sd15", f"scheduler={name}")
    karras = recipe.scheduler.options.get("use_karras_sigmas") or recipe.schedule.spacing == "karras"
    assert karras and recipe.schedule.timesteps is None and recipe.schedule.sigmas is None


def test_a_schedule_of_the_command_line_ends_the_one_in_a_recipes_name(here) -> None:
    for name in ("Euler a Karras", "DPM++ 2M Karras"):
        here.put("recipes/recipe/mine.yaml", f"defaults: [override /scheduler: {name}]")
        recipe = here.recipe("recipe=mine", "schedule=Exponential")
        assert (recipe.schedule.spacing, recipe.scheduler.options.get("use_karras_sigmas")) == ("exponential", None)
    jobs = here.compose("recipe=mine", "schedule=karras,ays_sd15", multirun=True).jobs
    assert [job.recipe.schedule.timesteps is None for job in jobs] == [True, False]


@pytest.mark.parametrize("name", ["Euler a Karras", "DPM++ 2M Karras"])
def test_two_schedules_in_one_place_are_a_problem_that_names_both(here, name) -> None:
    message = here.error(f"scheduler={name}", "schedule=exponential")
    assert "arras" in message.replace(name, "", 1) and "exponential" in message
    assert chosen(here.recipe(f"scheduler={name}", "schedule=karras"))[2] == "karras"
    here.put("recipes/recipe/mine.yaml", f"defaults:\n- override /scheduler: {name}\n- override /schedule: exponential")
    message = here.error("recipe=mine")
    assert "arras" in message.replace(name, "", 1) and "exponential" in message


def test_a_name_with_a_schedule_beside_an_axis_of_schedules_is_told_once(here) -> None:
    message = here.error("scheduler=Euler a Karras,LMS", "schedule=karras,beta", multirun=True)
    assert message.startswith("command line: scheduler=Euler a Karras,LMS: 'euler_a karras' holds the schedule karras")
    assert "scheduler=euler_a" in message and "schedule=karras,beta" in message


# ---- the verbs, and Python -------------------------------------------------------------------------------------------


def test_the_verbs_take_the_names(here) -> None:
    code, out, _ = here.recipe_command("schedulers", "DPM++ 2M Karras", "Euler a Karras")
    assert code == 0 and [line.split()[0] for line in out.splitlines()[1:3]] == ["dpmpp_2m_karras", "euler_a"]
    first = here.recipe_command("schedule", "scheduler/Euler a Karras", "steps=4")[1].splitlines()[1:]
    same = here.recipe_command("schedule", "scheduler/euler_a", "schedule=karras", "steps=4")[1].splitlines()[1:]
    assert first == same and len(first) > 4
    named = here.recipe_command("schedule", "Euler a Karras", "LMS", "steps=4")[1].splitlines()
    assert [line for line in named if "evaluations" in line][1].startswith("LMS: 4 steps") and named[1:6] == first[:5]
    assert here.recipe_command("check", "scheduler/Euler a", "schedule/SGM Uniform")[0] == 0
    assert "name: HeunDiscreteScheduler" in here.recipe_command("cat", "scheduler/k_heun")[1]
    assert here.recipe_command("cp", "scheduler/Euler a", "recipes/scheduler/mine.yaml")[0] == 0
    code, _, err = here.recipe_command("cp", "scheduler/Euler a Karras", "recipes/scheduler/two.yaml")
    assert code == 2 and "scheduler/euler_a and schedule/karras" in err


@pytest.mark.parametrize("name", [name for name, cls in scheduler_classes().items() if "Flax" not in name])
def test_a_class_is_found_by_its_name_and_its_short_names_however_spelt(name) -> None:
    cls = scheduler_classes()[name]
    for spelling in (name.upper(), name.removesuffix("Scheduler"), *(alias.replace("_", " ") for alias in cls.aliases)):
        assert find_scheduler(spelling) is cls


def test_in_python_a_name_that_is_more_than_a_class_is_told_how_it_is_written() -> None:
    assert find_scheduler("DPM++ 2M") is find_scheduler("dpmpp_2m")
    with pytest.raises(SchedulerConfigError, match=r"it is DPMSolverMultistepScheduler\(use_karras_sigmas=True\)"):
        find_scheduler("DPM++ 2M Karras")


# ---- the right levels ------------------------------------------------------------------------------------------------

SIX_STEPS = {  # of SD's training clock, by k-diffusion's functions that A1111 and ComfyUI run
    "Uniform": [14.6146, 5.0924, 2.2797, 1.1629, 0.5712, 0.0292, 0],
    "Karras": [14.6146, 6.0821, 2.2322, 0.6926, 0.1698, 0.0292, 0],
    "Exponential": [14.6146, 4.2151, 1.2157, 0.3506, 0.1011, 0.0292, 0],
    "Polyexponential": [14.6146, 4.2151, 1.2157, 0.3506, 0.1011, 0.0292, 0],
    "sgm_uniform": [14.6146, 5.9489, 2.9183, 1.6156, 0.9324, 0.4936, 0],
    "simple": [14.6146, 5.9631, 2.9183, 1.6129, 0.9324, 0.4924, 0],
    "kl_optimal": [14.6146, 2.6329, 1.2948, 0.7116, 0.3356, 0.0292, 0],
    "Beta": [14.6146, 12.8218, 9.3245, 5.3193, 1.8220, 0.0292, 0],
}


@pytest.mark.parametrize("scheduler", ["Euler", "DPM++ 2M", "Heun"])
@pytest.mark.parametrize("schedule", SIX_STEPS)
def test_a_schedule_by_another_tools_name_has_its_levels(here, schedule, scheduler) -> None:
    recipe = here.recipe(f"scheduler={scheduler}", f"schedule={schedule}")
    sd = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    made = find_scheduler(recipe.scheduler.name)(**sd, **recipe.scheduler.options)
    table = made.tableau(6, spacing=recipe.schedule.spacing)
    read = np.append(table.read[:, 1] / table.read[:, 0], table.land[-1, 1])
    first_of_each = np.append(np.flatnonzero(np.diff(table.step, prepend=-1)), table.rows)
    np.testing.assert_allclose(read[first_of_each], SIX_STEPS[schedule], atol=6e-5)

"""`recipe schedulers`: what each is, what it costs, what others call it, and which checkpoints it is for."""

import pytest

from runner.registry import Library


def rows(out: str) -> dict[str, list[str]]:
    """Name → cells of the table, which ends at the first empty line."""
    lines = out.split("\n\n")[0].splitlines()
    return {line.split()[0]: line.split(maxsplit=6) for line in lines[1:]}


def test_every_scheduler_of_the_library_has_a_line(here) -> None:
    code, out, _ = here.recipe_command("schedulers")
    assert code == 0
    assert set(rows(out)) == set(Library.at().choices("scheduler"))


@pytest.mark.parametrize(
    ("name", "cells"),
    [  # class, order, calls a step, noise, fits
        ("euler", "EulerDiscreteScheduler 1 1 no yes"),
        ("euler_a", "EulerAncestralDiscreteScheduler 1 1 yes yes"),
        ("heun_karras", "HeunDiscreteScheduler 2 2 no yes"),
        ("dpmpp_2m", "DPMSolverMultistepScheduler 2 1 no yes"),
        ("dpmpp_3m_sde", "DPMSolverMultistepScheduler 1 1 yes yes"),
        ("unipc", "UniPCMultistepScheduler 3 1 no yes"),
        ("lcm", "LCMScheduler - 1 yes yes"),
        ("flow_heun", "FlowMatchHeunDiscreteScheduler 2 2 no no"),
    ],
)
def test_a_line_says_order_cost_noise_and_fit(here, name, cells) -> None:
    assert rows(here.recipe_command("schedulers", name)[1])[name][1:6] == cells.split()


def test_a_scheduler_has_the_names_that_other_tools_give_it(here) -> None:
    out = here.recipe_command("schedulers")[1]
    assert rows(out)["dpmpp_2m_karras"][6].split("  ", 1)[0] == "DPM++ 2M Karras"
    assert rows(out)["dpm2_a"][6].split("  ")[-1].strip() == "dpm_2_ancestral"


def test_one_that_does_not_fit_says_why(here) -> None:
    out = here.recipe_command("schedulers")[1]
    reasons = out.split("not for demo:shapes:\n")[1]
    assert "edm_euler: scheduler.name is EDMEulerScheduler, for networks of the kind 'edm'" in reasons
    assert "unclip: scheduler.beta_schedule is 'scaled_linear'" in reasons


def test_a_name_is_shown_with_its_options_as_they_are_with_the_checkpoint(here) -> None:
    out = here.recipe_command("schedulers", "dpmpp_2m_karras")[1]
    assert "use_karras_sigmas: true" in out
    assert "beta_schedule: scaled_linear" in out
    assert "One of midpoint, heun." in out


def test_another_checkpoint_is_asked_and_a_missing_one_is_an_error(here) -> None:
    code, _, err = here.recipe_command("schedulers", "checkpoint.repo=./nowhere")
    assert code == 2 and "nowhere" in err


def test_a_mistyped_name_is_told(here) -> None:
    code, _, err = here.recipe_command("schedulers", "eulr")
    assert code == 2 and "Did you mean 'euler'" in err

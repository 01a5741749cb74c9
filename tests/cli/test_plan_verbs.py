"""`recipe plan` and `recipe schedule`: what is said before anything runs."""

import subprocess
import sys

import numpy as np

from components.schedulers import find_scheduler


def test_plan_says_what_a_run_would_do_and_cost(here) -> None:
    code, out, _ = here.recipe_command("plan", "shapes", "scheduler=heun", "steps=5", "num_images=6", "batch_size=4")
    assert code == 0
    assert "6 of 64×64, in batches of 4, 2" in out
    assert "HeunDiscreteScheduler: 5 steps, 9 network evaluations with guidance" in out
    assert "inherited beta_end=0.012" in out
    assert "diffusion_pytorch_model.safetensors" in out and "parameters" in out
    assert out.count("\n  ") >= 9


def test_plan_loads_no_torch(tmp_path) -> None:
    code = "import sys; from runner.cli.recipe import main; main(['plan', 'shapes']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0


def test_schedule_prints_every_row_that_is_fed_to_the_network(here) -> None:
    code, out, _ = here.recipe_command("schedule", "schedule/ays_sd15", "scheduler=euler", "steps=10")
    told = [float(line.split()[2]) for line in out.splitlines() if line[:3].strip().isdigit()]
    assert code == 0
    assert told == [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
    assert out.splitlines()[-1].split() == ["end", "0.0000", "inf"]


def test_schedule_draws_several_side_by_side(here) -> None:
    code, out, _ = here.recipe_command("schedule", "scheduler/euler", "schedule/karras", "--plot", "levels.png")
    assert code == 0 and out.endswith("levels.png\n")
    assert (here.folder / "levels.png").read_bytes().startswith(b"\x89PNG")


def test_sigma_is_the_ratio_whatever_scale_the_solver_keeps_x_in(here) -> None:
    def sigmas(name: str) -> list[str]:
        out = here.recipe_command("schedule", f"scheduler/{name}", "schedule=karras", "steps=4")[1]
        return [line.split()[3] for line in out.splitlines() if line[:3].strip().isdigit()]

    assert sigmas("dpmpp_2m") == sigmas("euler")
    assert np.isclose(find_scheduler("euler")().tableau(1).land[-1, 1], 0)


def test_a_mistyped_word_is_told(here) -> None:
    assert here.recipe_command("schedule")[0] == 2
    assert "Did you mean 'shapes'" in here.recipe_command("plan", "shape")[2]

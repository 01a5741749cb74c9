"""What a run does with its recipe: batches, sizes, prompts, components, and what it writes down about them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_checkpoint import altered, pixels

from runner.bundled import checkpoint_source, demo_checkpoints
from runner.errors import RecipeError
from runner.execute import RunError, RunResult, Session, execute
from runner.outputs import pixel_sha256, read_pixels
from runner.plan import Pins, make_plan
from runner.schema import Recipe

Run = Callable[..., RunResult]
Make = Callable[..., Recipe]


class TestPictures:
    def test_image_i_has_seed_plus_i_in_any_batch(self, run: Run) -> None:
        together = pixels(run(num_images=3, seed=40))
        for i in range(3):
            assert np.abs(pixels(run(seed=40 + i))[0] - together[i]).max() <= 1  # batch sizes differ in the last bit

    def test_any_multiple_of_the_vae_factor_is_a_size(self, run: Run) -> None:
        assert pixels(run(height=36, width=20)).shape == (1, 36, 20, 3)

    def test_clip_skip_changes_the_prompt_and_not_the_negative_prompt(self, run: Run) -> None:
        plain, skipped = (pixels(run(clip_skip=skip)) for skip in (None, 1))
        assert np.abs(plain - skipped).max() > 1
        assert np.array_equal(plain, pixels(run(clip_skip=0)))

    def test_no_negative_prompt_is_an_empty_one(self, run: Run) -> None:
        assert np.array_equal(pixels(run(negative_prompt=None)), pixels(run(negative_prompt="")))

    def test_without_guidance_the_negative_prompt_says_nothing(self, run: Run) -> None:
        said, unsaid = (pixels(run(guidance_scale=1.0, negative_prompt=text)) for text in ("blue", None))
        assert np.array_equal(said, unsaid)

    def test_half_precision_networks_stay_near_the_picture(self, run: Run) -> None:
        """The update is float32 whatever the network's dtype; bfloat16 has 8 bits, so a few of 255 are expected."""
        full = pixels(run(guidance_scale=2.0))
        half = pixels(run(guidance_scale=2.0, backend={"device": "cpu", "dtype": "bfloat16", "threads": 1}))
        assert 0 < np.abs(full - half).mean() < 4

    def test_drawing_on_the_device_is_the_same_stream_on_a_cpu_in_float32(self, run: Run) -> None:
        scheduler = {"name": "EulerAncestralDiscreteScheduler"}
        usual, device = (pixels(run(scheduler=scheduler, noise={"device": where})) for where in ("cpu", "device"))
        assert np.array_equal(usual, device)


class TestRecord:
    def test_the_manifest_tells_how_the_pictures_came_about(self, run: Run, tiny: Path) -> None:
        result = run(num_images=3, batch_size=2, steps=5)
        manifest = json.loads((result.folder / "manifest.json").read_text())
        assert manifest == result.manifest
        assert [entry["seed"] for entry in manifest["images"]] == [11, 12, 13]
        for entry, path in zip(manifest["images"], result.images, strict=True):
            assert entry["file"] == path.name
            assert entry["sha256"] == pixel_sha256(read_pixels(path))
        assert manifest["batches"] == [[0, 1], [2]]
        assert (manifest["device"], manifest["dtype"], manifest["threads"]) == ("cpu", "float32", 1)
        assert manifest["versions"]["torch"] == torch.__version__
        assert manifest["finished"] is True
        assert set(manifest["seconds"]) == {"load", "encode", "denoise", "decode", "save"}
        assert manifest["seconds"]["denoise"] > 0

    def test_the_table_is_the_one_that_ran(self, run: Run) -> None:
        """Timesteps of 'leading' spacing with offset 1; sigma from the scaled_linear betas, by the definition."""
        table = run(steps=5).manifest["table"]
        assert table["timestep"] == [801, 601, 401, 201, 1]
        betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        alphas = np.cumprod(1 - betas)
        sigmas = np.sqrt((1 - alphas) / alphas)
        np.testing.assert_allclose(table["sigma"], sigmas[[801, 601, 401, 201, 1, 0]], rtol=1e-6)

    def test_every_weight_file_is_listed_with_its_sum(self, run: Run, tiny: Path) -> None:
        import hashlib

        components = run().manifest["checkpoint"]["components"]
        for path in tiny.rglob("*.safetensors"):
            assert components[path.parent.name]["sha256"][path.name] == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_single_runs_go_to_outputs_recipe_time(self, run: Run, tmp_path: Path) -> None:
        folder = run().folder
        assert folder.parent == tmp_path / "outputs" / "tiny"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(_\d+)?", folder.name)

    def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(self, recipe: Make, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RecipeError, match=r"output\.dir: .*file is a file, not a folder"):
            execute(recipe(output={"dir": str(tmp_path / "file")}), progress=False)

    def test_a_failure_of_the_work_says_what_would_help(
        self, recipe: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr("runner.backends.torch.TorchBackend.decode", fail)
        with pytest.raises(RunError, match=r"Out of memory with 4 image.* of 32×32 .*batch_size=2"):
            execute(recipe(num_images=4), progress=False)
        assert not (tmp_path / "outputs").exists()


class TestPlan:
    def test_batches_hold_up_to_four_images(self, recipe: Make) -> None:
        sizes = {n: [len(b.indices) for b in make_plan(recipe(num_images=n)).batches] for n in (1, 4, 9)}
        assert sizes == {1: [1], 4: [4], 9: [4, 4, 1]}

    def test_a_plan_imports_neither_torch_nor_transformers(self, recipe: Make) -> None:
        import subprocess
        import sys

        program = (
            "import sys; from runner.schema import Recipe; from runner.plan import make_plan\n"
            "make_plan(Recipe.model_validate_json(sys.argv[1]))\n"
            "print([m for m in ('torch', 'jax', 'transformers', 'huggingface_hub', 'hydra') if m in sys.modules])"
        )
        command = [sys.executable, "-c", program, recipe().model_dump_json()]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.stdout.strip() == "[]", done.stderr

    def test_everything_wrong_is_told_at_once(self, recipe: Make) -> None:
        wrong = recipe(height=30, width=50, clip_skip=7, schedule={"timesteps": [1.0, 500.0]}, steps=None)
        with pytest.raises(RecipeError) as caught:
            make_plan(wrong)
        told = {problem.where: str(problem) for problem in caught.value.problems}
        assert set(told) == {"height", "width", "clip_skip", "schedule.timesteps"}
        assert "30 is not a multiple of 4" in told["height"]
        assert "take 28 or 32" in told["height"]
        assert "3 layers" in told["clip_skip"]

    def test_an_unsupported_pipeline_is_named_with_those_there_are(self, recipe: Make, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipelin"}')
        with pytest.raises(RecipeError) as caught:
            make_plan(recipe(checkpoint={"repo": str(tmp_path)}))
        problem = caught.value.problems[0]
        assert "StableDiffusionPipelin" in problem.what
        assert "StableDiffusionPipeline" in problem.allowed
        assert problem.nearest == "StableDiffusionPipeline"

    def test_an_unknown_bundled_checkpoint_is_named_with_those_there_are(self, recipe: Make) -> None:
        with pytest.raises(RecipeError, match="does not ship with the program"):
            checkpoint_source("demo:shapess")
        assert checkpoint_source("owner/name") == "owner/name"
        assert all(name.startswith("demo:") for name in demo_checkpoints())

    def test_libraries_that_a_backend_lacks_are_said(self, recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("components.packages.find_spec", lambda name: None)
        with pytest.raises(RecipeError, match=r"backend\.name: the jax backend needs jax and flax, which are not ins"):
            make_plan(recipe(backend={"name": "jax"}))

    def test_seeds_end_where_torch_ends(self, recipe: Make) -> None:
        with pytest.raises(RecipeError, match="seed"):
            make_plan(recipe(seed=2**63 - 1, num_images=2))

    def test_components_that_do_not_fit_are_refused(self, recipe: Make, tiny: Path, tmp_path: Path) -> None:
        other = tmp_path / "text"
        other.mkdir()
        config = json.loads((tiny / "text_encoder" / "config.json").read_text()) | {"hidden_size": 48}
        (other / "config.json").write_text(json.dumps(config))
        (other / "model.safetensors").symlink_to(tiny / "text_encoder" / "model.safetensors")
        components = {"text_encoder": {"repo": str(tmp_path), "subfolder": "text"}}
        with pytest.raises(RecipeError, match="attends to 32 numbers a token, but the text encoder gives 48"):
            make_plan(recipe(checkpoint={"repo": str(tiny), "components": components}))

    def test_pins_override_the_recipe(self, recipe: Make) -> None:
        plan = make_plan(recipe(num_images=3), Pins(batches=((2,),), threads=7, device="cpu", dtype="float16"))
        assert [(b.indices, b.seeds) for b in plan.batches] == [((2,), (13,))]
        assert (plan.threads, plan.device, plan.dtype) == (7, "cpu", "float16")

    def test_early_checkpoints_mean_offset_1_and_no_clipping(self, recipe: Make, tiny: Path, tmp_path: Path) -> None:
        """As the reference pipeline patches them; an option in the recipe still wins."""
        old = altered(tiny, tmp_path, "scheduler/scheduler_config.json", steps_offset=0, clip_sample=True)
        there = {"checkpoint": {"repo": str(old)}}
        scheduler = make_plan(recipe(**there)).scheduler
        assert (scheduler.steps_offset, scheduler.clip_sample) == (1, False)
        own = make_plan(recipe(**there, scheduler={"name": "DDIMScheduler", "steps_offset": 0})).scheduler
        assert own.steps_offset == 0


class TestSession:
    def test_components_are_loaded_once(self, recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        from runner.backends.torch import TorchBackend

        loaded = []
        load = TorchBackend.load
        monkeypatch.setattr(TorchBackend, "load", lambda *a: (loaded.append(a[2].name), load(*a))[1])
        session = Session()
        for seed in range(2):
            execute(recipe(seed=seed), progress=False, session=session)
        assert sorted(loaded) == ["text_encoder", "tokenizer", "unet", "vae"]

    def test_a_component_from_elsewhere_replaces_its_own(
        self, recipe: Make, run: Run, tiny: Path, tmp_path: Path
    ) -> None:
        from safetensors.torch import load_file, save_file

        other = tmp_path / "elsewhere" / "vae"
        other.mkdir(parents=True)
        (other / "config.json").write_bytes((tiny / "vae" / "config.json").read_bytes())
        name = "diffusion_pytorch_model.safetensors"
        weights = load_file(tiny / "vae" / name)
        weights["decoder.conv_out.bias"] = torch.full_like(weights["decoder.conv_out.bias"], 1e4)  # all white
        save_file(weights, other / name)
        components = {"vae": {"repo": str(other.parent), "subfolder": "vae"}}
        assert pixels(run(checkpoint={"repo": str(tiny), "components": components})).min() == 255
        assert pixels(run()).min() < 255

    def test_damaged_weights_are_a_problem_of_the_checkpoint(self, recipe: Make, tiny: Path, tmp_path: Path) -> None:
        copy = altered(tiny, tmp_path, "unet/config.json")
        path = copy / "unet" / "diffusion_pytorch_model.safetensors"
        with safe_open(path, "pt") as file:
            assert file.keys()
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(RecipeError, match="truncated"):
            execute(recipe(checkpoint={"repo": str(copy)}), progress=False, session=Session())


class TestWords:
    def test_what_the_encoder_cannot_read_is_told(self, recipe: Make, capsys: pytest.CaptureFixture[str]) -> None:
        execute(recipe(prompt="x" * 75 + "abc def"))  # 77 tokens with start and end, one letter each
        told = capsys.readouterr().err
        assert "prompt: the text encoder reads 77 tokens at most, so this was left out: abc def" in told

    def test_nothing_is_told_of_a_prompt_that_fits(self, recipe: Make, capsys: pytest.CaptureFixture[str]) -> None:
        execute(recipe(prompt="x" * 75))
        assert "left out" not in capsys.readouterr().err

    def test_a_safety_checker_is_not_run_and_that_is_said(
        self, recipe: Make, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
        copy = altered(tiny, tmp_path, "model_index.json", safety_checker=checker)
        execute(recipe(checkpoint={"repo": str(copy)}))
        assert capsys.readouterr().err == "The checkpoint's safety checker is not run.\n"

    def test_the_bar_counts_steps_and_evaluations(self, capsys: pytest.CaptureFixture[str]) -> None:
        from runner.progress import Progress

        bar = Progress(batches=2, rows=3, steps=2, shown=True)
        for batch in range(2):
            for row, step in enumerate((0, 0, 1)):
                bar.row_done(batch, row, step)
        bar.say("a sentence")
        bar.close()
        told = capsys.readouterr().err
        assert "batch 2/2, step 2/2" in told
        assert "6/6 NFE" in told
        assert re.search(r"\d+ ms/step", told)
        assert "a sentence\n" in told

    def test_a_log_gets_no_bar(self, recipe: Make, capsys: pytest.CaptureFixture[str]) -> None:
        execute(recipe())
        assert capsys.readouterr().err == ""

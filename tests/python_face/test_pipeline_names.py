"""Every public name and argument of the reference library's pipelines is served, taken without effect, or refused.

What there is to decide comes from the reference library itself, so that a new name of it fails here.
"""

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import runner
from runner.python_face.arguments import NOT_SERVED, OLDER
from runner.python_face.old_names import REFUSED, WITHOUT_EFFECT, NotServed

Pair = Callable[[str], tuple[Any, Any]]
Family = Callable[[str], Path]
KINDS = {
    "sd15": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "ddpm": "DDPMPipeline",
    "ddim": "DDIMPipeline",
}
METHODS = {  # what the reference library's methods of these names take, ours take in the same places
    "encode_prompt",
    "enable_model_cpu_offload",
    "enable_sequential_cpu_offload",
    "get_guidance_scale_embedding",
    "maybe_convert_prompt",
    "numpy_to_pil",
    "prepare_extra_step_kwargs",
    "prepare_latents",
    "progress_bar",
}


def public(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def arguments(call: Any) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [
        name for name, one in inspect.signature(call).parameters.items() if one.kind not in kinds and name != "self"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_each_name_is_served_or_taken_or_refused(pair: Pair, kind: str) -> None:
    ours, theirs = pair(kind)
    for name in sorted(public(type(theirs))):
        if name in REFUSED:
            assert name not in WITHOUT_EFFECT
            with pytest.raises(NotServed, match=f"{name}: "):
                getattr(ours, name)()
        else:
            assert hasattr(ours, name), name
    assert public(ours) >= {*WITHOUT_EFFECT, *ours.components, "scheduler"}


def test_the_lists_name_nothing_that_the_reference_library_has_not() -> None:
    theirs = {name for cls in KINDS.values() for name in public(getattr(diffusers, cls))}
    assert {*WITHOUT_EFFECT, *REFUSED} <= theirs


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_of_a_call_are_in_their_places(pair: Pair, kind: str) -> None:
    ours, theirs = pair(kind)
    found, expected = arguments(type(ours).__call__), arguments(type(theirs).__call__)
    assert found == expected
    mine, reference = (inspect.signature(type(pipe).__call__).parameters for pipe in (ours, theirs))
    same = {"callback_on_step_end_tensor_inputs", "eta"}  # a tuple for a list; None, which is 0 as well
    assert {name: mine[name].default for name in found if name not in same} == {
        name: reference[name].default for name in found if name not in same
    }
    assert {name for name in NOT_SERVED if name in expected} == {name for name in NOT_SERVED if name in found}


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_of_methods_and_of_the_constructor_are_in_their_places(pair: Pair, kind: str) -> None:
    ours, theirs = pair(kind)
    for name in METHODS & public(theirs):
        assert arguments(getattr(type(ours), name)) == arguments(getattr(type(theirs), name)), name
    assert list(type(ours).ORDER) == arguments(type(theirs).__init__)
    assert type(ours)(*ours.components.values()).unet is ours.unet


@pytest.mark.parametrize("kind", KINDS)
def test_configuration_and_components_read_alike(pair: Pair, kind: str) -> None:
    ours, theirs = pair(kind)
    assert list(ours.components) == list(theirs.components)
    found, expected = ({k: v for k, v in pipe.config.items() if not k.startswith("_")} for pipe in (ours, theirs))
    assert found == expected
    assert Path(ours.name_or_path) == Path(theirs.name_or_path)
    for name in ("config_name", "hf_device_map", "has_compatibles", "parameters"):
        assert getattr(ours, name) == getattr(theirs, name), name
    if kind in ("sd15", "sdxl"):
        assert ours.vae_scale_factor == theirs.vae_scale_factor
        assert ours.num_fused_loras == theirs.num_fused_loras and ours.fused_loras == theirs.fused_loras


def test_what_is_taken_says_so_once(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    ours, _ = pair("sd15")
    WITHOUT_EFFECT.said.clear()
    for _ in range(2):
        ours.enable_attention_slicing("max")
        ours.enable_xformers_memory_efficient_attention(attention_op=None)
        ours.disable_attention_slicing()
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "enable_attention_slicing",
        "enable_xformers_memory_efficient_attention",
    ]


def test_refusals_say_what_to_do(pair: Pair) -> None:
    ours, _ = pair("sd15")
    assert not hasattr(ours, "load_lora_weights")
    with pytest.raises(NotImplementedError, match="merge them into the checkpoint's weights"):
        ours.load_lora_weights("x")
    with pytest.raises(NotServed, match="convert it to the layout with model_index"):
        runner.StableDiffusionPipeline.from_single_file("x.safetensors")


class TestLoading:
    def test_habits_that_change_nothing(self, family: Family) -> None:
        pipe = runner.DiffusionPipeline.from_pretrained(
            family("ddpm"),
            low_cpu_mem_usage=False,
            device_map=None,
            custom_pipeline=None,
            custom_revision=None,
            force_download=False,
            trust_remote_code=True,
            output_loading_info=True,
        )
        assert type(pipe).__name__ == "DDPMPipeline"

    def test_a_device_map_of_one_device(self, family: Family) -> None:
        for device_map in ("cpu", {"": "cpu"}, torch.device("cpu")):
            assert runner.DDPMPipeline.from_pretrained(family("ddpm"), device_map=device_map).device.type == "cpu"
        with pytest.raises(ValueError, match=r"device_map='balanced' spreads.*enable_model_cpu_offload"):
            runner.DDPMPipeline.from_pretrained(family("ddpm"), device_map="balanced")

    def test_everything_that_cannot_be_is_told_at_once(self, family: Family) -> None:
        with pytest.raises(TypeError) as caught:
            runner.DDPMPipeline.from_pretrained(family("ddpm"), custom_pipeline="x", torch_dtpye=1, from_flax=True)
        assert "custom_pipeline='x' cannot be served" in str(caught.value)
        assert "'torch_dtpye'. Did you mean 'torch_dtype'?" in str(caught.value)
        assert "FlaxDiffusionPipeline" in str(caught.value)

    def test_auto_is_the_dtype_of_the_files(self, family: Family, tmp_path: Path) -> None:
        runner.DDPMPipeline.from_pretrained(family("ddpm"), torch_dtype=torch.float16).save_pretrained(tmp_path)
        assert runner.DDPMPipeline.from_pretrained(tmp_path, torch_dtype="auto").dtype == torch.float16
        assert runner.DDPMPipeline.from_pretrained(tmp_path).dtype == torch.float32
        assert runner.DDPMPipeline.from_pretrained(family("ddpm"), torch_dtype="auto").dtype == torch.float32


def test_ways_of_moving(family: Family) -> None:
    pipe = runner.DDPMPipeline.from_pretrained(family("ddpm"))
    assert pipe.to(torch_device="cpu", torch_dtype=torch.float16).dtype == torch.float16
    assert pipe.to("cpu", torch.float32, silence_dtype_warnings=True).dtype == torch.float32
    pipe.maybe_free_model_hooks()


def test_configurations_are_written_and_read(pair: Pair, tmp_path: Path) -> None:
    ours, _ = pair("sdxl")
    ours.save_config(tmp_path)
    ours.save_pretrained(tmp_path / "whole")
    found = runner.DiffusionPipeline.load_config(tmp_path / "whole")
    assert found == diffusers.StableDiffusionXLPipeline.load_config(tmp_path)
    assert found["unet"] == ["diffusers", "UNet2DConditionModel"] and "unet" in ours.to_json_string()
    ours.register_modules(vae=ours.vae)


class TestPiecesOfALoop:
    """What scripts call that write the loop themselves equals the reference library's."""

    @pytest.mark.parametrize("kind", ["sd15", "sdxl"])
    def test_latents_and_step_arguments(self, pair: Pair, kind: str) -> None:
        ours, theirs = pair(kind)
        made = []
        for pipe in (ours, theirs):
            pipe.scheduler.set_timesteps(4)
            generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
            made.append(pipe.prepare_latents(2, 4, 32, 24, torch.float32, "cpu", generators))
            assert "generator" in pipe.prepare_extra_step_kwargs(None, 0.5) or kind == "sd15"
        torch.testing.assert_close(*made)
        ours.scheduler = runner.DDIMScheduler.from_config(ours.scheduler.config)
        assert ours.prepare_extra_step_kwargs(None, 0.5) == {"eta": 0.5, "generator": None}

    def test_guidance_embeddings_and_images(self, pair: Pair) -> None:
        ours, theirs = pair("sd15")
        scale = torch.tensor([6.5, 1.0])
        torch.testing.assert_close(
            ours.get_guidance_scale_embedding(scale, 32), theirs.get_guidance_scale_embedding(scale, 32)
        )
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            np.testing.assert_allclose(ours.decode_latents(latents), theirs.decode_latents(latents), atol=1e-5)
        image = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
        for output_type in ("np", "pt", "pil"):
            found, expected = (
                pipe.image_processor.postprocess(image, output_type=output_type, do_denormalize=[True, False])
                for pipe in (ours, theirs)
            )
            assert np.array_equal(np.stack([*map(np.asarray, found)]), np.stack([*map(np.asarray, expected)]))
        picture = np.full((4, 4, 3), 0.5, np.float32)
        assert ours.numpy_to_pil(picture)[0] == theirs.numpy_to_pil(picture)[0]

    def test_a_bar(self, pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
        ours, _ = pair("sd15")
        ours.set_progress_bar_config(desc="mine", ncols=60)
        assert list(ours.progress_bar([1, 2])) == [1, 2]
        with ours.progress_bar(total=3) as bar:
            bar.update()
        assert "mine" in capsys.readouterr().err
        with pytest.raises(ValueError, match="an iterable or a total"):
            ours.progress_bar()
        ours.set_progress_bar_config(disable=True)
        assert list(ours.progress_bar([1])) == [1] and capsys.readouterr().err == ""
        ours.set_progress_bar_config()


def test_a_safety_checker_is_none_and_one_that_is_given_is_not_run(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    ours, _ = pair("sd15")
    assert ours.safety_checker is None and ours.feature_extractor is None
    with caplog.at_level(logging.WARNING):
        ours.safety_checker = object()
    assert "does not run the safety_checker" in caplog.text
    ours.safety_checker = None


def test_older_arguments_are_known() -> None:
    assert OLDER == ("callback", "callback_steps")

"""What callbacks see and change, and what a pipeline says of its run, are as in the reference library."""

import logging
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

import runner

Pair = Callable[[str], tuple[Any, Any]]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def draw(pipe: Any, **call: Any) -> Tensor:
    call = {"num_inference_steps": 3, "output_type": "latent", "generator": seeded()} | call
    return pipe(**{"prompt": "a cat"} | call).images


def close(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def switch(pair: tuple[Any, Any], name: str) -> tuple[Any, Any]:
    for pipe, library in zip(pair, (runner, diffusers), strict=True):
        pipe.scheduler = getattr(library, name).from_config(pipe.scheduler.config)
    return pair


class TestChangedInPlace:
    @pytest.mark.parametrize("returned", [None, {}])
    @pytest.mark.parametrize("scheduler", ["HeunDiscreteScheduler", "DPMSolverMultistepScheduler"])
    def test_latents(self, pair: Pair, scheduler: str, returned: Any) -> None:
        def callback(pipe: Any, row: int, t: Any, tensors: dict[str, Any]) -> Any:
            tensors["latents"].mul_(0.9).add_(0.01 * row)
            return {} if "Stable" in type(pipe).__name__ and type(pipe).__module__.startswith("diff") else returned

        ours, theirs = switch(pair("sd15"), scheduler)
        close(*(draw(pipe, callback_on_step_end=callback) for pipe in (ours, theirs)))
        assert (draw(ours, callback_on_step_end=callback) - draw(ours)).abs().max() > 0.1

    @pytest.mark.parametrize("kind", ["sd15", "sdxl"])
    def test_embeddings(self, pair: Pair, kind: str) -> None:
        names = {"sd15": ["prompt_embeds"], "sdxl": ["prompt_embeds", "add_text_embeds", "add_time_ids"]}[kind]

        def callback(pipe: Any, row: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            for name in names:
                tensors[name].mul_(1.5 if row == 0 else 1.0)
            return tensors if "diffusers" in type(pipe).__module__ else {}

        call = {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": names}
        ours, theirs = pair(kind)
        close(*(draw(pipe, **call) for pipe in (ours, theirs)))
        assert (draw(ours, **call) - draw(ours)).abs().max() > 0.01

    def test_the_older_callback(self, pair: Pair) -> None:
        seen: list[list[Any]] = []

        def callback(step: int, t: Any, latents: Tensor) -> None:
            seen[-1].append((step, float(t), tuple(latents.shape)))
            latents.mul_(0.9)

        for scheduler in ("PNDMScheduler", "HeunDiscreteScheduler"):
            found = []
            for pipe in switch(pair("sd15"), scheduler):
                seen.append([])
                found.append(draw(pipe, callback=callback, callback_steps=1))
            close(*found)
            assert seen[-1] == seen[-2] and len(seen[-1]) == 3
        seen.append([])
        ours, _ = switch(pair("sd15"), "EulerDiscreteScheduler")
        draw(ours, num_inference_steps=5, callback=callback, callback_steps=2)
        assert [step for step, *_ in seen[-1]] == [0, 2, 4]
        seen.append([])
        draw(ours, callback=callback)
        assert len(seen[-1]) == 3


class TestSeen:
    @pytest.mark.parametrize("kind", ["sd15", "sdxl"])
    def test_all_tensors_there_are(self, pair: Pair, kind: str) -> None:
        ours, theirs = pair(kind)
        assert set(theirs._callback_tensor_inputs) <= set(ours.CALLBACK_INPUTS)
        seen: list[dict[str, Any]] = []

        def callback(pipe: Any, row: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            seen.append(tensors)
            return {}

        call = {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": theirs._callback_tensor_inputs}
        for guidance_scale in (5.0, 1.0):
            for pipe in (ours, theirs):
                draw(pipe, num_inference_steps=1, guidance_scale=guidance_scale, **call)
            found, expected = seen[-1 - len(seen) // 2], seen[-1]
            assert list(found) == list(expected)
            for name, tensor in expected.items():
                if tensor is not None:
                    torch.testing.assert_close(found[name], tensor, atol=1e-3, rtol=1e-3)
            seen.clear()

    def test_they_may_be_kept_and_decoded_later(self, pair: Pair) -> None:
        ours, _ = pair("sd15")
        kept = []

        def callback(pipe: Any, row: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            kept.append(tensors["latents"])
            return {}

        last = draw(ours, callback_on_step_end=callback)
        torch.testing.assert_close(kept[-1], last)
        assert ours.vae.decode(kept[0]).sample.requires_grad  # an ordinary tensor, outside of any mode

    def test_the_timestep_is_the_runs_and_of_one_type(self, pair: Pair) -> None:
        for scheduler in ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"):
            ours, _ = switch(pair("sd15"), scheduler)
            seen: list[Tensor] = []

            def callback(pipe: Any, row: int, t: Any, tensors: Any, seen: list[Tensor] = seen) -> None:
                seen.append(t)

            draw(ours, num_inference_steps=4, callback_on_step_end=callback)
            assert len({t.dtype for t in seen}) == 1 and {t.ndim for t in seen} == {0}
            assert torch.equal(torch.stack(seen), ours.scheduler.timesteps)


class TestOfTheRun:
    def test_the_scheduler_keeps_its_timesteps_and_sigmas(self, pair: Pair) -> None:
        for scheduler in ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler"):
            ours, theirs = switch(pair("sd15"), scheduler)
            for pipe in (ours, theirs):
                draw(pipe)
            for name in ("timesteps", "sigmas"):
                found, expected = (getattr(pipe.scheduler, name) for pipe in (ours, theirs))
                torch.testing.assert_close(found.double(), expected.double(), atol=1e-3, rtol=1e-5)
            assert ours.num_timesteps == theirs.num_timesteps == len(ours.scheduler.timesteps)

    @pytest.mark.parametrize("kind", ["sd15", "sdxl", "lcm"])
    def test_what_the_pipeline_says_of_the_call(self, pair: Pair, kind: str) -> None:
        names = ["guidance_scale", "guidance_rescale", "clip_skip", "num_timesteps", "interrupt"]
        names += ["do_classifier_free_guidance", "cross_attention_kwargs"]
        names += ["denoising_end"] if kind == "sdxl" else []
        ours, theirs = pair(kind)
        for call in ({"guidance_scale": 3.0, "guidance_rescale": 0.2}, {"guidance_scale": 1.0}):
            seen: list[Any] = []

            def callback(pipe: Any, row: int, t: Any, tensors: Any, seen: list[Any] = seen) -> dict[str, Any]:
                seen.append([getattr(pipe, name) for name in names])
                return {}

            for pipe in (ours, theirs):
                draw(pipe, num_inference_steps=1, callback_on_step_end=callback, **call)
            assert seen[0] == seen[-1]
            assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]


class TestWrong:
    def test_what_a_callback_may_not_return(self, pair: Pair) -> None:
        ours, _ = pair("sd15")
        with pytest.raises(TypeError, match="callback_on_step_end returned a list; expected a dict of tensors"):
            draw(ours, callback_on_step_end=lambda *_: [1])
        with pytest.raises(ValueError, match=r"returned latents of shape \[2\]; expected \[1, 4, 8, 8\]"):
            draw(ours, callback_on_step_end=lambda *_: {"latents": torch.zeros(2)})

    def test_a_misspelt_tensor_is_told(self, pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            draw(pair("sd15")[0], num_inference_steps=1, callback_on_step_end=lambda *_: {"latnets": 1})
        assert "returned 'latnets', which is nothing of this run. Did you mean 'latents'?" in caplog.text


class Logged(nn.Module):
    """A module of the user's own around a network, which sees what the reference library's would."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.seen: list[tuple[int, int]] = []

    def forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **conditions: Any) -> Any:
        self.seen.append((len(sample), len(encoder_hidden_states)))
        return self.network(sample, timestep, encoder_hidden_states, **conditions)


class TestWrappedNetworks:
    @pytest.mark.parametrize("kind", ["sd15", "lcm", "sdxl"])
    def test_a_module_around_the_unet(self, pair: Pair, kind: str, tmp_path: Any) -> None:
        ours, _ = pair(kind)
        plain, unet = draw(ours, num_inference_steps=2), ours.unet
        ours.unet = Logged(unet)
        try:
            close(draw(ours, num_inference_steps=2), plain)
            assert set(ours.unet.seen) == {(1, 1)} if kind == "lcm" else {(2, 2)}
            assert (ours.dtype, ours.device.type) == (torch.float32, "cpu")
            ours.save_pretrained(tmp_path)
            assert type(runner.DiffusionPipeline.from_pretrained(tmp_path).unet) is type(unet)
            ours.to(torch.float32)
        finally:
            ours.unet = unet

    def test_compiled_ones(self, pair: Pair) -> None:
        """With the backend that compiles nothing: the wrapper, the tracing and the guards are torch.compile's."""
        ours, _ = pair("sd15")
        ours.scheduler = runner.DDIMScheduler.from_config(ours.scheduler.config)
        call: dict[str, Any] = {"num_inference_steps": 1, "output_type": "pt"}
        plain, unet, vae = draw(ours, **call), ours.unet, ours.vae
        try:
            ours.unet = torch.compile(unet, backend="eager")
            ours.vae = torch.compile(vae, backend="eager")
            assert type(ours.unet).__name__ == "OptimizedModule"
            torch.testing.assert_close(draw(ours, **call), plain, atol=1e-4, rtol=1e-4)
        finally:
            ours.unet, ours.vae = unet, vae

    def test_a_wrapper_of_another_network_is_refused(self, pair: Pair) -> None:
        ours, theirs = pair("sd15")
        with pytest.raises(TypeError, match="vae is a UNet2DConditionModel; expected a AutoencoderKL"):
            ours.vae = Logged(ours.unet)
        with pytest.raises(TypeError, match="unet is of the diffusers library"):
            ours.unet = torch.compile(theirs.unet, backend="eager")


class TestOfTheReferenceLibrary:
    """Its own callbacks say by `tensor_inputs` what they read."""

    @pytest.mark.parametrize(("kind", "name"), [("sd15", "SDCFGCutoffCallback"), ("sdxl", "SDXLCFGCutoffCallback")])
    def test_a_cutoff_of_guidance(self, pair: Pair, kind: str, name: str) -> None:
        cutoff = getattr(diffusers.callbacks, name)(cutoff_step_ratio=0.4)
        call = {"num_inference_steps": 5, "callback_on_step_end": cutoff}
        ours, theirs = (draw(pipe, **call) for pipe in pair(kind))
        close(ours, theirs)
        assert (ours - draw(pair(kind)[0], num_inference_steps=5)).abs().max() > 0.01


@pytest.mark.parametrize("rows", [3, 0])
@pytest.mark.parametrize(("kind", "name"), [("sd15", "prompt_embeds"), ("sdxl", "add_time_ids")])
def test_conditions_of_another_number_of_rows_are_refused_by_name(pair: Pair, kind: str, name: str, rows: int) -> None:
    def callback(pipe: Any, row: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: tensors[name][:1].repeat_interleave(rows, 0)}

    with pytest.raises(ValueError, match=f"returned {name} of shape"):
        draw(pair(kind)[0], callback_on_step_end=callback, callback_on_step_end_tensor_inputs=[name])

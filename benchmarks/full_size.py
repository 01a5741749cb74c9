"""A full-size Stable Diffusion 1.5 with random weights beside the reference library: loading, memory, a step, a decode.

    python benchmarks/full_size.py                      # 4.3 GB in a temporary folder, removed at the end
    python benchmarks/full_size.py --narrow 8 --pairs 3 # the same an eighth as wide, for a try

Every load is a process of its own, ours and theirs by turns; the median of the ratios counts. Steps and decodes take
turns in one process, on the same weights. Anonymous memory is what the system cannot take back by forgetting pages of
files; its peak is sampled while loading. At last one image is drawn, and the estimate of `recipe plan` set beside the
peak of that process. A processor without half precision emulates it, which takes the reference library hours at this
size: there half precision is loaded but not computed, unless --compute asks for it (with --latents 8, say).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
NAME = "stable-diffusion-v1-5"
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
LIMITS = {"load": 1.05, "step": 1.0, "decode": 0.6, "memory": 0.7e9}


def main() -> None:
    options = parse()
    if options.child:
        CHILDREN[options.child](options)
        return
    with tempfile.TemporaryDirectory(prefix="full-size-", dir=options.dir) as place:
        for dtype in options.dtypes:
            folder = Path(place) / dtype
            child(options, "write", folder, dtype)
            report_loading(options, folder, dtype)
            if dtype in (options.compute or compute_dtypes()):
                report_computing(options, folder, dtype)
            if dtype == "float32":
                report_estimate(options, folder)
            shutil.rmtree(folder)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--narrow", type=int, default=1, help="divide all widths by this (1, 2, 4, 8)")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of loads, of steps and of decodes")
    parser.add_argument("--latents", type=int, default=64, help="latents a side: 64 are 512 pixels")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: one a core")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"])
    parser.add_argument("--compute", nargs="+", help="number formats to time steps in; else those the processor has")
    parser.add_argument("--dir", help="where the temporary folder is made")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    return parser.parse_args()


def child(options: argparse.Namespace, what: str, folder: Path, dtype: str) -> dict[str, Any]:
    """What one of CHILDREN found out in a process of its own."""
    given = {"narrow": options.narrow, "pairs": options.pairs, "latents": options.latents, "threads": options.threads}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, __file__, *words, "--child", what, "--folder", str(folder), "--dtype", dtype]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


# What is reported


def report_loading(options: argparse.Namespace, folder: Path, dtype: str) -> None:
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for who in ("ours", "theirs"):
        child(options, f"load {who}", folder, dtype)  # from here on the files are in the system's cache
    for turn in range(options.pairs):
        for who in ("ours", "theirs") if turn % 2 else ("theirs", "ours"):
            found[who].append(child(options, f"load {who}", folder, dtype))
    for key, what in (("seconds", "load"), ("read", "load and read every weight")):
        ours, theirs = ([run[key] for run in found[who]] for who in ("ours", "theirs"))
        line(f"{dtype} {what}", ours, theirs, LIMITS["load"] if key == "seconds" else None)
    beyond = [max(run["anonymous"] for run in found[who]) - weights for who in ("ours", "theirs")]
    print(
        f"{dtype} peak anonymous memory: weights ({weights / 1e9:.2f} GB) {beyond[0] / 1e9:+.2f} GB; "
        f"theirs {beyond[1] / 1e9:+.2f} GB; {verdict(beyond[0], LIMITS['memory'])} (at most +0.7)",
        flush=True,
    )


def report_computing(options: argparse.Namespace, folder: Path, dtype: str) -> None:
    for what, name in (("step", f"UNet step at {8 * options.latents} pixels"), ("decode", "VAE decode")):
        found = child(options, what, folder, dtype)
        line(f"{dtype} {name}", found["ours"], found["theirs"], LIMITS[what])
        print(f"    largest difference {found['difference']:.1e} of a standard deviation", flush=True)


def report_estimate(options: argparse.Namespace, folder: Path) -> None:
    found = child(options, "draw", folder, "float32")
    print(f"estimated peak {found['told'] / 1e9:.2f} GB, measured {found['found'] / 1e9:.2f} GB", flush=True)


def line(what: str, ours: list[float], theirs: list[float], limit: float | None) -> None:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    asked = f"; {verdict(ratio, limit)} (at most {limit})" if limit else ""
    medians = f"{statistics.median(ours):.2f} s against {statistics.median(theirs):.2f} s"
    print(f"{what}: {medians}, ratio {ratio:.2f}{asked}", flush=True)


def verdict(found: float, limit: float) -> str:
    return "met" if found <= limit else "NOT MET"


# What the processes do


def write(options: argparse.Namespace) -> None:
    """The checkpoint, in one number format: variance-preserving random weights, so that no number overflows."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    from components import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from components.torch_models.text_encoder import save_text_encoder

    real = json.loads((ROOT / "tests/torch_models/real_configs.json").read_text())[NAME]
    dtype = getattr(torch, options.dtype)

    def filled(model: Any) -> Any:
        model = model.to(dtype).to_empty(device="cpu")
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                parameter.data.fill_(float("norm" in name and name.endswith("weight")))
            else:
                parameter.data.normal_(0, parameter[0].numel() ** -0.5)
        return model

    def narrow(config: dict[str, Any]) -> dict[str, Any]:
        widths = [width // options.narrow for width in config["block_out_channels"]]
        return config | {"block_out_channels": widths, "norm_num_groups": min(32, widths[0] // 4)}

    torch.manual_seed(0)
    with torch.device("meta"):
        networks = {
            "unet": UNet2DConditionModel.from_config(narrow(real["unet"])),
            "vae": AutoencoderKL.from_config(narrow(real["vae"])),
        }
        encoder = CLIPTextModel(CLIPTextConfig(**CLIP_L))
    for name, network in networks.items():
        filled(network).save_pretrained(options.folder / name)
    save_text_encoder(filled(encoder), options.folder / "text_encoder")
    PNDMScheduler.from_config(SCHEDULER).save_pretrained(options.folder / "scheduler")
    shutil.copytree(ROOT / "runner/demo/shapes/tokenizer", options.folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        **{name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")},
        "requires_safety_checker": False,
    }
    (options.folder / "model_index.json").write_text(json.dumps(index))
    print(json.dumps({}))


def load(options: argparse.Namespace) -> None:
    """Seconds to load the pipeline and then to read every weight, and the most anonymous memory meanwhile."""
    import torch
    import transformers

    threads(options)
    pipeline = pipeline_class(options.child.split()[1])
    assert transformers.CLIPTextModel and transformers.CLIPTokenizer  # imported, which is nobody's loading
    with AnonymousMemory() as memory:
        begun = time.perf_counter()
        pipe = pipeline.from_pretrained(options.folder, torch_dtype=getattr(torch, options.dtype))
        seconds = time.perf_counter() - begun
        for name in ("unet", "vae", "text_encoder"):
            for parameter in getattr(pipe, name).parameters():
                parameter.view(-1)[:: 2048 // parameter.element_size()].sum() if parameter.is_contiguous() else None
        read = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "read": read, "anonymous": memory.peak}))


def step(options: argparse.Namespace) -> None:
    """Seconds of a UNet evaluation for one image with guidance, ours and theirs by turns."""
    import torch

    dtype, size = getattr(torch, options.dtype), options.latents
    x, words = torch.randn(2, 4, size, size).to(dtype), torch.randn(2, 77, 768).to(dtype)
    time_in_turn(options, "unet", lambda unet: unet(x, torch.tensor(500), words).sample)


def decode(options: argparse.Namespace) -> None:
    """The same of decoding one image."""
    import torch

    latents = torch.randn(1, 4, options.latents, options.latents).to(getattr(torch, options.dtype))
    time_in_turn(options, "vae", lambda vae: vae.decode(latents).sample)


def time_in_turn(options: argparse.Namespace, name: str, work: Callable[[Any], Any]) -> None:
    import torch

    threads(options)
    torch.manual_seed(0)
    dtype = getattr(torch, options.dtype)
    networks = {
        who: getattr(pipeline_class(who).from_pretrained(options.folder, torch_dtype=dtype), name)
        for who in ("ours", "theirs")
    }
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    with torch.inference_mode():
        ours, theirs = (work(network).float() for network in networks.values())  # also warms both up
        for turn in range(options.pairs):
            for who in ("ours", "theirs") if turn % 2 else ("theirs", "ours"):
                begun = time.perf_counter()
                work(networks[who])
                seconds[who].append(time.perf_counter() - begun)
    print(json.dumps(seconds | {"difference": float((ours - theirs).abs().max() / theirs.std())}))


def draw(options: argparse.Namespace) -> None:
    """The peak that was told of drawing one image in one step, and the peak of this process that has done it."""
    from runner.execute import execute
    from runner.memory import estimate_peak
    from runner.plan import make_plan
    from runner.schema import Recipe

    keys = {
        "checkpoint": {"repo": str(options.folder)},
        "scheduler": {"name": "EulerDiscreteScheduler"},
        "backend": {"device": "cpu", "dtype": options.dtype, "threads": options.threads or None},
        "output": {"dir": str(options.folder / "outputs")},
        "height": 8 * options.latents,
        "width": 8 * options.latents,
    }
    recipe = Recipe.model_validate({"name": "estimate", "prompt": "a red star", "steps": 1, **keys})
    told = estimate_peak(make_plan(recipe)).total
    execute(recipe, progress=False)
    print(json.dumps({"told": told, "found": status("VmHWM")}))


def pipeline_class(who: str) -> Any:
    if who == "ours":
        from runner import StableDiffusionPipeline
    else:
        from diffusers import StableDiffusionPipeline, logging

        logging.set_verbosity_error()
    return StableDiffusionPipeline


class AnonymousMemory:
    """`peak`: the most anonymous memory of this process in bytes, sampled every 2 ms from entering to leaving."""

    def __enter__(self) -> AnonymousMemory:
        self.peak, self._done = status("RssAnon"), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.peak = max(self.peak, status("RssAnon"))

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.peak = max(self.peak, status("RssAnon"))


def status(name: str) -> int:
    """Bytes, of what Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def threads(options: argparse.Namespace) -> None:
    import torch

    from runner.provenance import physical_cores

    torch.set_num_threads(options.threads or physical_cores())


def compute_dtypes() -> list[str]:
    import torch

    from components.torch_models.operations import emulated

    return ["float32", *(name for name in ("float16", "bfloat16") if not emulated(getattr(torch, name)))]


CHILDREN = {
    "write": write,
    "load ours": load,
    "load theirs": load,
    "step": step,
    "decode": decode,
    "draw": draw,
}

if __name__ == "__main__":
    main()

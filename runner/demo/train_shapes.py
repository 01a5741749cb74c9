"""Trains the bundled demo checkpoint `shapes` from nothing and writes it in the diffusers layout.

Three stages, each resumed where it stopped: an autoencoder on freshly drawn pictures, the latents of a fixed set of
pictures, then the denoising network together with its text encoder. Only the files of the result are needed to draw
with it; this script is how they came to be.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from components.torch_models.autoencoder_kl import AutoencoderKL
from components.torch_models.unet_2d_condition import UNet2DConditionModel
from runner.demo.shapes_bundle import SCHEDULER, write_bundle
from runner.demo.shapes_data import Description, draw_random, vocabulary
from runner.demo.shapes_tokenizer import MAX_LENGTH, write_tokenizer
from runner.demo.training_loop import Averaged, LoopSettings, processes, rank, train

VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "sample_size": 64,
    "block_out_channels": (32, 64, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
TEXT: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 128,
    "max_position_embeddings": MAX_LENGTH,
}
UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": TEXT["hidden_size"],
    "attention_head_dim": 4,
    "norm_num_groups": 16,
}
DROPPED = 0.10  # of the captions become empty, for classifier-free guidance (Ho and Salimans 2022)
SHORTENED = 0.06  # lose the size, and as many the background, so that such prompts work too
SNR_CAP = 5.0  # weight min(SNR, 5) / SNR of the eps loss (Hang et al. 2023, min-SNR)


@dataclass(frozen=True)
class Settings:
    """What the command line chose."""

    work: Path
    out: Path
    seed: int
    bfloat16: bool
    vae_steps: int
    vae_batch: int
    pictures: int
    unet_steps: int
    unet_batch: int

    def rng(self, stage: int, step: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, stage, step))

    def generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + step)

    def draw(self, step: int) -> int:
        """Number of one process's share of a step, so that no two shares see the same random numbers."""
        return step * processes() + rank()

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16)


def pictures(n: int, rng: np.random.Generator) -> tuple[Tensor, list[Description]]:
    """``n`` drawn pictures (n, 3, 64, 64) in [-1, 1] and what they show."""
    batch = draw_random(n, rng)
    images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return images, batch.descriptions


def train_vae(settings: Settings) -> nn.Module:
    """The autoencoder: L1 + MSE of the picture, a small KL term that keeps the latents near a unit normal."""
    torch.manual_seed(settings.seed)
    vae = AutoencoderKL(**VAE)

    def loss(step: int) -> Tensor:
        images, _ = pictures(settings.vae_batch // processes(), settings.rng(0, settings.draw(step)))
        with settings.autocast():
            posterior = vae.encode(images).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            generator = settings.generator(settings.draw(step))
            noise = torch.randn(mean.shape, generator=generator)
            decoded = vae.decode(mean + torch.exp(0.5 * logvar) * noise).sample.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return functional.l1_loss(decoded, images) + functional.mse_loss(decoded, images) + 1e-3 * kl

    loop = LoopSettings(settings.vae_steps, 1.5e-3, ema=0.995)
    train("vae", vae, loss, loop, settings.work).store_into(vae)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def measure_vae(vae: Any, settings: Settings) -> dict[str, float]:
    """Reconstruction error on pictures never trained on, and the factor that gives the latents unit variance."""
    images, _ = pictures(512, settings.rng(9, 0))
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in images.split(64)])
    decoded = torch.cat([vae.decode(part).sample for part in latents.split(64)]).clamp(-1, 1)
    error = functional.l1_loss(decoded, images) + functional.mse_loss(decoded, images)
    return {"l1_plus_mse": round(error.item(), 5), "scaling_factor": round(1 / latents.std().item(), 4)}


def caption(description: Description, rng: np.random.Generator) -> str:
    """The caption to learn from: mostly all four parts, sometimes without the size or without the background."""
    chance = rng.uniform()
    if chance < SHORTENED:
        description = replace(description, size=None)
    elif chance < 2 * SHORTENED:
        description = replace(description, background=None)
    return description.caption()


@torch.no_grad()
def encode_pictures(vae: Any, scaling_factor: float, settings: Settings) -> tuple[Tensor, list[str]]:
    """Scaled latents (n, 4, 16, 16) of the training pictures and their captions; kept in the work folder."""
    file = settings.work / "latents.pt"
    if not file.exists() and rank() == 0:
        latents, captions = [], []
        chunk = 128
        for part in tqdm(range(settings.pictures // chunk), desc="latents", mininterval=5):
            rng = settings.rng(1, part)
            images, descriptions = pictures(chunk, rng)
            with settings.autocast():
                mean = vae.encode(images).latent_dist.mean
            latents.append((mean * scaling_factor).half())
            captions += [caption(description, rng) for description in descriptions]
        torch.save({"latents": torch.cat(latents), "captions": captions}, file)
    if processes() > 1:
        distributed.barrier()
    stored = torch.load(file, weights_only=True)
    return stored["latents"].float(), stored["captions"]


def text_encoder(ids: dict[str, int]) -> CLIPTextModel:
    special = {"bos_token_id": ids["<|startoftext|>"], "eos_token_id": ids["<|endoftext|>"]}
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(ids), pad_token_id=special["eos_token_id"], **special, **TEXT))


def tokenize(tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """Token ids (n, MAX_LENGTH), padded as the text-to-image pipeline pads."""
    options: dict[str, Any] = {"padding": "max_length", "max_length": MAX_LENGTH, "truncation": True}
    return torch.tensor(tokenizer(list(captions), **options).input_ids)


def signal_levels() -> Tensor:
    """Cumulative alpha (1000,) of the scaled_linear schedule (Rombach et al. 2022)."""
    ends = SCHEDULER["beta_start"] ** 0.5, SCHEDULER["beta_end"] ** 0.5
    betas = torch.linspace(*ends, SCHEDULER["num_train_timesteps"], dtype=torch.float64).square()
    return (1 - betas).cumprod(0).float()


def train_unet(latents: Tensor, captions: list[str], settings: Settings) -> tuple[nn.ModuleDict, Averaged]:
    """The denoising network and the text encoder, together, on eps prediction."""
    torch.manual_seed(settings.seed + 1)
    folder = settings.work / (f"tokenizer_{rank()}" if rank() else "tokenizer")
    ids = write_tokenizer(vocabulary(), folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    distinct = sorted(set(captions))
    table = tokenize(tokenizer, [*distinct, ""])
    position = {text: index for index, text in enumerate(distinct)}
    which = torch.tensor([position[text] for text in captions])
    alphas = signal_levels()
    weights = (alphas / (1 - alphas)).reciprocal().mul(SNR_CAP).clamp(max=1)
    model = nn.ModuleDict({"unet": UNet2DConditionModel(**UNET), "text_encoder": text_encoder(ids)})
    n = settings.unet_batch // processes()

    def loss(step: int) -> Tensor:
        generator = settings.generator(settings.draw(step))
        chosen = torch.randint(len(latents), (n,), generator=generator)
        tokens = table[torch.where(torch.rand(n, generator=generator) < DROPPED, len(distinct), which[chosen])]
        # One timestep from each of n equal spans: the same expectation as uniform draws, less variance.
        spread = (torch.arange(n) + torch.rand(n, generator=generator)) / n
        t = (spread * len(alphas)).long().clamp(max=len(alphas) - 1)
        noise = torch.randn(n, *latents.shape[1:], generator=generator)
        alpha = alphas[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents[chosen] + (1 - alpha).sqrt() * noise
        with settings.autocast():
            hidden = model["text_encoder"](tokens).last_hidden_state
            eps = model["unet"](noisy, t, hidden).sample
        return ((eps.float() - noise).square().mean((1, 2, 3)) * weights[t]).mean()

    loop = LoopSettings(settings.unet_steps, 1e-3, warmup=400, ema=0.9985)
    return model, train("unet", model, loss, loop, settings.work)


def parse_arguments(arguments: Sequence[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example, as the bundled checkpoint was made (see runner/demo/README.md):\n"
        "  torchrun --standalone --nproc-per-node 2 -m runner.demo.train_shapes --out runner/demo/shapes\n"
        "(one process for each core; plain `python -m runner.demo.train_shapes` is one process with all cores).\n"
        "Stopped on the way, the same command goes on from the last save, at most two minutes back.",
    )
    parser.add_argument("--work", type=Path, default=Path("outputs/train_shapes"), help="saves and logs (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("outputs/train_shapes/shapes"), help="result (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed trains the same way (%(default)s)")
    parser.add_argument("--float32", action="store_true", help="no bfloat16: exacter, about 1.4 times slower")
    parser.add_argument("--vae-steps", type=int, default=2300, help="%(default)s")
    parser.add_argument("--vae-batch", type=int, default=20, help="pictures a step (%(default)s)")
    parser.add_argument("--pictures", type=int, default=32_768, help="pictures the network learns from (%(default)s)")
    parser.add_argument("--unet-steps", type=int, default=6000, help="%(default)s")
    parser.add_argument("--unet-batch", type=int, default=32, help="latents a step (%(default)s)")
    chosen = vars(parser.parse_args(arguments))
    return Settings(bfloat16=not chosen.pop("float32"), **chosen)


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parse_arguments(arguments)
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo")
    settings.work.mkdir(parents=True, exist_ok=True)
    vae = train_vae(settings)
    measured = measure_vae(vae, settings)
    if rank() == 0:
        print(f"autoencoder: {json.dumps(measured)}")
    latents, captions = encode_pictures(vae, measured["scaling_factor"], settings)
    model, averaged = train_unet(latents, captions, settings)
    if rank() > 0:
        return
    averaged.store_into(model)
    modules = {"vae": vae, "unet": model["unet"], "text_encoder": model["text_encoder"]}
    configurations = {"vae": {**VAE, "scaling_factor": measured["scaling_factor"]}, "unet": UNET}
    size = write_bundle(settings.out, modules, configurations, settings.work / "tokenizer")
    print(f"wrote {settings.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

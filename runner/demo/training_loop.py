"""The loop both training stages share: warm-up and cosine decay, clipping, averaging, resuming, a progress bar.

Everything random in step k is drawn from generators seeded by (seed, k), so an interrupted run continues as if it had
never stopped. Knows nothing of autoencoders or diffusion: a stage hands it a loss. Under torchrun several processes
train one model, each on its share of the batch: one thread each that waits for the other once a step, where two threads
wait for each other a thousand times (on a busy machine that halves the time).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from tqdm import tqdm

Loss = Callable[[int], Tensor]


def rank() -> int:
    """Which of the processes this is; 0 where there is one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share_gradients(module: nn.Module) -> None:
    """Replace each gradient by its mean over the processes."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= processes()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast. ``ema`` is the decay of the averaged weights, reached after a short ramp."""

    steps: int
    learning_rate: float
    warmup: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    save_every: float = 120.0  # seconds
    log_every: int = 50  # steps


def rate(settings: LoopSettings, step: int) -> float:
    """Learning rate of one step: linear warm-up, then half a cosine down to zero at the planned end."""
    warm = min(1.0, (step + 1) / settings.warmup)
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


class Averaged:
    """An exponential moving average of a module's parameters (the weights that are kept in the end)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.values = {name: value.detach().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, parameter in self.module.named_parameters():
            self.values[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def store_into(self, module: nn.Module) -> None:
        """Copy the averages into a module of the same shape."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.values[name])


def train(name: str, module: nn.Module, loss: Loss, settings: LoopSettings, folder: Path) -> Averaged:
    """Minimise ``loss(step)`` over the module's parameters, resuming from ``folder/NAME.pt`` where there is one.

    All processes must start alike and see different data. Writes that file every ``save_every`` seconds and a line of
    ``folder/NAME.log`` every ``log_every`` steps. Returns the averaged weights.
    """
    optimizer = torch.optim.AdamW(
        module.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay, fused=True
    )
    averaged = Averaged(module, settings.ema)
    file, first = folder / f"{name}.pt", 0
    if file.exists():
        state = torch.load(file, map_location="cpu", weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        averaged.values = state["averaged"]
        first = state["step"]
        print(f"{name}: continuing at step {first} of {settings.steps} from {file}")

    def save(step: int) -> None:
        if rank():
            return
        state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "averaged": averaged.values}
        torch.save({**state, "step": step}, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)

    saved, started, running = time.monotonic(), time.monotonic(), 0.0
    bar = tqdm(
        range(first, settings.steps), initial=first, total=settings.steps, desc=name, mininterval=5, disable=rank() > 0
    )
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rate(settings, step)
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        if processes() > 1:
            share_gradients(module)
        nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
        optimizer.step()
        averaged.update(step)
        running += value.item()
        if not math.isfinite(running):
            raise FloatingPointError(f"{name}: the loss is no longer finite at step {step}")
        if (step + 1) % settings.log_every == 0 and not rank():
            mean, running = running / settings.log_every, 0.0
            pace = (time.monotonic() - started) / (step + 1 - first)
            line = f"step {step + 1} loss {mean:.5f} rate {rate(settings, step):.2e} {pace:.3f} s/step"
            bar.set_postfix_str(f"loss {mean:.4f}")
            with (folder / f"{name}.log").open("a") as log:
                log.write(line + "\n")
        if time.monotonic() - saved > settings.save_every:
            save(step + 1)
            saved = time.monotonic()
    save(settings.steps)
    return averaged

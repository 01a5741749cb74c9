"""The loop both training stages share: warm-up and cosine decay, clipping, averaging, resuming, a progress bar.

Everything random in step k is drawn from generators seeded by (seed, k), so an interrupted run continues as if it had
never stopped. Knows nothing of autoencoders or diffusion: a stage hands it a loss.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

Loss = Callable[[int], Tensor]


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

    Writes that file every ``save_every`` seconds and a line of ``folder/NAME.log`` every ``log_every`` steps. Returns
    the averaged weights.
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
        state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "averaged": averaged.values}
        torch.save({**state, "step": step}, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)

    saved, started, running = time.monotonic(), time.monotonic(), 0.0
    bar = tqdm(range(first, settings.steps), initial=first, total=settings.steps, desc=name, mininterval=5)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rate(settings, step)
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
        optimizer.step()
        averaged.update(step)
        running += value.item()
        if not math.isfinite(running):
            raise FloatingPointError(f"{name}: the loss is no longer finite at step {step}")
        if (step + 1) % settings.log_every == 0:
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

"""Quick convolutions and linear layers give what torch's own give, and step aside where they must."""

import pytest
import torch
import torch.nn.functional as F

from components.torch_models import operations, winograd
from components.torch_models.operations import Convolution, Linear

LAYOUTS = {"channels innermost": torch.channels_last, "rows innermost": torch.contiguous_format}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def exact(x: torch.Tensor, layer: torch.nn.Conv2d) -> torch.Tensor:
    bias = None if layer.bias is None else layer.bias.double()
    return F.conv2d(x.double(), layer.weight.double(), bias, layer.stride, layer.padding).float()


def close(found: torch.Tensor, wanted: torch.Tensor, error: float) -> None:
    assert (found.float() - wanted).abs().max() < error * wanted.std()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("shape", "out"),
    [((1, 96, 64, 64), 128), ((2, 128, 32, 32), 96), ((5, 100, 20, 28), 96), ((1, 96, 8, 512), 97)],
    ids=["strips", "images together", "some images together", "wide"],
)
@torch.inference_mode()
def test_winograd_is_the_convolution(
    shape: tuple[int, ...], out: int, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 96)  # as where direct sums are slow
    layer, x = Convolution(shape[1], out, 3, padding=1), random(*shape).to(memory_format=LAYOUTS[layout])
    assert winograd.pays(x, out)
    close(layer(x), exact(x, layer), 2e-4)
    close(winograd.winograd_conv(x, layer.weight, None), exact(x, layer) - layer.bias[:, None, None], 2e-4)


@pytest.mark.parametrize(
    ("shape", "out"),
    [((1, 96, 62, 64), 96), ((1, 95, 64, 64), 96), ((1, 96, 32, 32), 96), ((1, 1280, 64, 64), 640)],
    ids=["no whole tiles", "few channels", "few tiles", "many kernels"],
)
def test_where_it_does_not_pay_the_sum_is_direct(
    shape: tuple[int, ...], out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 96)
    assert not winograd.pays(torch.empty(shape, device="meta"), out)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "options",
    [{"kernel_size": 1}, {"kernel_size": 3, "padding": 1}, {"kernel_size": 3, "padding": 1, "stride": 2}],
    ids=str,
)
@torch.inference_mode()
def test_other_convolutions(options: dict, layout: str) -> None:
    layer, x = Convolution(64, 48, **options), random(2, 64, 6, 10).to(memory_format=LAYOUTS[layout])
    close(layer(x), exact(x, layer), 1e-5)
    assert layer(x).is_contiguous(memory_format=LAYOUTS[layout])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_is_float32_rounded_where_the_processor_has_none(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "emulated", lambda dtype: dtype in operations.HALVES)
    for layer, x in (
        (Convolution(96, 96, 3, padding=1), random(2, 96, 32, 32)),
        (Convolution(96, 8, 3, padding=1), random(2, 96, 8, 8)),
        (Convolution(96, 96, 1), random(2, 96, 8, 8).to(memory_format=torch.channels_last)),
        (Linear(96, 64), random(5, 96)),
    ):
        layer, x = layer.to(dtype), x.to(dtype)
        wanted = layer.float()(x.float())
        found = layer.to(dtype)(x)
        assert found.dtype == dtype
        close(found, wanted.float(), 2 * torch.finfo(dtype).eps * 4)


def test_with_gradients_the_sum_is_torchs_own() -> None:
    layer, x = Convolution(96, 96, 3, padding=1), random(1, 96, 64, 64)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))
    layer(x).sum().backward()
    assert layer.weight.grad is not None


@torch.inference_mode()
def test_equal_inputs_give_equal_bytes() -> None:
    layer, x = Convolution(96, 96, 3, padding=1), random(1, 96, 64, 64)
    assert torch.equal(layer(x), layer(x))

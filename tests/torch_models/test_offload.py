"""Networks that take turns on a device. The device here is torch's "meta", where nothing but shapes exists: a weight
that was left behind, or a number that came back from there, would show."""

import pytest
import torch

from components import AutoencoderKL, UNet2DConditionModel
from components.torch_models.offload import Offload

META = torch.device("meta")


def networks() -> tuple[UNet2DConditionModel, AutoencoderKL]:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=12,
        attention_head_dim=2,
    )
    return unet.eval(), AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).eval()


def devices(module: torch.nn.Module) -> set[str]:
    return {tensor.device.type for tensor in module.state_dict().values()}


def values(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_one_network_at_a_time_is_on_the_device() -> None:
    unet, vae = networks()
    before = values(unet), values(vae)
    offload = Offload(META)
    offload.add(unet)
    offload.add(vae)
    assert devices(unet) == devices(vae) == {"cpu"}
    offload.ready(unet)
    offload.ready(unet)
    assert devices(unet) == {"meta"} and devices(vae) == {"cpu"}
    assert unet(torch.zeros(1, 4, 8, 8, device=META), 5, torch.zeros(1, 7, 12, device=META)).sample.device == META
    offload.ready(vae)
    assert same(unet, before[0]) and devices(vae) == {"meta"}
    offload.release()
    assert same(vae, before[1])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_layer_by_layer(mode: type) -> None:
    unet, _ = networks()
    before, most = values(unet), 0

    def look(layer: torch.nn.Module, *_: object) -> None:
        nonlocal most
        away = {name for name, tensor in unet.state_dict().items() if tensor.device == META}
        most = max(most, len(away))
        assert all(tensor.device == META for tensor in layer.parameters(recurse=False))

    offload = Offload(META, "sequential")
    offload.add(unet)
    offload.add(unet)  # a second time changes nothing
    for layer in unet.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            layer.register_forward_pre_hook(look)
    with mode():
        out = unet(torch.zeros(1, 4, 8, 8, device=META), 5, torch.zeros(1, 7, 12, device=META)).sample
    assert out.device == META
    assert most == 2  # a weight and its bias
    assert same(unet, before)


def test_a_layer_that_fails_leaves_the_device_too() -> None:
    unet, _ = networks()
    before = values(unet)
    Offload(META, "sequential").add(unet)
    with pytest.raises(RuntimeError), torch.no_grad():
        unet(torch.zeros(1, 5, 8, 8, device=META), 5, torch.zeros(1, 7, 12, device=META))
    assert same(unet, before)

"""The unconditional U-Net of DDPM: what it says of an image at a timestep, without any prompt.

Denoising diffusion probabilistic models, arXiv:2006.11239, appendix B. It works on pixels as well as on latents; class
labels, Fourier features and the blocks of score-based models are not here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.model_config import UNet2DConfig
from components.torch_models.base import Model
from components.torch_models.blocks import AttentionMaker, MidBlock, down_levels, up_levels
from components.torch_models.layers import SpatialAttention, TimestepEmbedding, activation, timestep_embedding
from components.torch_models.old_names import refuse
from components.torch_models.operations import Convolution, free
from components.torch_models.unet_2d_condition import UNetOutput


class UNet2DModel(Model):
    """What the network says (eps, v or x0) of images (B, in_channels, H, W) at a timestep."""

    config_class = UNet2DConfig
    config: UNet2DConfig

    def __init__(self, given: UNet2DConfig | None = None, /, **options: Any) -> None:
        super().__init__(given, **options)
        config = self.config
        widths = config.block_out_channels
        time_channels = config.time_embedding_dim or 4 * widths[0]
        self.conv_in = Convolution(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], time_channels)
        resnet: dict[str, Any] = {
            "time_channels": time_channels,
            "groups": config.norm_num_groups,
            "eps": config.norm_eps,
            "act_fn": config.act_fn,
            "dropout": config.dropout,
        }
        layers = [config.layers_per_block] * len(widths)
        self.down_blocks = down_levels(
            widths, layers, self._attentions(config.down_block_types), resnet=resnet, padding=config.downsample_padding
        )
        self.up_blocks = nn.ModuleList()  # registered before the middle, made after it
        self.mid_block = self._middle(resnet) if config.mid_block_type is not None else None
        self.up_blocks.extend(up_levels(widths, layers, self._attentions(config.up_block_types[::-1]), resnet=resnet))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.act = activation("silu")
        self.conv_out = Convolution(widths[0], config.out_channels, 3, padding=1)

    def _middle(self, resnet: dict[str, Any]) -> MidBlock:
        config = self.config
        return MidBlock(
            config.block_out_channels[-1],
            resnet={**resnet, "output_scale_factor": config.mid_block_scale_factor},
            attention=self._attention(config.mid_block_scale_factor) if config.middle_attends else None,
        )

    def _attentions(self, block_types: Sequence[str]) -> list[AttentionMaker | None]:
        return [self._attention() if kind.startswith("Attn") else None for kind in block_types]

    def _attention(self, output_scale_factor: float = 1.0) -> AttentionMaker:
        config = self.config
        return lambda channels, _: SpatialAttention(
            channels,
            channels // (config.attention_head_dim or channels),
            groups=config.norm_num_groups,
            eps=config.norm_eps,
            output_scale_factor=output_scale_factor,
        )

    def forward(
        self, sample: Tensor, timestep: Tensor | float, class_labels: None = None, return_dict: bool = True
    ) -> Any:
        """One evaluation.

        Args:
            sample: (B, in_channels, H, W), any H and W.
            timestep: one number for all, or (B,); may be fractional.
            class_labels: not served, so None.
            return_dict: a UNetOutput, else a tuple of its `sample`.
        """
        refuse("UNet2DModel", {"class_labels": class_labels})
        config = self.config
        x = 2 * sample - 1.0 if config.center_input_sample else sample
        timesteps = torch.as_tensor(timestep, device=x.device).reshape(-1).expand(len(x))
        sinusoid = timestep_embedding(
            timesteps,
            config.block_out_channels[0],
            flip_sin_to_cos=bool(config.flip_sin_to_cos),
            freq_shift=config.freq_shift,
        )
        temb = self.time_embedding(sinusoid.to(x.dtype))
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, states = block(x, temb)
            skips += states
        if self.mid_block is not None:
            x = self.mid_block(x, temb)
        for block in self.up_blocks:
            x = block(x, temb, None, skips)
        out = self.conv_out(self.act(self.conv_norm_out(x), inplace=free()))
        return UNetOutput(out) if return_dict else (out,)

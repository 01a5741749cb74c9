"""The conditional U-Net of Stable Diffusion 1.x, 2.x, SDXL, its refiner, and guidance-distilled (LCM) variants.

Latent diffusion, arXiv:2112.10752; SDXL's conditions, arXiv:2307.01952; guidance embedding, arXiv:2310.04378.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from components.model_config import UNet2DConditionConfig
from components.outputs import Output
from components.torch_models.base import Model
from components.torch_models.blocks import AttentionMaker, MidBlock, down_levels, up_levels
from components.torch_models.layers import (
    Context,
    TimestepEmbedding,
    Transformer,
    activation,
    as_many,
    timestep_embedding,
)
from components.torch_models.old_names import refuse
from components.torch_models.operations import Convolution, free


@dataclass
class UNetOutput(Output):
    sample: Tensor


class UNet2DConditionModel(Model):
    """What the network says (eps, v or x0) of latents at a timestep, given the hidden states of a prompt."""

    config_class = UNet2DConditionConfig
    config: UNet2DConditionConfig

    def __init__(self, given: UNet2DConditionConfig | None = None, /, **options: Any) -> None:
        super().__init__(given, **options)
        config = self.config
        widths = config.block_out_channels
        time_channels = config.time_embedding_dim or 4 * widths[0]
        self.conv_in = Convolution(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], time_channels, config.act_fn, config.time_cond_proj_dim)
        if config.projection_class_embeddings_input_dim and config.addition_embed_type == "text_time":
            self.add_embedding = TimestepEmbedding(config.projection_class_embeddings_input_dim, time_channels)
        resnet: dict[str, Any] = {
            "time_channels": time_channels,
            "groups": config.norm_num_groups,
            "eps": config.norm_eps,
            "act_fn": config.act_fn,
            "dropout": config.dropout,
            "scale_shift": config.resnet_time_scale_shift == "scale_shift",
        }
        layers = config.per_block("layers_per_block")
        self.down_blocks = down_levels(
            widths,
            layers,
            self._attentions(config.down_block_types, config.depths.down),
            resnet=resnet,
            padding=config.downsample_padding,
        )
        self.up_blocks = nn.ModuleList()  # registered before the middle, made after it
        self.mid_block = self._middle(resnet) if config.mid_block_type is not None else None
        self.up_blocks.extend(
            up_levels(widths, layers, self._attentions(config.up_block_types[::-1], config.depths.up), resnet=resnet)
        )
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.act = activation(config.act_fn)
        self.conv_out = Convolution(widths[0], config.out_channels, 3, padding=1)

    def _middle(self, resnet: dict[str, Any]) -> MidBlock:
        config = self.config
        deepest = len(config.block_out_channels) - 1
        return MidBlock(
            config.block_out_channels[deepest],
            resnet={**resnet, "output_scale_factor": config.mid_block_scale_factor},
            attention=self._attention(deepest, [config.depths.middle]) if config.middle_attends else None,
            layers=2 if config.middle_attends else 1,
        )

    def _attentions(self, block_types: Sequence[str], depths: Sequence[Sequence[int]]) -> list[AttentionMaker | None]:
        """What attends at each level, given the levels' block types and how deep each of their attentions is."""
        return [
            self._attention(level, depths[level]) if kind.startswith("CrossAttn") else None
            for level, kind in enumerate(block_types)
        ]

    def _attention(self, level: int, depths: Sequence[int]) -> AttentionMaker:
        config = self.config
        return lambda channels, i: Transformer(
            channels,
            config.per_block("attention_head_dim")[level],
            config.per_block("cross_attention_dim")[level],
            layers=depths[i],
            groups=config.norm_num_groups,
            linear_projection=bool(config.use_linear_projection),
            dropout=config.dropout,
        )

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor | Context,
        class_labels: None = None,
        timestep_cond: Tensor | None = None,
        attention_mask: None = None,
        cross_attention_kwargs: None = None,
        added_cond_kwargs: Mapping[str, Tensor] | None = None,
        down_block_additional_residuals: None = None,
        mid_block_additional_residual: None = None,
        down_intrablock_additional_residuals: None = None,
        encoder_attention_mask: None = None,
        return_dict: bool = True,
    ) -> Any:
        """One evaluation of B latents under kB conditions: row b of the latents under rows b, B + b, 2B + b… of them.

        With guidance k is 2, and layers that no condition has reached yet work once for both. The result has kB rows.

        Args:
            sample: latents (B, in_channels, h, w), any h and w.
            timestep: one number for all, or (B,); may be fractional.
            encoder_hidden_states: (kB, L, cross_attention_dim); as a Context where many evaluations share them.
            timestep_cond: (B, time_cond_proj_dim) embedding of the guidance scale, for guidance-distilled networks.
            added_cond_kwargs: `text_embeds` (kB, D) and `time_ids` (kB, n), for networks with text_time conditioning.
            return_dict: a UNetOutput, else a tuple of its `sample`. Arguments that are not named here must be None.

        Raises:
            ValueError: a condition the configuration asks for is missing, one it has no place for is given, or their
                rows are no multiple of the latents'.
        """
        not_served = {
            "class_labels": class_labels,
            "attention_mask": attention_mask,
            "cross_attention_kwargs": cross_attention_kwargs,
            "down_block_additional_residuals": down_block_additional_residuals,
            "mid_block_additional_residual": mid_block_additional_residual,
            "down_intrablock_additional_residuals": down_intrablock_additional_residuals,
            "encoder_attention_mask": encoder_attention_mask,
        }
        refuse("UNet2DConditionModel", not_served)
        if len(encoder_hidden_states) % len(sample):
            raise ValueError(
                f"UNet2DConditionModel: {len(encoder_hidden_states)} rows of encoder_hidden_states are no multiple of "
                f"the {len(sample)} rows of sample."
            )
        x = 2 * sample - 1.0 if self.config.center_input_sample else sample
        if timestep_cond is not None and self.time_embedding.cond_proj is None:
            raise ValueError("UNet2DConditionModel: timestep_cond is given, but time_cond_proj_dim is null.")
        timesteps = torch.as_tensor(timestep, device=x.device).reshape(-1).expand(len(x))
        temb = self.time_embedding(self._sinusoid(timesteps, self.config.block_out_channels[0], x), timestep_cond)
        if self.config.addition_embed_type == "text_time":
            further = self._text_time(added_cond_kwargs or {}, temb)
            temb = as_many(temb, further) + further
        x = as_many(self.conv_in(x), temb)
        skips = [x]
        for block in self.down_blocks:
            x, states = block(x, temb, encoder_hidden_states)
            skips += states
        if self.mid_block is not None:
            x = self.mid_block(x, temb, encoder_hidden_states)
        for block in self.up_blocks:
            x = block(x, temb, encoder_hidden_states, skips)
        x = as_many(x, encoder_hidden_states)  # of a network that nowhere looks at them
        out = self.conv_out(self.act(self.conv_norm_out(x), inplace=free()))
        return UNetOutput(out) if return_dict else (out,)

    def _sinusoid(self, timesteps: Tensor, dim: int, like: Tensor) -> Tensor:
        config = self.config
        sinusoid = timestep_embedding(
            timesteps, dim, flip_sin_to_cos=bool(config.flip_sin_to_cos), freq_shift=config.freq_shift
        )
        return sinusoid.to(like.dtype)

    def _text_time(self, conditions: Mapping[str, Tensor], temb: Tensor) -> Tensor:
        """SDXL's micro-conditioning: pooled text beside the sinusoids of sizes and crops."""
        for name in ("text_embeds", "time_ids"):
            if name not in conditions:
                raise ValueError(
                    f"UNet2DConditionModel: addition_embed_type='text_time' needs {name!r} in added_cond_kwargs."
                )
        time_ids, text = conditions["time_ids"], conditions["text_embeds"]
        ids = self._sinusoid(time_ids.flatten(), self.config.addition_time_embed_dim or 0, temb)
        return self.add_embedding(torch.cat([text.to(temb.dtype), ids.reshape(len(text), -1)], dim=-1))

"""The conditional U-Net of Stable Diffusion 1.x, 2.x, SDXL, its refiner, and guidance-distilled (LCM) variants.

Latent diffusion, arXiv:2112.10752; SDXL's conditions, arXiv:2307.01952; guidance embedding, arXiv:2310.04378. The twin
of torch_models/unet_2d_condition.py: images are (B, C, H, W) at the door, (B, H, W, C) inside.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import struct
from jax import Array

from components.jax_models.base import Model, channels_first, channels_last
from components.jax_models.blocks import AttentionMaker, MidBlock, down_levels, up_levels
from components.jax_models.layers import TimestepEmbedding, Transformer, activation, timestep_embedding
from components.jax_models.primitives import Conv, GroupNorm
from components.model_config import UNet2DConditionConfig


@struct.dataclass
class UNetOutput:
    sample: Array


class UNet2DConditionModel(Model):
    """What the network says (eps, v or x0) of latents at a timestep, given the hidden states of a prompt."""

    config_class = UNet2DConditionConfig
    config: UNet2DConditionConfig

    def __init__(self, given: UNet2DConditionConfig | None = None, /, **options: Any) -> None:
        super().__init__(given, **options)
        config = self.config
        widths = config.block_out_channels
        time_channels = config.time_embedding_dim or 4 * widths[0]
        self.conv_in = Conv(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], time_channels, config.act_fn, config.time_cond_proj_dim)
        if config.projection_class_embeddings_input_dim and config.addition_embed_type == "text_time":
            self.add_embedding = TimestepEmbedding(config.projection_class_embeddings_input_dim, time_channels)
        resnet: dict[str, Any] = {
            "time_channels": time_channels,
            "groups": config.norm_num_groups,
            "eps": config.norm_eps,
            "act_fn": config.act_fn,
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
        self.mid_block = self._middle(resnet) if config.mid_block_type is not None else None
        self.up_blocks = up_levels(
            widths, layers, self._attentions(config.up_block_types[::-1], config.depths.up), resnet=resnet
        )
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.act = activation(config.act_fn)
        self.conv_out = Conv(widths[0], config.out_channels, 3, padding=1)

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
        )

    def __call__(
        self,
        sample: Array,
        timestep: Array | float,
        encoder_hidden_states: Array,
        timestep_cond: Array | None = None,
        added_cond_kwargs: Mapping[str, Array] | None = None,
    ) -> UNetOutput:
        """One evaluation.

        Args:
            sample: latents (B, in_channels, h, w), any h and w.
            timestep: one number for all, or (B,); may be fractional.
            encoder_hidden_states: (B, L, cross_attention_dim).
            timestep_cond: (B, time_cond_proj_dim) embedding of the guidance scale, for guidance-distilled networks.
            added_cond_kwargs: `text_embeds` (B, D) and `time_ids` (B, n), for networks with text_time conditioning.

        Raises:
            ValueError: a condition the configuration asks for is missing, or one it has no place for is given.
        """
        x = channels_last(2 * sample - 1.0 if self.config.center_input_sample else sample)
        if timestep_cond is not None and self.time_embedding.cond_proj is None:
            raise ValueError("UNet2DConditionModel: timestep_cond is given, but time_cond_proj_dim is null.")
        timesteps = jnp.broadcast_to(jnp.asarray(timestep).reshape(-1), (len(x),))
        temb = self.time_embedding(self._sinusoid(timesteps, self.config.block_out_channels[0], x), timestep_cond)
        if self.config.addition_embed_type == "text_time":
            temb = temb + self._text_time(added_cond_kwargs or {}, temb)
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, states = block(x, temb, encoder_hidden_states)
            skips += states
        if self.mid_block is not None:
            x = self.mid_block(x, temb, encoder_hidden_states)
        for block in self.up_blocks:
            x = block(x, temb, encoder_hidden_states, skips)
        return UNetOutput(channels_first(self.conv_out(self.act(self.conv_norm_out(x)))))

    def _sinusoid(self, timesteps: Array, dim: int, like: Array) -> Array:
        config = self.config
        sinusoid = timestep_embedding(
            timesteps, dim, flip_sin_to_cos=bool(config.flip_sin_to_cos), freq_shift=config.freq_shift
        )
        return sinusoid.astype(like.dtype)

    def _text_time(self, conditions: Mapping[str, Array], temb: Array) -> Array:
        """SDXL's micro-conditioning: pooled text beside the sinusoids of sizes and crops."""
        for name in ("text_embeds", "time_ids"):
            if name not in conditions:
                raise ValueError(
                    f"UNet2DConditionModel: addition_embed_type='text_time' needs {name!r} in added_cond_kwargs."
                )
        time_ids, text = conditions["time_ids"], conditions["text_embeds"]
        ids = self._sinusoid(time_ids.reshape(-1), self.config.addition_time_embed_dim or 0, temb)
        return self.add_embedding(jnp.concatenate([text.astype(temb.dtype), ids.reshape(len(text), -1)], axis=-1))

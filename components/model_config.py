"""Configurations of the networks: what a checkpoint's `config.json` says, checked, as frozen values.

Shared by the torch and the JAX models and by planning, so nothing here imports either. This module knows names,
defaults and allowed values; it builds no network and reads no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from components.config_values import DEEPEST, ModelConfig, only, within

SCALING_FACTOR = 0.18215  # of Stable Diffusion's first autoencoder


@dataclass(frozen=True, kw_only=True)
class AutoencoderKLConfig(ModelConfig):
    """Options of `AutoencoderKL`. Defaults are those the checkpoint format assumes for absent keys.

    A null `scaling_factor` is the default: no network reads it, and what does cannot do without.
    """

    described: ClassVar[str] = "AutoencoderKL"

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = within(1, 1, DEEPEST)
    act_fn: str = "silu"
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int | tuple[int, int] = 32
    scaling_factor: float | None = SCALING_FACTOR
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None
    force_upcast: bool | None = True
    use_quant_conv: bool | None = True
    use_post_quant_conv: bool | None = True
    mid_block_add_attention: bool | None = True

    def check(self) -> None:
        self.check_blocks(("DownEncoderBlock2D",), ("UpDecoderBlock2D",))
        self.check_activation()
        self.check_groups(*self.block_out_channels)
        self.check_nonzero("scaling_factor")

    @property
    def scale(self) -> int:
        """Pixels per latent, along each side."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def latent_scale(self) -> float:
        """What latents are multiplied by for the U-Net."""
        return SCALING_FACTOR if self.scaling_factor is None else self.scaling_factor

    @property
    def tile_size(self) -> int:
        """Pixels along a side that the network was trained on, the first of two."""
        return self.sample_size[0] if isinstance(self.sample_size, tuple) else self.sample_size


class Depths(NamedTuple):
    """Transformer blocks of every attention over the text: level by level, those of its first resnet first."""

    down: tuple[tuple[int, ...], ...]
    middle: int
    up: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class UNet2DConditionConfig(ModelConfig):
    """Options of `UNet2DConditionModel`. Defaults are those the checkpoint format assumes for absent keys.

    `attention_head_dim` is, by a historic misnomer of the format, the *number* of heads (per block, if several).
    `mid_block_type` null is no middle at all. `resnet_skip_time_act`, `resnet_out_scale_factor` and
    `addition_embed_type_num_heads` are read by kinds of blocks and embeddings that are not here.
    """

    described: ClassVar[str] = "UNet2DConditionModel"

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 4
    out_channels: int = 4
    center_input_sample: bool | None = False
    flip_sin_to_cos: bool | None = True
    freq_shift: float = 0
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    mid_block_type: str | None = only("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None)
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    only_cross_attention: bool | tuple[bool, ...] = False
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int | tuple[int, ...] = within(2, 1, DEEPEST)
    downsample_padding: int = only(1, 0)
    mid_block_scale_factor: float = 1
    dropout: float = within(0.0, 0, 1)
    act_fn: str = "silu"
    norm_num_groups: int = 32
    norm_eps: float = within(1e-5, 0)
    cross_attention_dim: int | tuple[int, ...] = 1280
    transformer_layers_per_block: int | tuple[int | tuple[int, ...], ...] = within(1, 0, DEEPEST)
    reverse_transformer_layers_per_block: tuple[int | tuple[int, ...], ...] | None = within(None, 0, DEEPEST)
    encoder_hid_dim: None = only(None)
    encoder_hid_dim_type: None = only(None)
    attention_head_dim: int | tuple[int, ...] = 8
    num_attention_heads: None = only(None)
    dual_cross_attention: bool | None = only(False, None)
    use_linear_projection: bool | None = False
    class_embed_type: None = only(None)
    addition_embed_type: str | None = only(None, "text_time")
    addition_time_embed_dim: int | None = None
    num_class_embeds: None = only(None)
    upcast_attention: bool | None = False
    resnet_time_scale_shift: str = only("default", "scale_shift")
    resnet_skip_time_act: bool | None = False
    resnet_out_scale_factor: float | None = 1.0
    time_embedding_type: str = only("positional")
    time_embedding_dim: int | None = None
    time_embedding_act_fn: None = only(None)
    timestep_post_act: None = only(None)
    time_cond_proj_dim: int | None = None
    conv_in_kernel: int = only(3)
    conv_out_kernel: int = only(3)
    projection_class_embeddings_input_dim: int | None = None
    attention_type: str | None = only("default", None)
    class_embeddings_concat: bool | None = only(False, None)
    mid_block_only_cross_attention: bool | None = only(None, False)
    cross_attention_norm: None = only(None)
    addition_embed_type_num_heads: int | None = 64

    def check(self) -> None:
        self.check_blocks(
            ("CrossAttnDownBlock2D", "DownBlock2D"),
            ("CrossAttnUpBlock2D", "UpBlock2D"),
            "only_cross_attention",
            "layers_per_block",
            "cross_attention_dim",
            "transformer_layers_per_block",
            "reverse_transformer_layers_per_block",
            "attention_head_dim",
        )
        if self.only_cross_attention not in (False, (False,) * len(self.block_out_channels)):
            self.refuse("only_cross_attention", (False,))
        self.check_activation()
        self.check_nonzero("mid_block_scale_factor")
        self.check_groups(*self.block_out_channels)
        heads = self.per_block("attention_head_dim")
        for level, width in enumerate(self.block_out_channels):
            if attends(self, level) and width % heads[level]:
                self.refuse("attention_head_dim", f"numbers of heads that divide the widths {self.block_out_channels}")
        if self.addition_embed_type == "text_time":
            for name in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
                if self[name] is None:
                    self.refuse(name, "a number, because addition_embed_type is 'text_time'")
        self._check_depths()

    def _check_depths(self) -> None:
        down, up = "transformer_layers_per_block", "reverse_transformer_layers_per_block"
        if self[up] is None and any(isinstance(entry, tuple) for entry in self.per_block(down)):
            self.refuse(up, f"a list, because {down} has lists in it, which say nothing of the way up")
        if () in (*self.per_block(down), *(self[up] or ())):
            self.refuse(down if () in self.per_block(down) else up, "lists that are not empty")
        wanted = self.per_block("layers_per_block")
        for name, kinds, found, extra in (
            (down, self.down_block_types, self.depths.down, 0),
            (up, self.up_block_types[::-1], self.depths.up, 1),
        ):
            for level, kind in enumerate(kinds):
                if kind.startswith("CrossAttn") and len(found[level]) < wanted[level] + extra:
                    self.refuse(name, f"{wanted[level] + extra} numbers where a block of that many layers has a list")

    @property
    def middle_attends(self) -> bool:
        return self.mid_block_type == "UNetMidBlock2DCrossAttn"

    def per_block(self, name: str) -> tuple[Any, ...]:
        """An option given once or per block, as one entry per block."""
        value = self[name]
        return value if isinstance(value, tuple) else (value,) * len(self.block_out_channels)

    @property
    def depths(self) -> Depths:
        """How deep each attention over the text is, by `transformer_layers_per_block` and its reverse.

        The latter is listed from the deepest level upwards. The middle is as deep as the deepest level's first.
        """
        down = self.per_block("transformer_layers_per_block")
        up = (
            down
            if self.reverse_transformer_layers_per_block is None
            else self.reverse_transformer_layers_per_block[::-1]
        )
        layers = self.per_block("layers_per_block")
        levels = [_repeated(depth, n) for depth, n in zip(down, layers, strict=True)]
        return Depths(
            tuple(levels), levels[-1][0], tuple(_repeated(depth, n + 1) for depth, n in zip(up, layers, strict=True))
        )


def _repeated(depth: int | tuple[int, ...], times: int) -> tuple[int, ...]:
    return depth[:times] if isinstance(depth, tuple) else (depth,) * times


@dataclass(frozen=True, kw_only=True)
class UNet2DConfig(ModelConfig):
    """Options of `UNet2DModel`. Defaults are those the checkpoint format assumes for absent keys.

    `attention_head_dim` is here what it says, the width of a head; null is one head over all channels. Null is no
    middle at all for `mid_block_type`, and a convolution for `downsample_type` and `upsample_type`.
    """

    described: ClassVar[str] = "UNet2DModel"

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool | None = False
    time_embedding_type: str = only("positional")
    time_embedding_dim: int | None = None
    freq_shift: float = 0
    flip_sin_to_cos: bool | None = True
    down_block_types: tuple[str, ...] = ("DownBlock2D",) + ("AttnDownBlock2D",) * 3
    mid_block_type: str | None = only("UNetMidBlock2D", None)
    up_block_types: tuple[str, ...] = ("AttnUpBlock2D",) * 3 + ("UpBlock2D",)
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = within(2, 1, DEEPEST)
    mid_block_scale_factor: float = 1
    downsample_padding: int = only(1, 0)
    downsample_type: str | None = only("conv", None)
    upsample_type: str | None = only("conv", None)
    dropout: float = within(0.0, 0, 1)
    act_fn: str = "silu"
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
    attn_norm_num_groups: None = only(None)
    norm_eps: float = within(1e-5, 0)
    resnet_time_scale_shift: str = only("default")
    add_attention: bool | None = True
    class_embed_type: None = only(None)
    num_class_embeds: None = only(None)
    num_train_timesteps: int | None = None

    def check(self) -> None:
        self.check_blocks(("AttnDownBlock2D", "DownBlock2D"), ("AttnUpBlock2D", "UpBlock2D"))
        self.check_activation()
        self.check_nonzero("mid_block_scale_factor")
        self.check_groups(*self.block_out_channels)
        for level, width in enumerate(self.block_out_channels):
            if attends(self, level) and width % (self.attention_head_dim or width):
                self.refuse("attention_head_dim", f"a divisor of the widths {list(self.block_out_channels)}")

    @property
    def middle_attends(self) -> bool:
        return self.mid_block_type is not None and bool(self.add_attention)


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig(ModelConfig):
    """Options of CLIP's text encoders. Defaults are those transformers assumes for absent keys."""

    described: ClassVar[str] = "CLIPTextModel"

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = within(12, 1, DEEPEST)
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = within(1e-5, 0)
    eos_token_id: int = within(49407, 0)
    use_attention_mask: bool | None = False

    def check(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            self.refuse("num_attention_heads", f"a number that divides hidden_size={self.hidden_size}")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """From a `config.json` of transformers, which holds much that no encoder reads: kept without a word."""
        known = {name: value for name, value in config.items() if name in cls.option_names()}
        return cls(**known, extra={name: value for name, value in config.items() if name not in known})


def attends(config: UNet2DConditionConfig | UNet2DConfig, level: int) -> bool:
    """Whether anything at this level of a U-Net, 0 at the top, attends: on the way down, up, or in the middle."""
    middle = config.middle_attends and level + 1 == len(config.block_out_channels)
    return middle or "Attn" in config.down_block_types[level] + config.up_block_types[-1 - level]

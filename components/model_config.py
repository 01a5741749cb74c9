"""Configurations of the networks: what a checkpoint's `config.json` says, checked, as frozen values.

Shared by the torch and the JAX models and by planning, so nothing here imports either. This module knows names,
defaults and allowed values; it builds no network and reads no file.
"""

import logging
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Self, get_args, get_origin, get_type_hints

from components.errors import did_you_mean

logger = logging.getLogger(__name__)

ACTIVATIONS = ("silu", "swish", "mish", "gelu", "relu")


def only(*values: Any) -> Any:
    """A field that exists in the format but for which only `values` are implemented; the first is the default."""
    return field(default=values[0], metadata={"only": values})


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Mapping[str, Any]):
    """Base of the configurations: attribute and item access, immutable, `dict` in and out.

    `extra` keeps what a file holds besides the options (keys with a leading underscore, options of other libraries), so
    that saving a model again loses nothing.

    Raises:
        ValueError: an option has a value that is not implemented, or options contradict each other.
    """

    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))
        kinds = get_type_hints(type(self))
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, f.name, value)
            allowed = f.metadata.get("only")
            if allowed is not None and value not in allowed:
                self.refuse(f.name, allowed)
            if f.name != "extra" and not _fits(value, kinds[f.name]):
                self.refuse(f.name, str(f.type).replace("<class '", "").replace("'>", ""))
        self.check()

    def check(self) -> None:
        """Check options against each other. Overridden by the configurations."""

    def refuse(self, name: str, allowed: tuple[Any, ...] | str) -> None:
        """Raise the error for an option whose value is not supported."""
        expected = allowed if isinstance(allowed, str) else " or ".join(repr(v) for v in allowed)
        raise ValueError(
            f"{type(self).__name__}: {name}={getattr(self, name)!r} is not supported; expected {expected}."
        )

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls) if f.name != "extra")

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """From keyword arguments. An unknown name is a TypeError that suggests the nearest one."""
        for name in options:
            if name not in cls.option_names():
                hint = did_you_mean(name, cls.option_names()) or f" Options: {', '.join(cls.option_names())}."
                raise TypeError(f"{cls.__name__} has no option {name!r}.{hint}")
        return cls(**options)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """From the content of a `config.json`: unknown keys are kept in `extra`, with one warning that names them."""
        known = {k: v for k, v in config.items() if k in cls.option_names()}
        extra = {k: v for k, v in config.items() if k not in known}
        unknown = sorted(k for k in extra if not k.startswith("_"))
        if unknown:
            logger.warning("%s: ignored unknown configuration keys %s.", cls.__name__, ", ".join(unknown))
        return cls(**known, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Options and extra keys with JSON-ready values (tuples become lists)."""
        options = {name: getattr(self, name) for name in self.option_names()}
        return {k: _plain(v) for k, v in {**self.extra, **options}.items()}

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)

    def __getitem__(self, name: str, /) -> Any:
        return getattr(self, name) if name in self.option_names() else self.extra[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.option_names(), *self.extra))

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    def check_blocks(self, allowed_down: tuple[str, ...], allowed_up: tuple[str, ...], *per_block: str) -> None:
        """Block types are known ones, as many as there are widths; options given per block have as many entries."""
        levels = len(self["block_out_channels"])
        for name, allowed in (("down_block_types", allowed_down), ("up_block_types", allowed_up)):
            for block in self[name]:
                if block not in allowed:
                    raise ValueError(
                        f"{type(self).__name__}: {name} has {block!r}, which is not supported; "
                        f"expected {' or '.join(allowed)}."
                    )
        for name in ("down_block_types", "up_block_types", *per_block):
            value = self[name]
            if isinstance(value, tuple) and len(value) != levels:
                raise ValueError(
                    f"{type(self).__name__}: {name} has {len(value)} entries and block_out_channels {levels}; "
                    f"must provide the same number of each."
                )

    def check_activation(self) -> None:
        if str(self["act_fn"]).lower() not in ACTIVATIONS:
            self.refuse("act_fn", ACTIVATIONS)

    def check_groups(self, *widths: int) -> None:
        for width in widths:
            if width % self["norm_num_groups"]:
                raise ValueError(
                    f"{type(self).__name__}: norm_num_groups={self['norm_num_groups']} does not divide "
                    f"a width of {width} channels (block_out_channels={list(self['block_out_channels'])})."
                )


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type: a class, None, a union of types, or a tuple of types."""
    if get_origin(kind) is types.UnionType:
        return any(_fits(value, option) for option in get_args(kind))
    if get_origin(kind) is tuple:
        inner = [a for a in get_args(kind) if a is not Ellipsis]
        return isinstance(value, tuple) and all(any(_fits(v, i) for i in inner) for v in value)
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if kind is float else kind)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


@dataclass(frozen=True, kw_only=True)
class AutoencoderKLConfig(ModelConfig):
    """Options of `AutoencoderKL`. Defaults are those the checkpoint format assumes for absent keys."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    act_fn: str = "silu"
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None
    force_upcast: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    def check(self) -> None:
        self.check_blocks(("DownEncoderBlock2D",), ("UpDecoderBlock2D",))
        self.check_activation()
        self.check_groups(*self.block_out_channels)

    @property
    def scale(self) -> int:
        """Pixels per latent, along each side."""
        return 2 ** (len(self.block_out_channels) - 1)


@dataclass(frozen=True, kw_only=True)
class UNet2DConditionConfig(ModelConfig):
    """Options of `UNet2DConditionModel`. Defaults are those the checkpoint format assumes for absent keys.

    `attention_head_dim` is, by a historic misnomer of the format, the *number* of heads (per block, if several).
    """

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 4
    out_channels: int = 4
    center_input_sample: bool = False
    flip_sin_to_cos: bool = True
    freq_shift: float = 0
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    mid_block_type: str = only("UNetMidBlock2DCrossAttn")
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    only_cross_attention: bool = only(False)
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int | tuple[int, ...] = 2
    downsample_padding: int = 1
    mid_block_scale_factor: float = 1
    dropout: float = 0.0
    act_fn: str = "silu"
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: int | tuple[int, ...] = 1280
    transformer_layers_per_block: int | tuple[int, ...] = 1
    reverse_transformer_layers_per_block: None = only(None)
    encoder_hid_dim: None = only(None)
    encoder_hid_dim_type: None = only(None)
    attention_head_dim: int | tuple[int, ...] = 8
    num_attention_heads: None = only(None)
    dual_cross_attention: bool = only(False)
    use_linear_projection: bool = False
    class_embed_type: None = only(None)
    addition_embed_type: str | None = only(None, "text_time")
    addition_time_embed_dim: int | None = None
    num_class_embeds: None = only(None)
    upcast_attention: bool = False
    resnet_time_scale_shift: str = only("default", "scale_shift")
    resnet_skip_time_act: bool = only(False)
    resnet_out_scale_factor: float = only(1.0)
    time_embedding_type: str = only("positional")
    time_embedding_dim: int | None = None
    time_embedding_act_fn: None = only(None)
    timestep_post_act: None = only(None)
    time_cond_proj_dim: int | None = None
    conv_in_kernel: int = only(3)
    conv_out_kernel: int = only(3)
    projection_class_embeddings_input_dim: int | None = None
    attention_type: str = only("default")
    class_embeddings_concat: bool = only(False)
    mid_block_only_cross_attention: bool | None = only(None, False)
    cross_attention_norm: None = only(None)
    addition_embed_type_num_heads: int = 64

    def check(self) -> None:
        self.check_blocks(
            ("CrossAttnDownBlock2D", "DownBlock2D"),
            ("CrossAttnUpBlock2D", "UpBlock2D"),
            "layers_per_block",
            "cross_attention_dim",
            "transformer_layers_per_block",
            "attention_head_dim",
        )
        self.check_activation()
        self.check_groups(*self.block_out_channels)
        for width, heads in zip(self.block_out_channels, self.per_block("attention_head_dim"), strict=True):
            if width % heads:
                self.refuse("attention_head_dim", f"numbers of heads that divide the widths {self.block_out_channels}")
        if self.addition_embed_type == "text_time":
            for name in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
                if self[name] is None:
                    self.refuse(name, "a number, because addition_embed_type is 'text_time'")

    def per_block(self, name: str) -> tuple[Any, ...]:
        """An option given once or per block, as one entry per block."""
        value = self[name]
        return value if isinstance(value, tuple) else (value,) * len(self.block_out_channels)


@dataclass(frozen=True, kw_only=True)
class UNet2DConfig(ModelConfig):
    """Options of `UNet2DModel`. Defaults are those the checkpoint format assumes for absent keys.

    `attention_head_dim` is here what it says, the width of a head; null is one head over all channels.
    """

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool = False
    time_embedding_type: str = only("positional")
    time_embedding_dim: int | None = None
    freq_shift: float = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[str, ...] = ("DownBlock2D",) + ("AttnDownBlock2D",) * 3
    mid_block_type: str | None = only("UNetMidBlock2D")
    up_block_types: tuple[str, ...] = ("AttnUpBlock2D",) * 3 + ("UpBlock2D",)
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    mid_block_scale_factor: float = 1
    downsample_padding: int = 1
    downsample_type: str = only("conv")
    upsample_type: str = only("conv")
    dropout: float = 0.0
    act_fn: str = "silu"
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
    attn_norm_num_groups: None = only(None)
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = only("default")
    add_attention: bool = True
    class_embed_type: None = only(None)
    num_class_embeds: None = only(None)
    num_train_timesteps: int | None = None

    def check(self) -> None:
        self.check_blocks(("AttnDownBlock2D", "DownBlock2D"), ("AttnUpBlock2D", "UpBlock2D"))
        self.check_activation()
        self.check_groups(*self.block_out_channels)
        for width in self.block_out_channels:
            if self.attention_head_dim is not None and width % self.attention_head_dim:
                self.refuse("attention_head_dim", f"a divisor of the widths {list(self.block_out_channels)}")

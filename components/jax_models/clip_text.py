"""The text encoders of CLIP, with and without the projection: token ids to hidden states and pooled embeddings.

Radford et al. 2021, arXiv:2103.00020. On the torch side this is transformers' own class, which has no JAX twin any
more; weights and configurations are the ones it saves.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jax import Array
from jax.typing import DTypeLike

from components.clip_files import prefixed_as, text_encoder_problem
from components.component_files import ComponentFiles
from components.errors import CheckpointError
from components.jax_models.base import Model
from components.jax_models.layers import exact_gelu
from components.jax_models.loading import Device, load_state
from components.jax_models.primitives import Embed, LayerNorm, Linear
from components.model_config import TextEncoderConfig


def quick_gelu(x: Array) -> Array:
    """x · sigmoid(1.702 x), the approximation the first CLIP models were trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


@dataclass(frozen=True, kw_only=True)
class CLIPTextConfig(TextEncoderConfig):
    """Options of the text encoders, with the activations that are here."""

    def check(self) -> None:
        super().check()
        if self.hidden_act not in ACTIVATIONS:
            self.refuse("hidden_act", tuple(ACTIVATIONS))


@struct.dataclass
class TextOutput:
    """last_hidden_state (B, L, D) and pooled (B, D) are after the final norm; `hidden_states`, one before the first
    layer and one after each, are before it. text_embeds (B, P): only with a projection."""

    last_hidden_state: Array
    hidden_states: tuple[Array, ...]
    pooled: Array
    text_embeds: Array | None = None


class SelfAttention(nnx.Module):
    """Multi-head attention of each token over itself and those before it."""

    def __init__(self, config: CLIPTextConfig) -> None:
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.q_proj = Linear(width, width)
        self.out_proj = Linear(width, width)

    def __call__(self, x: Array, mask: Array | None) -> Array:
        q, k, v = (layer(x).reshape(*x.shape[:2], self.heads, -1) for layer in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=True).reshape(x.shape))


class Perceptron(nnx.Module):
    def __init__(self, config: CLIPTextConfig) -> None:
        self.act = ACTIVATIONS[config.hidden_act]
        self.fc1 = Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = Linear(config.intermediate_size, config.hidden_size)

    def __call__(self, x: Array) -> Array:
        return self.fc2(self.act(self.fc1(x)))


class EncoderLayer(nnx.Module):
    """Self-attention and a perceptron; each after a norm and added to its input."""

    def __init__(self, config: CLIPTextConfig) -> None:
        self.self_attn = SelfAttention(config)
        self.layer_norm1 = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = Perceptron(config)
        self.layer_norm2 = LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, x: Array, mask: Array | None) -> Array:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nnx.Module):
    """A token's own vector plus that of its position."""

    def __init__(self, config: CLIPTextConfig) -> None:
        self.token_embedding = Embed(config.vocab_size, config.hidden_size)
        self.position_embedding = Embed(config.max_position_embeddings, config.hidden_size)

    def __call__(self, ids: Array) -> Array:
        return self.token_embedding(ids) + self.position_embedding(jnp.arange(ids.shape[1]))


class Encoder(nnx.Module):
    def __init__(self, config: CLIPTextConfig) -> None:
        self.layers = nnx.List(EncoderLayer(config) for _ in range(config.num_hidden_layers))


class TextTransformer(nnx.Module):
    """Embeddings, the layers, the final norm, and the state at the end of the text."""

    def __init__(self, config: CLIPTextConfig) -> None:
        self.eos_token_id = config.eos_token_id
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, ids: Array, mask: Array | None = None) -> TextOutput:
        attend = None if mask is None else mask.astype(bool)[:, None, None, :]
        states = [self.embeddings(ids)]
        for layer in self.encoder.layers:
            states.append(layer(states[-1], attend))
        last = self.final_layer_norm(states[-1])
        # Files from before the end token was recorded say 2 and mean the largest id there is.
        ends = ids if self.eos_token_id == 2 else ids == self.eos_token_id
        pooled = last[jnp.arange(len(ids)), ends.argmax(-1)]
        return TextOutput(last, tuple(states), pooled)


class CLIPTextModel(Model):
    """Hidden states of a text, for Stable Diffusion 1.x, 2.x and the first encoder of XL."""

    config_class = CLIPTextConfig
    config: CLIPTextConfig

    def __init__(self, given: CLIPTextConfig | None = None, /, **options: Any) -> None:
        super().__init__(given, **options)
        self.text_model = TextTransformer(self.config)

    def __call__(self, ids: Array, mask: Array | None = None) -> TextOutput:
        """Token ids (B, L), and a mask (B, L) of 1 and 0 for the few encoders whose configuration asks for one."""
        return self.text_model(ids, mask)


class CLIPTextModelWithProjection(CLIPTextModel):
    """The same with the pooled state projected to where CLIP compares texts with images (XL's second encoder)."""

    def __init__(self, given: CLIPTextConfig | None = None, /, **options: Any) -> None:
        super().__init__(given, **options)
        self.text_projection = Linear(self.config.hidden_size, self.config.projection_dim, bias=False)

    def __call__(self, ids: Array, mask: Array | None = None) -> TextOutput:
        output = self.text_model(ids, mask)
        return replace(output, text_embeds=self.text_projection(output.pooled))


def load_text_encoder(
    files: ComponentFiles, *, device: Device | None = None, dtype: DTypeLike | None = None
) -> CLIPTextModel:
    """A text encoder with its weights; files with and without the prefix `text_model.` fit. dtype None means float32.

    Raises:
        CheckpointError: another class, a configuration that is not supported, or weights that do not fit.
    """
    classes = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}
    if problem := text_encoder_problem(files):
        raise CheckpointError(f"{files.config_path}: {problem}.")
    try:
        model = classes[files.class_name](CLIPTextConfig.from_dict(files.config))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{files.config_path}: {error}") from None
    load_state(model, files, device=device, dtype=dtype, rename=prefixed_as)
    return model


def encode_clip(
    text_encoder: CLIPTextModel, ids: Array, clip_skip: int | None = None, mask: Array | None = None
) -> Array:
    """Hidden states (B, L, D) of token ids (B, L), after the final layer norm.

    Args:
        clip_skip: how many of the last layers to leave out; None or 0 leaves out none.

    Raises:
        ValueError: there are not that many layers to skip.
    """
    layers = text_encoder.config.num_hidden_layers
    if not 0 <= (clip_skip or 0) <= layers:
        raise ValueError(f"clip_skip={clip_skip} is not possible: the text encoder has {layers} layers.")
    states = text_encoder(ids, mask).hidden_states
    return text_encoder.text_model.final_layer_norm(states[-1 - (clip_skip or 0)])


def encode_clip_penultimate(
    text_encoder: CLIPTextModel, ids: Array, clip_skip: int | None = None
) -> tuple[Array, Array | None]:
    """Hidden states (B, L, D) before the last layer and its norm, as SDXL reads them, and the pooled projection (B, P).

    The latter is None for an encoder without projection. `clip_skip` leaves out that many layers more.

    Raises:
        ValueError: there are not that many layers to skip.
    """
    skip = clip_skip or 0
    layers = text_encoder.config.num_hidden_layers
    if not 0 <= skip < layers:
        raise ValueError(f"clip_skip={clip_skip} is not possible: the text encoder has {layers} layers.")
    output = text_encoder(ids)
    return output.hidden_states[-(skip + 2)], output.text_embeds

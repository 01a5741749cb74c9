"""CLIP text encoders and tokenizers: the classes of transformers, filled by our own file resolution and loading.

Loading uses neither transformers' search for files nor its network access. Prompts, chunks and weights of words are not
known here.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.clip_files import PREFIX, TEXT_ENCODERS, load_tokenizer, prefixed_as, text_encoder_problem
from components.component_files import ComponentFiles
from components.errors import CheckpointError
from components.model_config import TextEncoderConfig
from components.torch_models.loading import load_state
from components.torch_models.saving import save_weights

__all__ = [
    "TEXT_ENCODERS",
    "encode_clip",
    "encode_clip_penultimate",
    "load_text_encoder",
    "load_tokenizer",
    "save_text_encoder",
]


def load_text_encoder(
    files: ComponentFiles, *, device: str | torch.device = "cpu", dtype: torch.dtype | str | None = None
) -> Any:
    """A CLIPTextModel or CLIPTextModelWithProjection of transformers, in eval mode; dtype None means float32.

    Files with and without the prefix `text_model.` fit models of transformers versions with and without it.

    Raises:
        CheckpointError: another class, a configuration transformers refuses, or weights that do not fit.
    """
    import transformers

    if problem := text_encoder_problem(files):
        raise CheckpointError(f"{files.config_path}: {problem}.")
    try:
        TextEncoderConfig.from_dict(files.config)
        config = transformers.CLIPTextConfig.from_dict(dict(files.config))
        with torch.device("meta"):
            model = getattr(transformers, files.class_name)(config)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{files.config_path}: {error}") from None
    load_state(model, files, device=device, dtype=dtype, rename=prefixed_as)
    for module in model.modules():
        if isinstance(getattr(module, "position_ids", None), Tensor):  # a constant that no file has to hold
            module.position_ids = torch.arange(config.max_position_embeddings, device=device)[None]
    return model.eval()


def save_text_encoder(
    model: Any, folder: str | Path, *, variant: str | None = None, max_shard_size: int | str = "10GB"
) -> None:
    """Write `config.json` and safetensors under the names that every version of transformers reads.

    Raises:
        CheckpointError: `folder` is a file.
    """
    folder = Path(folder)
    if folder.is_file():
        raise CheckpointError(f"{folder} is a file; expected a folder to save to.")
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    state = model.state_dict()
    if type(model).__name__ == "CLIPTextModel":
        state = {PREFIX + name.removeprefix(PREFIX): tensor for name, tensor in state.items()}
    save_weights(folder, state, base="model", variant=variant, max_shard_size=max_shard_size)


def encode_clip(
    text_encoder: Any, input_ids: Tensor, clip_skip: int | None = None, attention_mask: Tensor | None = None
) -> Tensor:
    """Hidden states (B, L, D) of token ids (B, L), after the final layer norm.

    Args:
        clip_skip: how many of the last layers to leave out; None or 0 leaves out none.
        attention_mask: (B, L) of 1 and 0, for the few encoders whose configuration asks for one.

    Raises:
        ValueError: there are not that many layers to skip.
    """
    if clip_skip is None:
        return text_encoder(input_ids, attention_mask=attention_mask).last_hidden_state
    layers = text_encoder.config.num_hidden_layers
    if not 0 <= clip_skip <= layers:
        raise ValueError(f"clip_skip={clip_skip} is not possible: the text encoder has {layers} layers.")
    output = text_encoder(input_ids, attention_mask=attention_mask, output_hidden_states=True)
    inner = getattr(text_encoder, "text_model", text_encoder)
    return inner.final_layer_norm(output.hidden_states[-(clip_skip + 1)])


def encode_clip_penultimate(
    text_encoder: Any, input_ids: Tensor, clip_skip: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Hidden states (B, L, D) before the last layer and its norm, as SDXL reads them, and the pooled projection (B, P).

    The latter is None for an encoder without projection. `clip_skip` leaves out that many layers more.

    Raises:
        ValueError: there are not that many layers to skip.
    """
    skip = clip_skip or 0
    layers = text_encoder.config.num_hidden_layers
    if not 0 <= skip < layers:
        raise ValueError(f"clip_skip={clip_skip} is not possible: the text encoder has {layers} layers.")
    output = text_encoder(input_ids, output_hidden_states=True)
    return output.hidden_states[-(skip + 2)], getattr(output, "text_embeds", None)

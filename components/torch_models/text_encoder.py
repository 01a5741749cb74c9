"""CLIP text encoders and tokenizers: the classes of transformers, filled by our own file resolution and loading.

Loading uses neither transformers' search for files nor its network access. Prompts, chunks and weights of words are not
known here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from components.component_files import ComponentFiles
from components.errors import CheckpointError
from components.torch_models.loading import load_state

PREFIX = "text_model."
CLASSES = ("CLIPTextModel", "CLIPTextModelWithProjection")


def load_text_encoder(
    files: ComponentFiles, *, device: str | torch.device = "cpu", dtype: torch.dtype | str | None = None
) -> Any:
    """A CLIPTextModel or CLIPTextModelWithProjection of transformers, in eval mode; dtype None means float32.

    Files with and without the prefix `text_model.` fit models of transformers versions with and without it.

    Raises:
        CheckpointError: another class, a configuration transformers refuses, or weights that do not fit.
    """
    import transformers

    if files.class_name not in CLASSES:
        raise CheckpointError(
            f"{files.config_path}: text encoder {files.class_name!r}; expected {' or '.join(CLASSES)}."
        )
    try:
        config = transformers.CLIPTextConfig.from_dict(dict(files.config))
        with torch.device("meta"):
            model = getattr(transformers, files.class_name)(config)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{files.config_path}: {error}") from None
    expected = model.state_dict()
    load_state(model, files, device=device, dtype=dtype, rename=lambda name: _prefixed_as(name, expected))
    for module in model.modules():
        if isinstance(getattr(module, "position_ids", None), Tensor):  # a constant that no file has to hold
            module.position_ids = torch.arange(config.max_position_embeddings, device=device)[None]
    return model.eval()


def load_tokenizer(files: ComponentFiles) -> Any:
    """A CLIPTokenizer of transformers, from the files in the component's folder.

    Raises:
        CheckpointError: the files are damaged.
    """
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(files.folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise what they like
        raise CheckpointError(f"The tokenizer in {files.folder} cannot be read: {error}") from error


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


def _prefixed_as(name: str, expected: Mapping[str, Tensor]) -> str:
    """The name with or without the prefix, whichever the model has."""
    if name in expected:
        return name
    other = name.removeprefix(PREFIX) if name.startswith(PREFIX) else PREFIX + name
    return other if other in expected else name

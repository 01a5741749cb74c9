"""CLIP's text encoders in JAX give the hidden states and embeddings that those of transformers give, in float32."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

pytest.importorskip("jax", reason="the JAX models need jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX models need flax: pip install '.[jax]'")

from twin import call, relative_error

from components import CheckpointError, open_checkpoint
from components.jax_models.clip_text import CLIPTextConfig, encode_clip, load_text_encoder
from components.torch_models.text_encoder import encode_clip as torch_encode_clip

CONFIG: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 9,
    "projection_dim": 8,
    "bos_token_id": 0,
}
# The first encoder of Stable Diffusion: 2 stands for the largest id; the second of XL: the first id that ends a text.
FIRST = ("CLIPTextModel", CONFIG | {"eos_token_id": 2, "hidden_act": "quick_gelu"})
SECOND = ("CLIPTextModelWithProjection", CONFIG | {"eos_token_id": 58, "hidden_act": "gelu"})
IDS = torch.tensor([[5, 17, 3, 58, 59, 59, 59, 59, 59], [5, 8, 9, 30, 44, 2, 58, 59, 59]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 0, 0]])


def saved(kind: tuple[str, dict[str, Any]], folder: Path) -> Any:
    name, config = kind
    torch.manual_seed(0)
    reference = getattr(transformers, name)(transformers.CLIPTextConfig(**config)).eval()
    reference.save_pretrained(folder / "text_encoder")
    return reference


@torch.no_grad()
@pytest.mark.parametrize("kind", [FIRST, SECOND], ids=["first", "second"])
def test_states_and_embeddings_equal_transformers(kind: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    reference = saved(kind, tmp_path)
    model = load_text_encoder(open_checkpoint(tmp_path).component("text_encoder"))
    expected = reference(IDS, output_hidden_states=True)
    masked = reference(IDS, attention_mask=MASK).last_hidden_state
    found, found_masked, skipped = call(
        lambda encoder, ids, mask: (encoder(ids), encoder(ids, mask).last_hidden_state, encode_clip(encoder, ids, 2)),
        model,
        IDS,
        MASK,
    )
    assert relative_error(found.last_hidden_state, expected.last_hidden_state) <= 1e-5
    assert relative_error(found_masked, masked) <= 1e-5
    assert relative_error(skipped, torch_encode_clip(reference, IDS, 2)) <= 1e-5
    for ours, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert relative_error(ours, theirs) <= 1e-5
    if kind is SECOND:
        assert relative_error(found.text_embeds, expected.text_embeds) <= 1e-5
    else:
        assert relative_error(found.pooled, expected.pooler_output) <= 1e-5


@pytest.mark.parametrize("prefixed", [True, False])
def test_files_with_and_without_the_prefix_and_position_ids(prefixed: bool, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    reference = saved(FIRST, tmp_path)
    file = tmp_path / "text_encoder" / "model.safetensors"
    bare = {name.removeprefix("text_model."): tensor for name, tensor in load_file(file).items()}
    prefix = "text_model." if prefixed else ""
    save_file({prefix + n: t for n, t in bare.items()} | {f"{prefix}embeddings.position_ids": torch.arange(9)}, file)
    model = load_text_encoder(open_checkpoint(tmp_path).component("text_encoder"))
    expected = reference.state_dict()
    table = next(value for name, value in expected.items() if name.endswith("token_embedding.weight"))
    np.testing.assert_array_equal(model.text_model.embeddings.token_embedding.embedding[...], table)


def test_what_cannot_be_encoded_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hidden_act='tanh' is not supported; expected 'quick_gelu' or 'gelu'"):
        CLIPTextConfig.from_dict({"hidden_act": "tanh"})
    saved(FIRST, tmp_path)
    files = open_checkpoint(tmp_path).component("text_encoder")
    with pytest.raises(ValueError, match="clip_skip=4 is not possible: the text encoder has 3 layers"):
        encode_clip(load_text_encoder(files), IDS.numpy(), 4)
    config = tmp_path / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace("CLIPTextModel", "T5EncoderModel"))
    with pytest.raises(CheckpointError, match="T5EncoderModel"):
        load_text_encoder(open_checkpoint(tmp_path).component("text_encoder"))

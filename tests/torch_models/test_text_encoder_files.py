"""Text encoders read before their last layer as SDXL does, and saved under names that every reader knows."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_family import text_encoder
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from components.checkpoint import open_checkpoint
from components.torch_models.text_encoder import encode_clip_penultimate, load_text_encoder, save_text_encoder

IDS = torch.tensor([[512, 5, 9, 513, 513]])


@pytest.mark.parametrize("skip", [None, 0, 1, 2])
def test_hidden_states_before_the_last_layer(skip):
    model = text_encoder(16, projection=24).eval()
    with torch.no_grad():
        hidden, pooled = encode_clip_penultimate(model, IDS, skip)
        expected = model(IDS, output_hidden_states=True)
    assert torch.equal(hidden, expected.hidden_states[-2 - (skip or 0)])
    assert torch.equal(pooled, expected.text_embeds)


def test_no_projection_no_pooled_embedding():
    with torch.no_grad():
        assert encode_clip_penultimate(text_encoder(16).eval(), IDS)[1] is None


@pytest.mark.parametrize("skip", [-1, 3])
def test_more_layers_than_there_are_cannot_be_skipped(skip):
    with pytest.raises(ValueError, match=f"clip_skip={skip} is not possible: the text encoder has 3 layers"):
        encode_clip_penultimate(text_encoder(16), IDS, skip)


@pytest.mark.parametrize(("cls", "projection"), [(CLIPTextModel, None), (CLIPTextModelWithProjection, 24)])
def test_saved_ones_are_read_by_transformers_and_by_us(tmp_path, cls, projection):
    model = text_encoder(16, projection=projection).eval()
    save_text_encoder(model, tmp_path / "plain")
    names = set(load_file(tmp_path / "plain" / "model.safetensors"))
    assert "text_model.embeddings.token_embedding.weight" in names
    theirs = cls.from_pretrained(tmp_path / "plain").eval()
    save_text_encoder(model, tmp_path / "text_encoder", variant="fp16", max_shard_size="20KB")
    files = open_checkpoint(tmp_path, need_index=False).component(None, subfolder="text_encoder", variant="fp16")
    assert len(files.weights) > 1
    ours = load_text_encoder(files)
    with torch.no_grad():
        assert torch.equal(theirs(IDS)[0], model(IDS)[0])
        assert torch.equal(ours(IDS)[0], model(IDS)[0])


def test_a_file_is_no_folder_to_save_to(tmp_path):
    (tmp_path / "here").write_text("")
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        save_text_encoder(text_encoder(16), tmp_path / "here")

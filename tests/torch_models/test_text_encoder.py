"""Text encoders out of our own file resolution: equal to transformers' loading; hidden states as prompts need them."""

import json

import pytest
import torch
import transformers

from components import CheckpointError, open_checkpoint
from components.torch_models.text_encoder import encode_clip, load_text_encoder, load_tokenizer

CONFIG = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 11,
    "projection_dim": 8,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
CLASSES = ("CLIPTextModel", "CLIPTextModelWithProjection")
IDS = torch.tensor([[5, 17, 3, 59, 59, 59, 59, 59, 59, 59, 59], [5, 8, 9, 30, 44, 1, 59, 59, 59, 59, 59]])


@pytest.fixture(params=CLASSES)
def reference(request):
    torch.manual_seed(0)
    return getattr(transformers, request.param)(transformers.CLIPTextConfig(**CONFIG)).eval()


@pytest.fixture
def folder(reference, tmp_path):
    reference.save_pretrained(tmp_path / "text_encoder")
    return tmp_path


def loaded(folder, **options):
    return load_text_encoder(open_checkpoint(folder).component("text_encoder"), **options)


@torch.no_grad()
def test_outputs_equal_those_of_transformers(reference, folder):
    ours = loaded(folder)
    assert type(ours) is type(reference) and not ours.training
    assert not any(t.is_meta for t in (*ours.parameters(), *ours.buffers()))
    assert torch.equal(encode_clip(ours, IDS), reference(IDS).last_hidden_state)


@pytest.mark.parametrize("prefixed", [True, False])
@torch.no_grad()
def test_files_with_and_without_the_prefix_and_position_ids(reference, folder, prefixed):
    from safetensors.torch import load_file, save_file

    path = folder / "text_encoder" / "model.safetensors"
    bare = {name.removeprefix("text_model."): tensor for name, tensor in load_file(path).items()}
    if prefixed:
        bare = {n if n.startswith("text_projection") else f"text_model.{n}": t for n, t in bare.items()}
    position_ids = f"{'text_model.' if prefixed else ''}embeddings.position_ids"
    save_file({**bare, position_ids: torch.arange(11)[None]}, path)
    assert torch.equal(encode_clip(loaded(folder), IDS), reference(IDS).last_hidden_state)


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
@torch.no_grad()
def test_clip_skip_leaves_out_layers_and_keeps_the_final_norm(folder, skip):
    ours = loaded(folder)
    shorter = loaded(folder)
    inner = getattr(shorter, "text_model", shorter)
    inner.encoder.layers = inner.encoder.layers[: 3 - skip]
    torch.testing.assert_close(encode_clip(ours, IDS, skip), encode_clip(shorter, IDS), rtol=0, atol=0)


@pytest.mark.parametrize("skip", [-1, 4])
def test_layers_that_are_not_there_cannot_be_skipped(folder, skip):
    with pytest.raises(ValueError, match=f"clip_skip={skip} is not possible: the text encoder has 3 layers"):
        encode_clip(loaded(folder), IDS, skip)


def test_variant_and_dtype(reference, folder):
    reference.half().save_pretrained(folder / "text_encoder", variant="fp16")
    files = open_checkpoint(folder, variant="fp16").component("text_encoder")
    assert [p.name for p in files.weights] == ["model.fp16.safetensors"]
    assert next(load_text_encoder(files).parameters()).dtype == torch.float32
    assert next(load_text_encoder(files, dtype=torch.bfloat16).parameters()).dtype == torch.bfloat16


def test_another_class_is_refused(folder):
    path = folder / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["T5EncoderModel"]}))
    with pytest.raises(CheckpointError, match="text encoder 'T5EncoderModel'; expected CLIPTextModel or"):
        loaded(folder)


def test_the_tokenizer_of_a_folder(tmp_path):
    letters = [chr(c) for c in range(97, 123)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 6, "unk_token": "<|endoftext|>"} | special)
    )
    files = open_checkpoint(tmp_path).component("tokenizer")
    assert files.class_name == "CLIPTokenizer" and sorted(files.sha256()) == [
        "merges.txt", "tokenizer_config.json", "vocab.json"
    ]  # fmt: skip
    tokenizer = load_tokenizer(files)
    ids = tokenizer("A cat", padding="max_length", max_length=6, truncation=True).input_ids
    assert [tokens[i] for i in ids] == ["<|startoftext|>", "a</w>", "cat</w>"] + ["<|endoftext|>"] * 3

    (folder / "vocab.json").write_text("{}{")
    with pytest.raises(CheckpointError, match=r"vocab\.json is not valid JSON \(line 1, column 3: Extra data\)"):
        load_tokenizer(files)
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"expected vocab.json and merges.txt, or tokenizer.json"):
        open_checkpoint(tmp_path).component("tokenizer")

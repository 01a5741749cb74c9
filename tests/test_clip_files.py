"""CLIP's tokenizers and text encoders are known by class; what is another's is refused and never read as CLIP's."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.checkpoint import open_checkpoint
from components.clip_files import load_tokenizer, text_encoder_problem, tokenizer_problem
from components.component_files import ComponentFiles
from components.errors import CheckpointError

TOKENS = ["!", "a</w>", "c", "a", "t</w>", "cat</w>", "ca", "<|startoftext|>", "<|endoftext|>"]
CLIP = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


def tokenizer(folder: Path, **config: Any) -> ComponentFiles:
    """The files of a small tokenizer, with this in its configuration."""
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return open_checkpoint(folder, need_index=False).component("tokenizer", subfolder="")


@pytest.mark.parametrize("name", ["T5Tokenizer", "BertTokenizer", "Qwen2Tokenizer", "PreTrainedTokenizerFast"])
def test_another_tokenizer_is_refused_by_its_class(tmp_path: Path, name: str) -> None:
    files = tokenizer(tmp_path, tokenizer_class=name, model_max_length=77, **CLIP)
    with pytest.raises(CheckpointError, match=rf"tokenizer_config.json: tokenizer '{name}'; expected CLIPTokenizer"):
        load_tokenizer(files)


def test_the_class_in_the_index_counts_as_well(tmp_path: Path) -> None:
    tokenizer(tmp_path, tokenizer_class="CLIPTokenizer", **CLIP)
    (tmp_path / "model_index.json").write_text(json.dumps({"tokenizer": ["transformers", "BertTokenizer"]}))
    files = open_checkpoint(tmp_path).component("tokenizer")
    assert str(tokenizer_problem(files)).startswith("tokenizer 'BertTokenizer'")


@pytest.mark.parametrize("end", ["</s>", {"__type": "AddedToken", "content": "</s>"}])
def test_a_tokenizer_without_a_class_is_known_by_its_end_token(tmp_path: Path, end: Any) -> None:
    files = tokenizer(tmp_path, eos_token=end, pad_token="<pad>", extra_ids=100)
    with pytest.raises(CheckpointError, match="without the name of a class, whose texts end with '</s>'"):
        load_tokenizer(files)


@pytest.mark.parametrize("config", [{"tokenizer_class": "CLIPTokenizerFast"}, {"tokenizer_class": None}, {}])
def test_clips_own_are_read_and_pad_to_its_length_where_none_is_said(tmp_path: Path, config: dict[str, Any]) -> None:
    found = load_tokenizer(tokenizer(tmp_path, pad_token="!", **CLIP, **config))
    ids = found("cat", padding="max_length", max_length=found.model_max_length).input_ids
    assert ids == [7, 5, 8] + [0] * 74


def test_another_text_encoder_is_refused_by_its_class(tmp_path: Path) -> None:
    config = {"architectures": ["T5EncoderModel"], "tokenizer_class": "T5Tokenizer"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    files = open_checkpoint(tmp_path, need_index=False).component(None)
    assert text_encoder_problem(files) == (
        "text encoder 'T5EncoderModel' with 'T5Tokenizer'; expected CLIPTextModel or CLIPTextModelWithProjection"
    )

"""What CLIP's files are, whichever library runs the encoder: its classes, the tokenizer, the prefix of its tensors.

Tokenizers are those of transformers, which imports no torch for them. The search for files and the network are ours.
"""

from collections.abc import Collection
from typing import Any

from components.component_files import ComponentFiles, read_json
from components.errors import CheckpointError, reading
from components.regular_files import VOCABULARY, check_regular

PREFIX = "text_model."
TEXTS = (".json", ".txt", ".model", ".jinja")  # endings of what a tokenizer may be read from
TEXT_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
END = "<|endoftext|>"
LENGTH = 77  # tokens of a text, where a tokenizer's file does not say


def text_encoder_problem(files: ComponentFiles) -> str | None:
    """Why a text encoder is none of CLIP's, told without its file's name; None where it is."""
    if files.class_name in TEXT_ENCODERS:
        return None
    name = f"text encoder {files.class_name!r}" if files.class_name else "a text encoder without the name of a class"
    reads = files.config.get("tokenizer_class")
    return f"{name}{f' with {reads!r}' if reads else ''}; expected {' or '.join(TEXT_ENCODERS)}"


def tokenizer_problem(files: ComponentFiles) -> str | None:
    """Why a tokenizer is none of CLIP's, told without its file's name; None where it is.

    Another tokenizer's files can be read as CLIP's, and would give the ids of other words.
    """
    named = [str(name) for name in (files.class_name, files.config.get("tokenizer_class")) if name]
    for name in named:
        if name not in TOKENIZERS:
            return f"tokenizer {name!r}; expected {' or '.join(TOKENIZERS)}"
    end = files.config.get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    if not named and end not in (None, END):
        return f"a tokenizer without the name of a class, whose texts end with {end!r} and not with CLIP's {END!r}"
    return None


def load_tokenizer(files: ComponentFiles) -> Any:
    """A CLIPTokenizer of transformers, from the files in the component's folder.

    Raises:
        CheckpointError: it is not CLIP's, or the files are damaged.
    """
    from transformers import CLIPTokenizer

    if problem := tokenizer_problem(files):
        raise CheckpointError(f"{files.config_path}: {problem}.")
    for path in sorted(files.folder.iterdir()):  # transformers opens what it likes of them
        if not path.is_dir():
            with reading(path):
                check_regular(path, VOCABULARY if path.suffix in TEXTS else None)
    for path in files.others:
        if path.suffix == ".json":
            read_json(path, VOCABULARY)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(files.folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise what they like
        raise CheckpointError(f"The tokenizer in {files.folder} cannot be read: {error}") from error
    if not files.config.get("model_max_length"):
        tokenizer.model_max_length = LENGTH
    return tokenizer


def prefixed_as(name: str, expected: Collection[str]) -> str:
    """The name with or without the prefix, whichever the model has."""
    if name in expected:
        return name
    other = name.removeprefix(PREFIX) if name.startswith(PREFIX) else PREFIX + name
    return other if other in expected else name

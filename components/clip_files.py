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


def load_tokenizer(files: ComponentFiles) -> Any:
    """A CLIPTokenizer of transformers, from the files in the component's folder.

    Raises:
        CheckpointError: the files are damaged.
    """
    from transformers import CLIPTokenizer

    for path in sorted(files.folder.iterdir()):  # transformers opens what it likes of them
        if not path.is_dir():
            with reading(path):
                check_regular(path, VOCABULARY if path.suffix in TEXTS else None)
    for path in files.others:
        if path.suffix == ".json":
            read_json(path, VOCABULARY)
    try:
        return CLIPTokenizer.from_pretrained(files.folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise what they like
        raise CheckpointError(f"The tokenizer in {files.folder} cannot be read: {error}") from error


def prefixed_as(name: str, expected: Collection[str]) -> str:
    """The name with or without the prefix, whichever the model has."""
    if name in expected:
        return name
    other = name.removeprefix(PREFIX) if name.startswith(PREFIX) else PREFIX + name
    return other if other in expected else name

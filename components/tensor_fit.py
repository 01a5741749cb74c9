"""Whether the tensors in a component's files are those its network wants, told from their headers alone.

Names and shapes are torch's, which is what files hold; the JAX models translate theirs. Reads no tensor data.
"""

from collections.abc import Callable, Collection, Mapping

from components.component_files import ComponentFiles
from components.errors import CheckpointError
from components.tensor_headers import TensorInfo

Rename = Callable[[str, Collection[str]], str]
"""(a tensor's name in the file, the names in the model) → its name in the model."""

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
IGNORED = ("position_ids",)  # a constant that old text encoders saved
SHOWN = 8


def fit(
    files: ComponentFiles, model: str, shapes: Mapping[str, tuple[int, ...]], rename: Rename | None = None
) -> dict[str, str]:
    """Each tensor's name in the files to its name in the model, every one of which is found once and has its shape.

    Args:
        model: the name of its class, for messages.
        shapes: of the model's tensors, by name.
        rename: applied after the renaming of old attention names.

    Raises:
        CheckpointError: tensors are missing, unexpected or misshaped (all are listed), or a file is damaged.
    """
    tensors = files.tensors()
    names = {name: _new_name(name, shapes, rename) for name in tensors if not name.endswith(IGNORED)}
    _check(files, model, shapes, tensors, names)
    return names


def _new_name(name: str, expected: Collection[str], rename: Rename | None) -> str:
    """The model's name of a tensor in the file; the attention layers of old files have other names."""
    stem, _, kind = name.rpartition(".")
    parent, _, layer = stem.rpartition(".")
    if name not in expected and layer in OLD_NAMES:
        name = f"{parent}.{OLD_NAMES[layer]}.{kind}"
    return rename(name, expected) if rename else name


def _check(
    files: ComponentFiles,
    model: str,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, TensorInfo],
    names: Mapping[str, str],
) -> None:
    """Everything wrong with a file's tensors at once."""
    found = {target: tensors[name] for name, target in names.items()}
    problems = {
        "missing": [f"{n} {list(shape)}" for n, shape in shapes.items() if n not in found],
        "unexpected": [f"{n} (in {tensors[n].file.name})" for n, target in names.items() if target not in shapes],
        "of another shape": [
            f"{n} is {list(info.shape)}, expected {list(shapes[n])} (in {info.file.name})"
            for n, info in found.items()
            if n in shapes and not _same_shape(info.shape, shapes[n])
        ],
        "not of numbers with a point": [
            f"{n} is {info.dtype} (in {info.file.name})"
            for n, info in found.items()
            if n in shapes and "float" not in info.dtype
        ],
    }
    lines = [
        f"{len(entries)} tensors {what}: " + "; ".join(entries[:SHOWN]) + (" …" if len(entries) > SHOWN else "")
        for what, entries in problems.items()
        if entries
    ]
    if lines:
        where = ", ".join(str(path) for path in files.weights[:3])
        raise CheckpointError(f"{where} does not fit {model} as {files.config_path} configures it. " + " ".join(lines))


def _same_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Equal, or a linear layer saved as a 1x1 convolution (original VAE files)."""
    return found == expected or (len(expected) == 2 and found == (*expected, 1, 1))

"""Tensors from files into a model that was made on the meta device: checked by their headers first, then memory-mapped,
cast while they are read, and never held twice."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from components.component_files import ComponentFiles, load_pickle
from components.errors import CheckpointError
from components.tensor_headers import TensorInfo

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
IGNORED = ("position_ids",)  # a constant that old text encoders saved
SHOWN = 8


def load_state(
    model: nn.Module,
    files: ComponentFiles,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    rename: Callable[[str], str] | None = None,
) -> None:
    """Fill a model on the meta device with the tensors of a component.

    On the CPU, tensors whose dtype needs no cast stay memory-mapped: the file's pages are their memory.

    Args:
        dtype: of the filled model, or its name; None means float32.
        rename: from a tensor's name in the file to its name in the model, after the renaming of old attention names.

    Raises:
        CheckpointError: tensors are missing, unexpected or misshaped (all are listed), or a file is damaged.
    """
    dtype = as_dtype(dtype)
    expected = model.state_dict()
    tensors = files.tensors()
    names = {name: _new_name(name, expected, rename) for name in tensors if not name.endswith(IGNORED)}
    _check(files, type(model).__name__, expected, tensors, names)
    state = {}
    for name, tensor in _read(files):
        if name in names:
            target = names[name]
            state[target] = tensor.reshape(expected[target].shape).to(device=device, dtype=dtype)
    model.load_state_dict(state, strict=True, assign=True)


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """A floating-point dtype of torch, from itself or its name; None means float32.

    Raises:
        ValueError: it is neither.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype={dtype!r} is not a floating-point dtype; expected one such as float32, bfloat16.")
    return found


def _new_name(name: str, expected: Mapping[str, Tensor], rename: Callable[[str], str] | None) -> str:
    """The model's name of a tensor in the file; the attention layers of old files have other names."""
    stem, _, kind = name.rpartition(".")
    parent, _, layer = stem.rpartition(".")
    if name not in expected and layer in OLD_NAMES:
        name = f"{parent}.{OLD_NAMES[layer]}.{kind}"
    return rename(name) if rename else name


def _check(
    files: ComponentFiles,
    model: str,
    expected: Mapping[str, Tensor],
    tensors: Mapping[str, TensorInfo],
    names: Mapping[str, str],
) -> None:
    """Everything wrong with a file's tensors at once."""
    found = {target: tensors[name] for name, target in names.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
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


def _read(files: ComponentFiles) -> Iterator[tuple[str, Tensor]]:
    with ExitStack() as stack:
        for path in files.weights:
            if path.suffix == ".bin":
                yield from load_pickle(path).items()
                continue
            from safetensors import SafetensorError, safe_open

            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    yield name, file.get_tensor(name)
            except SafetensorError as error:
                raise CheckpointError(f"{path} cannot be read: {error}.") from None

"""Checkpoints: which files make up each component, found in a folder or on the hub.

`open_checkpoint` finds a checkpoint, `Checkpoint.component` the files of one part of it. What is on disk or in the
hub's cache is used without the network. Nothing here imports torch or builds a model, so that planning is cheap.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from components import weight_files
from components.component_files import ComponentFiles, read_json, read_weight_map
from components.config_values import class_named
from components.errors import AbsentError, CheckpointError, did_you_mean, reading
from components.hub import HubRepo, find_repo
from components.regular_files import VOCABULARY, check_regular

__all__ = ["INHERIT", "AbsentError", "Checkpoint", "CheckpointError", "ComponentFiles", "open_checkpoint"]

INDEX = "model_index.json"
INHERIT: Any = "(the checkpoint's variant)"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "special_tokens_map.json", "added_tokens.json")
Fetch = Callable[[Iterable[str]], None]


def open_checkpoint(
    repo: str | Path,
    *,
    revision: str | None = None,
    variant: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    allow_pickle: bool = False,
    need_index: bool = True,
) -> "Checkpoint":
    """Find a checkpoint: an existing folder, or a repository on the hub, in the cache first.

    Args:
        repo: folder, or hub id `org/name`.
        revision: branch, tag or commit on the hub; default main.
        variant: such as "fp16"; components that lack it do without, but one at least must have it.
        cache_dir, token: as huggingface_hub has them; the environment variables it honours count too.
        local_files_only: never ask the network (also HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE).
        allow_pickle: accept `.bin` files where there are no safetensors.
        need_index: False for a single model, which has no model_index.json.

    Raises:
        CheckpointError: no such folder or repository, no access to it, or a broken model_index.json.
    """
    folder = Path(repo).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise CheckpointError(f"{repo} is a folder, which has no revisions; revision={revision!r} is for the hub.")
        return Checkpoint(str(repo), folder, _read_index(folder), None, variant, allow_pickle)
    if isinstance(repo, Path) or folder.is_file() or str(repo).startswith((".", "/", "~")):
        raise (CheckpointError if folder.exists() else AbsentError)(_no_folder(folder))
    hub = find_repo(repo, revision, Path(cache_dir).expanduser() if cache_dir else None, token, local_files_only)
    commit = hub.cached_commit()
    if commit is None:
        try:
            root = hub.fetch([INDEX])
        except CheckpointError as error:
            raise type(error)(f"{error}{_near_folder(folder)}") from None
        commit = root.name
    else:
        root = hub.snapshot(commit)
        single = not need_index or (root / "config.json").is_file()
        if not single and not (root / INDEX).is_file() and not hub.local_only:
            hub.fetch([INDEX], commit)
    return Checkpoint(hub.repo, root, _read_index(root), commit, variant, allow_pickle, hub)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with components, on disk or in the hub's cache. `index` is its model_index.json, {} if it has none."""

    source: str
    root: Path
    index: Mapping[str, Any] = field(repr=False)
    commit: str | None = None
    variant: str | None = None
    allow_pickle: bool = False
    hub: HubRepo | None = field(default=None, repr=False)

    @property
    def component_names(self) -> tuple[str, ...]:
        """The components that the index lists and that are not null."""
        return tuple(name for name, entry in self.index.items() if is_component(entry) and entry[1])

    def component(
        self, name: str | None, *, subfolder: str | None = None, variant: str | None = INHERIT
    ) -> ComponentFiles:
        """The files of a component, downloaded if they are not here yet.

        Args:
            name: as in model_index.json; None for a checkpoint that is a single model.
            subfolder: where to look, instead of the folder called `name` or else the root.
            variant: a variant that must be there. By default the checkpoint's own, which components may lack.

        Raises:
            CheckpointError: the component, folder, config, variant or weights are absent, or broken.
        """
        request = _Request(self, name, subfolder, variant)
        try:
            return request.resolve(_files_below(self.root), lambda names: None)
        except AbsentError as error:
            if self.hub is None:
                raise
            absent = error
        try:
            names = self._hub_names
        except CheckpointError as error:
            raise type(error)(f"{absent} {error}") from None
        return request.resolve(names, lambda names: self._fetch(names))

    @cached_property
    def _hub_names(self) -> frozenset[str]:
        assert self.hub is not None and self.commit is not None
        return self.hub.listing(self.commit)

    def _fetch(self, names: Iterable[str]) -> None:
        assert self.hub is not None
        missing = [name for name in names if not (self.root / name).is_file()]
        if missing:
            self.hub.fetch(missing, self.commit)
        missing = [name for name in missing if not (self.root / name).is_file()]
        if missing:
            raise CheckpointError(f"{self.source}: {', '.join(missing)} could not be downloaded to {self.root}.")


@dataclass(frozen=True)
class _Request:
    """One component asked of a checkpoint; `resolve` answers it from a listing of file names."""

    checkpoint: Checkpoint
    name: str | None
    subfolder: str | None
    variant: str | None

    def resolve(self, names: frozenset[str], fetch: Fetch) -> ComponentFiles:
        root = self.checkpoint.root
        library, class_name = self._entry()
        folder = self._folder(names)
        here = {PurePosixPath(n).name for n in names if PurePosixPath(n).parent == PurePosixPath(folder)}
        config_name, has_weights = _kind(self.name or "", class_name)
        if config_name not in here:
            beside = f" and no folder {self.name!r}" if self.name and not folder else ""
            raise AbsentError(f"{self._where(folder)} has no {config_name}{beside}.")
        fetch([_join(folder, config_name)])
        config = _without_flax(read_json(root / folder / config_name))
        if not library:
            library, class_name = _class_in(config)
        weights, others, variant = (), (), None
        if config_name == "tokenizer_config.json":
            others = self._vocabulary(here, folder)
        if has_weights:
            variant = self._variant(names, here)
            weights, others = self._weights(here, folder, library, variant, fetch)
        fetch(_join(folder, n) for n in (*weights, *others))
        for file in (*weights, *others):
            with reading(root / folder / file):
                check_regular(root / folder / file, VOCABULARY if file in others else None)
        return ComponentFiles(
            self.name or PurePosixPath(folder).name,
            library,
            class_name,
            root / folder,
            root / folder / config_name,
            config,
            tuple(root / folder / n for n in weights),
            tuple(root / folder / n for n in others),
            variant,
        )

    def _entry(self) -> tuple[str, str]:
        """Library and class by the index; ("", "") where it has no say."""
        name, index, source = self.name, self.checkpoint.index, self.checkpoint.source
        if name is None or not index or (self.subfolder is not None and name not in index):
            return "", ""
        entry = index.get(name, [])
        if not is_component(entry):
            there = self.checkpoint.component_names
            hint = did_you_mean(name, there)
            raise CheckpointError(f"{source} has no component {name!r}; {INDEX} lists {', '.join(there)}.{hint}")
        if entry[1] is None and self.subfolder is None:
            raise CheckpointError(f"{source} comes without {name!r} (null in its {INDEX}).")
        return (entry[0] or "", entry[1] or "")

    def _folder(self, names: frozenset[str]) -> str:
        folder = self.subfolder if self.subfolder is not None else self.name or ""
        path = PurePosixPath(folder)
        if path.is_absolute() or ".." in path.parts or "\\" in folder or ":" in folder:
            raise CheckpointError(f"subfolder {folder!r} is not a folder inside {self.checkpoint.source}.")
        folder = "" if str(path) == "." else str(path)
        if not folder or any(n.startswith(f"{folder}/") for n in names):
            return folder
        if self.subfolder is None:
            return ""  # flat repositories keep their one model in the root
        there = sorted({str(PurePosixPath(n).parent) for n in names} - {"."})
        hint = did_you_mean(folder, there)
        raise AbsentError(
            f"{self.checkpoint.source} has no folder {folder!r}; folders there: {', '.join(there) or 'none'}.{hint}"
        )

    def _variant(self, names: frozenset[str], here: set[str]) -> str | None:
        """The variant to read: the one asked of this component, or the checkpoint's where this component has it."""
        if self.variant is not INHERIT:
            return self.variant
        wanted = self.checkpoint.variant
        if wanted is None or wanted in weight_files.variants(here):
            return wanted
        folders: dict[str, set[str]] = {}
        for name in names:
            folders.setdefault(str(PurePosixPath(name).parent), set()).add(PurePosixPath(name).name)
        there = {folder: found for folder in sorted(folders) if (found := weight_files.variants(folders[folder]))}
        if any(wanted in found for found in there.values()):
            return None
        listed = "; ".join(f"{folder}: {', '.join(found)}" for folder, found in there.items()) or "no weights at all"
        hint = did_you_mean(wanted, {v for found in there.values() for v in found})
        raise AbsentError(
            f"{self.checkpoint.source} has no weights of variant {wanted!r}. Variants there: {listed}.{hint}"
        )

    def _weights(
        self, here: set[str], folder: str, library: str, variant: str | None, fetch: Fetch
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the weight files and of their shard index, if they have one."""
        where = self._where(folder)
        choices = weight_files.choose(
            here, variant=variant, library=library, allow_pickle=self.checkpoint.allow_pickle, where=where
        )
        for i, choice in enumerate(choices):
            if not choice.is_index:
                return (choice.name,), ()
            fetch([_join(folder, choice.name)])
            shards = sorted(set(read_weight_map(self.checkpoint.root / folder / choice.name).values()))
            missing = [shard for shard in shards if shard not in here]
            if not missing:
                return tuple(shards), (choice.name,)
            if len(missing) < len(shards) or i + 1 == len(choices):  # else: an index left behind by an earlier save
                raise AbsentError(f"{where} lacks {', '.join(missing)}, which its {choice.name} names.")
        raise AbsentError(
            f"{where} has no weights in safetensors files; it has {', '.join(sorted(here)) or 'nothing'}."
        )

    def _vocabulary(self, here: set[str], folder: str) -> tuple[str, ...]:
        """Names of the files of a CLIP tokenizer."""
        if "tokenizer.json" not in here and not {"vocab.json", "merges.txt"} <= here:
            raise AbsentError(
                f"{self._where(folder)} has no vocabulary: expected vocab.json and merges.txt, or tokenizer.json; "
                f"it has {', '.join(sorted(here))}."
            )
        return tuple(name for name in TOKENIZER_FILES if name in here)

    def _where(self, folder: str) -> str:
        return f"{self.checkpoint.source}/{folder}" if folder else self.checkpoint.source


def _kind(name: str, class_name: str) -> tuple[str, bool]:
    """Name of a component's configuration file, and whether it has weights."""
    if class_name.endswith("Scheduler") or name == "scheduler":
        return "scheduler_config.json", False
    if "Tokenizer" in class_name or name.startswith("tokenizer"):
        return "tokenizer_config.json", False
    if class_name.endswith(("ImageProcessor", "FeatureExtractor")) or name == "feature_extractor":
        return "preprocessor_config.json", False
    return "config.json", True


def _class_in(config: Mapping[str, Any]) -> tuple[str, str]:
    """Library and class as a component's own configuration tells them."""
    if name := class_named(config):
        return "diffusers", name
    name = config.get("architectures") or config.get("tokenizer_class") or ""
    return "transformers", str(name[0] if isinstance(name, list) else name).removeprefix("Flax")


def _read_index(root: Path) -> dict[str, Any]:
    """model_index.json with old class names brought up to date; {} if there is none."""
    try:
        index = _without_flax(read_json(root / INDEX))
    except AbsentError:
        return {}
    for name, entry in index.items():
        if is_component(entry) and entry[1]:
            class_name = entry[1].removeprefix("Flax")
            index[name] = [entry[0], "CLIPImageProcessor" if class_name == "CLIPFeatureExtractor" else class_name]
    return index


def _without_flax(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose class, if it is one of the old Flax ones, is called what its twin is called."""
    name = config.get("_class_name")
    return {**config, "_class_name": name.removeprefix("Flax")} if isinstance(name, str) else config


def is_component(entry: Any) -> bool:
    """Whether an entry of an index is a component's: [library, class], or nulls where there is none."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str | None) for e in entry)


def _files_below(root: Path, depth: int = 2) -> frozenset[str]:
    """Files in a folder and `depth` levels below it, as relative posix names."""
    found = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        relative = Path(folder).relative_to(root)
        found.update((relative / file).as_posix() for file in files)
        if len(relative.parts) >= depth:
            folders.clear()
    return frozenset(found)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _no_folder(path: Path) -> str:
    if path.is_file():
        return f"{path} is a file; a checkpoint is a folder (single-file checkpoints are not supported)."
    return f"{path} is not an existing folder.{_near_folder(path)}"


def _near_folder(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, siblings, prefix="" if path.parent == Path() else f"{path.parent}/")

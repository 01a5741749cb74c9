"""Hydra's part: defaults lists, groups and packages become one composed mapping. Of Hydra, the rest of the project
knows only the grammar of overrides (command_line.py).

Hydra sees recipe files only through RecipeSource (scheme `recipes://`), which serves vetted documents: no hydra node,
no foreign package, no unknown group ever reaches it, and its own configuration is not loaded, so that there is nothing
in it to configure. Files are vetted, and missing ones reported, before (parts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.compose.documents import Document, document
from runner.errors import Problem, RecipeError
from runner.registry import GROUPS, PRIMARY, Library

Stale = Callable[[Document, Mapping[str, str]], frozenset[str]]
_library: ContextVar[Library] = ContextVar("library")


class RecipeSource(ConfigSource):
    """Serves the vetted documents of the library in use; 'scheduler/euler' is a config, 'scheduler' a group."""

    @staticmethod
    def scheme() -> str:
        return "recipes"

    def available(self) -> bool:
        return True

    def load_config(self, config_path: str) -> ConfigResult:
        found = find_document(_library.get(), config_path)
        if found is None:
            raise ConfigLoadError(f"Config not found: {config_path}")
        package = found.group if found.group in GROUPS and found.group != "recipe" else "_global_"
        return ConfigResult(self.provider, self.path, OmegaConf.create(_with_defaults(found)), {"package": package})

    def is_group(self, config_path: str) -> bool:
        return config_path in GROUPS

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.rpartition("/")
        return config_path == PRIMARY if not group else group in GROUPS and name in _library.get().choices(group)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        names = _library.get().choices(config_path) if config_path in GROUPS else GROUPS if not config_path else ()
        return sorted(names)


class _Caching(CachingConfigRepository):
    """Reads each file once. Hydra's own first copies the repository, which would take a fifth of a composition; ours is
    made for this composition alone."""

    def __init__(self, delegate: IConfigRepository) -> None:
        self.delegate = delegate
        self.cache = {}


def find_document(library: Library, config_path: str) -> Document | None:
    """The document Hydra knows as 'config' or 'group/name'; None when there is none."""
    if config_path == PRIMARY:
        return document(library.primary, PRIMARY)
    group, _, name = config_path.partition("/")
    path = library.choices(group).get(name) if group in GROUPS else None
    return document(path, group) if path else None


def _with_defaults(found: Document) -> dict[str, Any]:
    """The document as Hydra wants it; entries that lead nowhere have been reported and are left out."""
    library = _library.get()
    if found.group == PRIMARY:
        groups = [{group: option} for group, (option, _) in found.chosen.items() if group != "recipe"]
        groups += [{group: None} for group in GROUPS if group not in found.chosen]
        return {**found.data, "defaults": [*groups, "_self_", {"recipe": found.chosen["recipe"][0]}]}
    parents = list(filter(None, (library.parent(found.group, name) for name, _ in found.parents)))
    chosen = [
        {f"override /{group}": option}
        for group, (option, _) in library.chosen(found.chosen).items()
        if option in library.choices(group)
    ]
    return {**found.data, "defaults": [*parents, "_self_", *chosen]}


@dataclass
class Composed:
    """data: the composed mapping, references unresolved; order: what was merged, in order, as (key prefix, document,
    groups whose values were left out because another choice is in force)."""

    data: dict[str, Any]
    order: list[tuple[tuple[str, ...], Document, frozenset[str]]]


def compose_choices(library: Library, choices: Mapping[str, str], stale: Stale) -> Composed:
    """Compose config.yaml with these choices on top of its own and the recipe's. Raises RecipeError.

    stale(document, choices in force) → groups whose values in that document belong to a choice that is not in force.
    """
    return _composed(library, PRIMARY, choices, stale)


def compose_group(library: Library, group: str, option: str) -> Composed:
    """One choice of one group alone, with what it builds on, under its group's key."""
    return _composed(library, f"{group}/{option}", {}, lambda document, choices: frozenset())


def _composed(library: Library, primary: str, choices: Mapping[str, str], stale: Stale) -> Composed:
    try:
        with _serving(library) as loader:
            return _merged(library, loader, primary, choices, stale)
    except (HydraException, OmegaConfBaseException) as error:  # what the passes before it did not foresee
        said = f"{choices.get('recipe', primary)}, composed"
        raise RecipeError([Problem(said, " ".join(str(error).split()).removesuffix("."))]) from error


def _merged(
    library: Library, loader: ConfigLoaderImpl, primary: str, choices: Mapping[str, str], stale: Stale
) -> Composed:
    repository = _Caching(loader.repository)
    overrides = OverridesParser.create().parse_overrides([f"{group}='{name}'" for group, name in choices.items()])
    listed = create_defaults_list(repository, primary, overrides, prepend_hydra=False, skip_missing=False)
    in_force = {group: str(option) for group, option in listed.overrides.known_choices.items() if option}
    order = []
    for default in listed.defaults:
        path = default.config_path or PRIMARY
        found, loaded = find_document(library, path), repository.load_config(path)
        assert found is not None and loaded is not None and isinstance(loaded.config, DictConfig)
        left_out = stale(found, in_force)
        for group in left_out:
            loaded.config.pop(group)
        order.append(((default.package,) if default.package else (), found, left_out))
    composed = loader._compose_config_from_defaults_list(defaults=listed.defaults, repo=repository)
    data = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(data, dict)
    return Composed({str(key): value for key, value in data.items()}, order)


@contextmanager
def _serving(library: Library) -> Iterator[ConfigLoaderImpl]:
    registry = SourcesRegistry.instance()
    registry.register(RecipeSource)
    registry.register(StructuredConfigSource)
    base = version.VersionBase.instance()
    previous = base.getbase()
    version.setbase("1.3")
    search = ConfigSearchPathImpl()
    search.append("recipes", "recipes://")
    search.append("schema", "structured://")
    token = _library.set(library)
    try:
        yield ConfigLoaderImpl(search)
    finally:
        _library.reset(token)
        base.version_base = previous

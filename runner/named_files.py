"""The files that a recipe names: where a path leads from, what a picture says instead of it, and how it is found again.

A path leads from the file that says it; where nothing is there, or the command line says it, from where the command
runs. A picture has a path's last name alone, with sizes and sums of what lay there, and a recipe that came out of a
picture opens nothing on this machine but what its user names, as a path or as a folder to look in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from runner.bundled import DEMO
from runner.errors import Problem, RecipeError, nearest, typed
from runner.keys import FREE, joined, marks, paths_of
from runner.schema import Output, Recipe

if TYPE_CHECKING:
    from runner.plan import Plan
    from runner.provenance import FileSums

Contents = Mapping[str, tuple[int, str]]
"""Path in a folder → size and sha256 of the file."""
DEPTH = 6  # folders below the one to look in


@cache
def _naming(part: type[Recipe]) -> tuple[str, ...]:
    """Paths of the keys that name files."""
    return tuple(path for path, info in paths_of(part).items() if marks(info)["file"] and not path.endswith(FREE))


def named(data: Any, part: type[Recipe] = Recipe) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every key of a recipe's data that names a file: its path there, its section, its name in that."""
    for path in _naming(part):
        *sections, name = path.split(".")
        found = [("", data)]
        for one in sections:
            found = [
                (joined(at, each), inner[each])
                for at, inner in found
                if isinstance(inner, dict)
                for each in (inner if one == FREE else [one])
                if each in inner
            ]
        yield from (
            (joined(at, name), section, name)
            for at, section in found
            if isinstance(section, dict) and isinstance(section.get(name), str)
        )


def local(value: Any, base: Path) -> Path | None:
    """The folder that a value leads to from `base`; None where it leads to none, or is the name of a bundled one."""
    if not isinstance(value, str) or not value or value.startswith(DEMO) or "${" in value:
        return None
    try:
        path = base / Path(value).expanduser()
        return path if path.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long for a name, a zero in it, nobody's home
        return None


def local_keys(recipe: Recipe) -> list[str]:
    """The keys of a recipe whose value is a folder on this machine."""
    data = recipe.model_dump()
    return [at for at, section, name in named(data, type(recipe)) if local(section[name], Path.cwd())]


def leading_here(data: dict[str, Any], base: Path) -> dict[str, Any]:
    """A file's data with paths that lead from its folder `base` made whole; the rest leads from here."""
    for at, section, name in list(named(data)):
        said = section[name]
        if said.startswith(("~", DEMO)) or Path(said).is_absolute() or base.resolve() == Path.cwd():
            continue
        if path := local(said, base.resolve()):
            data = _with(data, at, os.path.normpath(path))
    return data


def leading_from(data: dict[str, Any], base: Path, part: type[Recipe]) -> dict[str, Any]:
    """A recipe's data with its paths as they lead from the folder `base`, where the data is to be saved."""
    for at, section, name in named(data, part):
        if path := local(section[name], Path.cwd()):
            data = _with(data, at, _from(path.resolve(), base.resolve()))
    return data


def _from(path: Path, base: Path) -> str:
    try:
        relative = Path(os.path.relpath(path, base)).as_posix()
    except ValueError:  # another drive
        return str(path)
    return relative if relative.startswith(".") else f"./{relative}"


def without_paths(data: dict[str, Any], part: type[Recipe]) -> dict[str, Any]:
    """A recipe's data as pictures carry it: of each folder on this machine its name."""
    for at, section, name in named(data, part):
        if path := local(section[name], Path.cwd()):
            data = _with(data, at, path.resolve().name)
    if _leads_away(data["output"]["dir"]):
        data = _with(data, "output.dir", Output().dir)
    return data


def output_words(data: Any) -> list[str]:
    """What is set over a picture's recipe whose folder for output would be anywhere on this machine."""
    output = data.get("output") if isinstance(data, dict) else None
    folder = output.get("dir") if isinstance(output, dict) else None
    away = isinstance(folder, str) and ("${" in folder or _leads_away(folder))
    return [f"output.dir={Output().dir}"] if away else []


def _leads_away(path: str) -> bool:
    kinds = (PurePosixPath(path), PureWindowsPath(path))
    return path.startswith("~") or any(one.is_absolute() or one.drive or ".." in one.parts for one in kinds)


def _with(data: dict[str, Any], at: str, value: str) -> dict[str, Any]:
    data = deepcopy(data)
    *sections, name = at.split(".")
    inner = data
    for section in sections:
        inner = inner[section]
    inner[name] = value
    return data


# ---- what was in them ------------------------------------------------------------------------------------------------


def contents(plan: Plan) -> dict[str, Contents]:
    """Key → what the plan reads of the folder that it names, where that is on this machine."""
    from runner.provenance import FileSums

    found, sums = {}, FileSums()
    for at in local_keys(plan.recipe):
        own, elsewhere = at.removeprefix("checkpoint.components.").removesuffix(".repo"), _elsewhere(plan)
        if own in elsewhere:
            root, names = Path(elsewhere[own]).expanduser(), [own] if own in plan.components else []
        else:
            root, names = plan.checkpoint.root, [name for name in plan.components if name not in elsewhere]
        files = [file for name in names for file in _files(plan, name)]
        if at == "checkpoint.repo":
            files.append(root / "model_index.json")
        found[at] = _measured(root, [file for file in files if file.is_file()], sums)
    return found


def _elsewhere(plan: Plan) -> dict[str, str]:
    """Components that come from elsewhere than the checkpoint, and from where."""
    return {str(name): one.repo for name, one in plan.recipe.checkpoint.components.items() if one.repo}


def _files(plan: Plan, name: str) -> list[Path]:
    files = plan.components[name]
    return [*files.weights, *files.others, files.config_path]


def _measured(root: Path, files: Iterable[Path], sums: FileSums) -> Contents:
    return {
        file.relative_to(root).as_posix(): (file.stat().st_size, digest) for file, digest in sums.sums(files).items()
    }


def look_in(folder: Path, wanted: Contents) -> Path | None:
    """The first folder in `folder`, or it itself, that holds these files; sums are made where all the sizes fit."""
    from runner.provenance import FileSums

    sums = FileSums()
    for root, folders, _ in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(folders) if len(here.relative_to(folder).parts) < DEPTH else []
        files = {here / name: told for name, told in wanted.items()}
        fitting = all(file.is_file() and file.stat().st_size == size for file, (size, _) in files.items())
        if fitting and {file: digest for file, (_, digest) in files.items()} == sums.sums(files):
            return here
    return None


def differing(folder: Path, wanted: Contents) -> list[str]:
    """The files in a folder that are not these, or are not there."""
    from runner.provenance import FileSums

    there = [folder / name for name in wanted if (folder / name).is_file()]
    found = {file.relative_to(folder).as_posix(): digest for file, digest in FileSums().sums(there).items()}
    return [name for name, (_, digest) in wanted.items() if found.get(name) != digest]


# ---- a recipe that came out of a picture -----------------------------------------------------------------------------


class Naming:
    """What the user of a replay says of files: `KEY=PATH`, and a folder to look in. `notes` say what was found."""

    def __init__(self, words: Sequence[str] = (), folder: Path | None = None) -> None:
        self.notes: list[str] = []
        self.folder = folder
        self.said: dict[str, str] = {}
        self._looked: dict[str, Path | None] = {}
        known, problems = _naming(Recipe), []
        for word in words:
            key, _, value = word.partition("=")
            self.said[key] = value
            if key not in known or not value:
                what = "a replay takes only keys that name files, and where these are"
                problems.append(Problem(typed(word), what, known, nearest(key, known)))
        if folder is not None and not folder.is_dir():
            problems.append(Problem(typed(f"--look-in {folder}"), "is not an existing folder"))
        if problems:
            raise RecipeError(problems)

    def words(self, data: dict[str, Any], files: Mapping[str, Contents], shown: str) -> list[str]:
        """`KEY=PATH` for what a picture's recipe names. Raises RecipeError where nobody here says where that is."""
        found, problems = dict(self.said), []
        for at, section, name in named(data):
            wanted = files.get(at, {})
            if at in self.said:
                self._compare(at, wanted)
            elif wanted and (path := self._look_for(at, wanted)):
                found[at] = str(path)
            elif wanted or _is_path(section[name]):
                problems.append(self._unnamed(shown, at, section[name], bool(wanted)))
        if problems:
            raise RecipeError(problems)
        return [f"{at}={path}" for at, path in found.items()]

    def _compare(self, at: str, wanted: Contents) -> None:
        if wrong := differing(Path(self.said[at]).expanduser(), wanted):
            self.notes.append(f"{at}: not what was drawn with: {', '.join(wrong[:3])} in {self.said[at]}")

    def _look_for(self, at: str, wanted: Contents) -> Path | None:
        if at not in self._looked:
            self._looked[at] = path = look_in(self.folder, wanted) if self.folder else None
            self.notes += [f"{at}: {path}"] if path else []
        return self._looked[at]

    def _unnamed(self, shown: str, at: str, value: str, known: bool) -> Problem:
        if self.folder and known:
            return Problem(shown, f"no folder in {self.folder} has the files of {at}, the folder {value!r} of then")
        what = f"{at} was the folder {value!r} where it was drawn; a picture opens no file here that you do not name"
        how = f"{at}=FOLDER" + (", or --look-in FOLDER to have it found" if known else "")
        return Problem(shown, what, hint=f"say where it is: recipe replay PICTURE {how}")


def _is_path(value: str) -> bool:
    """Whether it may lead to a file of this machine: spelt as one, or there is one."""
    if value.startswith(DEMO):
        return False
    spelt = value.startswith((".", "/", "~")) or "\\" in value or ":" in value or "${" in value or value.count("/") > 1
    return spelt or Path(value).exists()

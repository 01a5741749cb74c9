"""Recipe → Plan: the files, the table, the sizes and the batches of a run, all settled before any work starts.

Reads configurations and file names, downloading them if need be; loads no weights and imports no torch. Which device
`auto` means is the backend's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.clip_files import text_encoder_problem, tokenizer_problem
from components.errors import AbsentError, CheckpointError
from components.model_config import TextEncoderConfig
from components.packages import absent
from components.schedulers import SchedulerConfigError
from runner import needs
from runner.backends.abilities import ABILITIES
from runner.bundled import checkpoint_source
from runner.errors import Problem, RecipeError
from runner.families import Configs, Family, Wish
from runner.families.serving import find_family
from runner.network_facts import misstated, remarks, stated
from runner.provenance import physical_cores

if TYPE_CHECKING:
    from components.checkpoint import Checkpoint, ComponentFiles
    from components.schedulers import Tableau
    from components.schedulers.base import Scheduler
    from runner.backends.base import Guidance
    from runner.schema import Backend as BackendChoice
    from runner.schema import Recipe

IMAGES_PER_BATCH = 4


@dataclass(frozen=True)
class Batch:
    """Images computed together. The partition decides the last bit, so it is fixed here and recorded."""

    indices: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Pins:
    """What a replay takes from the record of the run instead of from the recipe; None leaves it to the recipe."""

    batches: tuple[tuple[int, ...], ...] | None = None
    threads: int | None = None
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before weights are loaded.

    `latent_shape` is (C, h, w) of one image; `device` and `dtype` may still be "auto"; `notes` are sentences a user
    should see.
    """

    recipe: Recipe
    family: Family = field(repr=False)
    checkpoint: Checkpoint
    components: Mapping[str, ComponentFiles] = field(repr=False)
    configs: Configs = field(repr=False)
    scheduler: Scheduler
    tableau: Tableau = field(repr=False)
    wish: Wish = field(repr=False)
    guidance: Guidance
    height: int
    width: int
    latent_shape: tuple[int, int, int]
    batches: tuple[Batch, ...]
    device: str
    dtype: str
    threads: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A checkpoint opened for planning: which family it is of, its components' files and configurations."""

    checkpoint: Checkpoint
    family: Family
    components: Mapping[str, ComponentFiles]
    configs: Configs


def make_plan(recipe: Recipe, pins: Pins | None = None, *, to_run: bool = True) -> Plan:
    """Settles a recipe. Raises RecipeError with everything that cannot work.

    to_run: packages that the run would need must be here; they are not needed to tell what it would do.
    """
    return Planner().plan(recipe, pins, to_run=to_run)


class Planner:
    """Settles the recipes of a sweep: every checkpoint is opened and every table built once, however many use it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], Any] = {}

    def plan(self, recipe: Recipe, pins: Pins | None = None, *, to_run: bool = True) -> Plan:
        """See `make_plan`."""
        pins = pins or Pins()
        _check_backend(recipe.backend)
        if to_run and (lacking := needs.for_drawing(recipe)):
            raise RecipeError(lacking)
        source = self._once((recipe.checkpoint.files,), lambda: _open_source(recipe))
        family, components, configs = source.family, source.components, source.configs
        default_height, default_width = family.size(configs)
        space = family.latents(configs)
        height, width = recipe.height or default_height, recipe.width or default_width
        problems = [
            *family.misfits(recipe.clip_skip, configs),
            *family.refusals(recipe, configs),
            *size_problems({"height": height, "width": width}, space.factor),
            *_run_problems(recipe),
        ]
        choices = recipe.checkpoint, recipe.scheduler, recipe.schedule
        method = *(choice.model_dump_json() for choice in choices), str(recipe.steps)
        scheduler, found = self._once(
            method, lambda: _make_scheduler(recipe, components["scheduler"], family.scheduler)
        )
        problems += found
        if problems or scheduler is None:
            raise RecipeError(problems)
        # Other tables where the draws come from one path.
        table = self._once((*method, recipe.noise.path), lambda: _make_table(recipe, scheduler))
        return Plan(
            recipe=recipe,
            family=family,
            checkpoint=source.checkpoint,
            components=components,
            configs=configs,
            scheduler=scheduler,
            tableau=table,
            wish=Wish(
                prompt=recipe.prompt,
                height=height,
                width=width,
                negative_prompt=recipe.negative_prompt,
                clip_skip=recipe.clip_skip,
                flags=index_flags(source.checkpoint),
            ),
            guidance=family.guidance(recipe.guidance_scale, recipe.guidance_rescale, configs),
            height=height,
            width=width,
            latent_shape=space.shape(height, width),
            batches=_make_batches(recipe, pins.batches),
            device=pins.device or recipe.backend.device,
            dtype=pins.dtype or recipe.backend.dtype,
            threads=pins.threads or recipe.backend.threads or physical_cores(),
            notes=(
                *_notes(source.checkpoint),
                *remarks(recipe.checkpoint.model_dump(), components["scheduler"].config),
                *scheduler.concessions(_schedule(recipe)),
                *scheduler.remarks(table),
            ),
        )

    def _once(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """What was made for this key before, an error included."""
        if key not in self._kept:
            try:
                self._kept[key] = make()
            except RecipeError as error:
                self._kept[key] = error
        if isinstance(self._kept[key], RecipeError):
            raise self._kept[key]
        return self._kept[key]


def _open_source(recipe: Recipe) -> Source:
    checkpoint = _open(recipe)
    family = find_family(checkpoint, {str(name) for name in recipe.checkpoint.components})
    components = _find_components(recipe, checkpoint, component_names(family, checkpoint))
    return Source(checkpoint, family, components, _read_configs(family, components))


def size_problems(sizes: Mapping[str, int], factor: int) -> list[Problem]:
    """Heights and widths in pixels that the autoencoder cannot make, by key."""
    return [
        Problem(
            where=key,
            what=f"{size} is not a multiple of {factor}, the factor of this checkpoint's VAE",
            hint=f"take {max(factor, size - size % factor)} or {size + factor - size % factor}",
        )
        for key, size in sizes.items()
        if size % factor
    ]


def _check_backend(choice: BackendChoice) -> None:
    """Raises RecipeError where a backend cannot do what is asked of it."""
    if problems := needs.backend_problems(choice):
        raise RecipeError(problems)


def _open(recipe: Recipe) -> Checkpoint:
    from components.checkpoint import open_checkpoint

    choice = recipe.checkpoint
    source = checkpoint_source(choice.repo)
    try:
        return open_checkpoint(
            source, revision=choice.revision, variant=choice.variant, allow_pickle=choice.allow_pickle
        )
    except CheckpointError as error:
        raise RecipeError([_checkpoint_problem("checkpoint", error)]) from error


def index_flags(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a model_index.json says beside its components: requires_safety_checker, force_zeros_for_empty_prompt ..."""
    return {
        name: value
        for name, value in checkpoint.index.items()
        if not name.startswith("_") and not isinstance(value, list | dict)
    }


def component_names(family: Family, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The components to load, the scheduler last; optional ones that the checkpoint has not are left out."""
    there = checkpoint.component_names
    wanted = (name for name in family.components if name not in family.optional or name in there)
    return (*wanted, "scheduler")


def _find_components(recipe: Recipe, checkpoint: Checkpoint, names: Sequence[str]) -> dict[str, ComponentFiles]:
    from components.checkpoint import open_checkpoint

    found, problems = {}, []
    choices = {str(name): choice for name, choice in recipe.checkpoint.components.items()}
    for name in names:
        choice = choices.get(name)
        where = f"checkpoint.components.{name}" if choice else "checkpoint"
        try:
            if choice is None:
                found[name] = checkpoint.component(name)
                continue
            source, asked = checkpoint, {"variant": choice.variant} if choice.variant else {}
            if choice.repo or choice.revision:
                source = open_checkpoint(
                    checkpoint_source(choice.repo or recipe.checkpoint.repo),
                    revision=choice.revision,
                    variant=choice.variant or recipe.checkpoint.variant,
                    allow_pickle=recipe.checkpoint.allow_pickle,
                )
            found[name] = source.component(name, subfolder=choice.subfolder, **asked)
        except CheckpointError as error:
            problem = _checkpoint_problem(where, error)
            if problem not in problems:  # a variant that no component has is said once
                problems.append(problem)
    if problems:
        raise RecipeError(problems)
    return found


def _checkpoint_problem(where: str, error: CheckpointError) -> Problem:
    missing = isinstance(error, AbsentError)
    hint = "`recipe plan` says what it needs and how to fetch that" if missing else None
    return Problem(where, _sentence(error), hint=hint, missing=missing)


def _read_configs(family: Family, components: Mapping[str, ComponentFiles]) -> Configs:
    """The components' configurations, those of networks checked and completed with their defaults."""
    configs: dict[str, Any] = {}
    problems = []
    for name, files in components.items():
        try:
            configs[name] = _read_config(family, name, files)
        except (TypeError, ValueError) as error:
            problems.append(Problem(str(files.config_path), _sentence(error)))
    if problems:
        raise RecipeError(problems)
    return configs


def _read_config(family: Family, name: str, files: ComponentFiles) -> Mapping[str, Any]:
    """One component's configuration. Raises ValueError for a component that is none of this family's."""
    if name in family.models:
        class_name, config_class = family.models[name]
        if files.class_name != class_name:
            raise ValueError(f"the {name} is a {files.class_name}, but must be a {class_name}")
        return config_class.from_dict(files.config)
    if name.startswith("text_encoder"):
        if problem := text_encoder_problem(files):
            raise ValueError(problem)
        return TextEncoderConfig.from_dict(files.config)
    if name.startswith("tokenizer") and (problem := tokenizer_problem(files)):
        raise ValueError(problem)
    return files.config


def _run_problems(recipe: Recipe) -> list[Problem]:
    last = recipe.seed + recipe.num_images - 1
    if last < 2**63:
        return []
    return [Problem("seed", f"the last of {recipe.num_images} images would have seed {last}, but 2^63 - 1 is the end")]


def _make_scheduler(
    recipe: Recipe, files: ComponentFiles, patch: Mapping[str, Any]
) -> tuple[Scheduler | None, list[Problem]]:
    """The scheduler, and what is wrong with its options, its file or its schedule."""
    from components.schedulers import find_scheduler
    from components.schedulers.inheritance import class_in

    config, options, checkpoint = files.config, recipe.scheduler.options, recipe.checkpoint.model_dump()

    def wrong_of(kind: str) -> list[Problem]:
        return [Problem(f"checkpoint.{one.key}", one.what) for one in misstated(kind, cls, checkpoint, options)]

    try:
        cls = find_scheduler(recipe.scheduler.name)
        if wrong := wrong_of(cls.fits):
            return None, wrong
        # A checkpoint of this family means the patched values even where its file says otherwise; a class that is
        # not the checkpoint's own takes over what the file says and nothing that the file leaves to a default.
        own = class_in(config) == cls.__name__
        patched = {key: value for key, value in patch.items() if key in config or (own and key in cls.options())}
        facts = stated(checkpoint)
        scheduler = cls.from_config({**config, **patched, **facts}, **options)
        scheduler.inherited = {key: value for key, value in scheduler.inherited.items() if key not in facts}
        mismatch = scheduler.mismatch(config)
    except SchedulerConfigError as error:
        return None, [_option_problem(problem, "scheduler", files.config_path) for problem in error.problems]
    if mismatch:
        return None, [_option_problem(mismatch, "scheduler")]
    if wrong := wrong_of(scheduler.fits):
        return None, wrong
    wrong = scheduler.check_schedule(_schedule(recipe))
    return scheduler, [_option_problem(problem, "schedule") for problem in wrong]


def _schedule(recipe: Recipe) -> Any:
    from components.schedulers.schedule import Schedule

    asked = recipe.schedule
    return Schedule(recipe.steps, asked.timesteps, asked.sigmas, asked.final_sigma, asked.spacing)


def _make_table(recipe: Recipe, scheduler: Scheduler) -> Tableau:
    from components.schedulers.brownian import NoisePathError

    run = scheduler.with_run(shared_path=recipe.noise.path == "brownian")
    try:
        return scheduler.table_of(_schedule(recipe), run)
    except NoisePathError as error:
        raise RecipeError([Problem("noise.path", f"{type(scheduler).__name__}: {_sentence(error)}")]) from error
    except ValueError as error:
        what = f"{type(scheduler).__name__} cannot run this schedule: {_sentence(error)}"
        raise RecipeError([Problem("schedule", what)]) from error


def table_alone(recipe: Recipe) -> tuple[Scheduler, Tableau, bool]:
    """The scheduler and table of a recipe whose checkpoint is not here, and whether its scheduler's file is.

    Where it is not, the class's own defaults stand for it. Raises RecipeError where those do not go with the recipe.
    """
    from components.component_files import ComponentFiles
    from runner.on_disk import scheduler_config

    config = scheduler_config(recipe.checkpoint.model_dump())
    path = Path(recipe.checkpoint.repo) / "scheduler" / "scheduler_config.json"
    scheduler, problems = _make_scheduler(recipe, ComponentFiles("scheduler", "", "", path.parent, path, config), {})
    if scheduler is None or problems:
        raise RecipeError(problems)
    return scheduler, _make_table(recipe, scheduler), bool(config)


def _option_problem(problem: Any, group: str, path: Path | None = None) -> Problem:
    """`path`: the file whose values the problem may be about."""
    where = problem.option if problem.option == "steps" else f"{group}.{problem.option}"
    where = where if problem.file is None else f"{path} {problem.option}"
    return Problem(where, problem.what, problem.allowed, problem.nearest, problem.hint)


def _make_batches(recipe: Recipe, pinned: tuple[tuple[int, ...], ...] | None) -> tuple[Batch, ...]:
    if pinned is None:
        size = recipe.batch_size or min(recipe.num_images, IMAGES_PER_BATCH)
        many = recipe.batch_size is None and size < recipe.num_images
        backend = ABILITIES[recipe.backend.name]
        if many and backend.many_devices and not absent(backend.libraries):
            size = min(recipe.num_images, IMAGES_PER_BATCH * _jax_devices(recipe))
        starts = range(0, recipe.num_images, size)
        pinned = tuple(tuple(range(start, min(start + size, recipe.num_images))) for start in starts)
    return tuple(Batch(indices, tuple(recipe.seed + i for i in indices)) for indices in pinned)


def _jax_devices(recipe: Recipe) -> int:
    """How many devices a run will use. Imports JAX, so it is asked only where the answer matters."""
    from runner.backends.jax_devices import pick_devices, set_threads

    set_threads(recipe.backend.threads or physical_cores())
    return len(pick_devices(recipe.backend.device))


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    if (checkpoint.index.get("safety_checker") or [None, None])[1]:
        return ("The checkpoint's safety checker is not run.",)
    return ()


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).removesuffix(".")

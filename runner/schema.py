"""Recipe: everything a user can decide about a run, typed, with its limits and its meaning.

It says what values are possible in themselves. Whether they fit together (a schedule and its scheduler, a size and
its autoencoder) is checked by runner.compose; nothing here reads a file or imports more than pydantic.
Every field is marked with whether it decides the picture (`decides_picture`) or only how and where it is made. Batch
size and thread count move no more than the last bit of a picture: they are a plan's to fix and to record.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from runner.backends.abilities import ABILITIES, able
from runner.keys import FREE, find_path, holders, key, marks, paths_of

Component = Literal["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"]
COMPONENTS: tuple[str, ...] = get_args(Component)
SEED_END = 2**63


def _plain_text(text: str) -> str:
    """Text as it is: nothing in a finished recipe may be read as a reference, and all of it can be saved."""
    if "${" in text:
        raise ValueError("a text cannot contain '${'")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the text is not valid UTF-8")
    return text


def _path_part(text: str) -> str:
    if not text or text in (".", "..") or any(character in '/\\:*?"<>|' or character < " " for character in text):
        raise ValueError("the name becomes a folder's name: letters, digits, '-', '_', '.' and spaces")
    return text


Text = Annotated[str, AfterValidator(_plain_text)]
FolderName = Annotated[str, AfterValidator(_plain_text), AfterValidator(_path_part)]


class Part(BaseModel):
    """Strict (no text becomes a number), closed (no unknown key) and immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ComponentChoice(Part):
    """Another source for one component of a checkpoint. What is left out is as for the rest of the checkpoint."""

    repo: Text | None = key("hub repository or folder to take this component from", file=True, default=None)
    revision: Text | None = key("branch, tag or commit of that repository", default=None)
    subfolder: Text | None = key("folder in the repository; otherwise the component's own name", default=None)
    variant: Text | None = key("file variant, such as fp16", default=None)


Prediction = Literal["epsilon", "sample", "v_prediction"]
NETWORK_FACTS = {"prediction_type": "prediction_type", "zero_terminal_snr": "rescale_betas_zero_snr"}
"""Keys of a checkpoint that say what its network is, and the scheduler option that each stands for."""


class Checkpoint(Part):
    """Where the weights come from, and what the network is where its files do not say, or say wrongly."""

    repo: Text = key(
        "hub repository (owner/name), a folder, or demo:shapes, which ships with the program", file=True, min_length=1
    )
    revision: Text | None = key("branch, tag or commit; otherwise the repository's main branch", default=None)
    variant: Text | None = key("file variant, such as fp16 for model.fp16.safetensors", default=None)
    allow_pickle: bool = key(
        "accept .bin and .ckpt weights, which can run code when they are opened", picture=False, default=False
    )
    components: dict[Component, ComponentChoice] = key("components taken from elsewhere, by name", default_factory=dict)
    prediction_type: Prediction | None = key(
        "what the network predicts, whatever its files say; null: as they say", later=True, default=None
    )
    zero_terminal_snr: bool | None = key(
        "whether it was trained down to zero signal, whatever its files say; null: as they say",
        later=True,
        default=None,
    )

    @property
    def files(self) -> str:
        """All that decides which files are read, as text."""
        return self.model_dump_json(exclude=set(NETWORK_FACTS))


class SchedulerChoice(BaseModel):
    """A scheduler's class and its options, side by side. runner.compose checks the options against the class."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    name: Text = key("scheduler class or its short name", min_length=1)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the class that the recipe sets; the others come from the checkpoint's configuration."""
        return dict(self.model_extra or {})


class Schedule(Part):
    """Which noise levels to visit. Nothing set: as the scheduler's configuration says."""

    spacing: Text | None = key("formula for the noise levels: karras, exponential, beta ...", default=None)
    timesteps: Annotated[list[FiniteFloat], Field(min_length=1)] | None = key(
        "the timesteps to visit, in the scheduler's direction", default=None
    )
    sigmas: Annotated[list[FiniteFloat], Field(min_length=1)] | None = key("the noise levels to visit", default=None)
    final_sigma: Literal["zero", "sigma_min"] | FiniteFloat | None = key(
        "noise level after the last step; null: as the scheduler's configuration says", default=None
    )


class Backend(Part):
    """What computes."""

    name: Literal["torch", "jax"] = key("library that runs the models", default="torch")
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = key(
        "auto, cpu, cuda, cuda:N or mps; auto takes the fastest there is", default="auto"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = key(
        "number format of the networks; auto is float32 on a CPU and half precision on a GPU", default="auto"
    )
    threads: int | None = key("CPU threads; null: one for each core", picture=False, default=None, ge=1, le=4096)
    compile: bool = key("compile the networks first: slower start, faster steps", default=False)
    offload: Literal["none", "model", "sequential"] = key(
        "what waits in main memory while it does not work: none; model: whole networks; sequential: every layer",
        picture=False,
        default="none",
    )
    vae_tiling: bool = key("decode large pictures in overlapping tiles: less memory, faint seams", default=False)
    vae_slicing: bool = key("decode the pictures of a batch one by one: less memory", default=False)
    shard_parameters: bool = key(
        "jax on several devices: each keeps a part of the parameters, which then need not fit on one", default=False
    )

    @field_validator("shard_parameters")
    @classmethod
    def _only_where_there_is_a_mesh(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not ABILITIES[info.data.get("name", "torch")].shard_parameters:
            raise ValueError(f"only the {able('shard_parameters')} backend can share parameters out")
        return value


class Noise(Part):
    """Where random numbers are drawn, and whether a sampler's draws follow one path."""

    device: Literal["cpu", "device"] = key(
        "cpu: the same seed gives the same picture everywhere; device: drawn where the networks run", default="cpu"
    )
    path: Literal["independent", "brownian"] = key(
        "independent: a fresh draw for every step; brownian: each image's noise is one path, shared by the samplers of "
        "the SDE (eta 1) and by any number of steps",
        default="independent",
    )


class Output(Part):
    """What is written where."""

    format: Literal["png", "jpg", "webp"] = key("file format of the pictures", picture=False, default="png")
    dir: Text = key("folder under which each run makes its own", picture=False, default="outputs", min_length=1)
    sweep: FolderName = key(
        "name of a sweep's folder beside the recipe's runs; the same name goes on where it stopped",
        picture=False,
        default="sweep",
        max_length=100,
    )


class Compare(Part):
    """How a sweep's images are measured against converged solutions of the equations that their samplers solve."""

    reference_steps: int = key(
        "steps of a solution; it is made again with twice as many, and the distance between the two is its floor",
        picture=False,
        default=150,
        ge=2,
        le=1000,
    )
    below: Annotated[list[Annotated[FiniteFloat, Field(gt=0)]], Field(min_length=1)] = key(
        "relative errors for which the evaluations needed are told", picture=False, default=[0.1, 0.03, 0.01]
    )
    lpips: bool = key(
        "measure LPIPS too, which takes its package and its weights on this machine", picture=False, default=False
    )


Sweep = dict[Text, Any]
"""Read by runner.compose.sweep: axes by group or key path, and the words zip, exclude and repeat."""


class Recipe(Part):
    """One run, completely described."""

    format: Literal[1] = key("version of this format", picture=False, default=1)
    name: FolderName = key("name of the recipe and of its folder under output.dir", picture=False, max_length=100)
    prompt: Text = key("what the picture shall show, in your own words", default="")
    negative_prompt: Text | None = key("what it shall not show; null: nothing is said about that", default=None)
    seed: int = key("seed of the first image; image i has seed + i", default=0, ge=0, lt=SEED_END)
    num_images: int = key("number of images", picture=False, default=1, ge=1, le=1_000_000)
    batch_size: int | None = key(
        "images computed together; null: up to four (on each device where jax has several), in a sweep as many as fit",
        picture=False,
        default=None,
        ge=1,
        le=4096,
    )
    steps: int | None = key(
        "denoising steps; null: the schedule's own number, otherwise 50", default=None, ge=1, le=1000
    )
    height: int | None = key("height in pixels; null: the checkpoint's own", default=None, ge=1, le=16384)
    width: int | None = key("width in pixels; null: the checkpoint's own", default=None, ge=1, le=16384)
    guidance_scale: FiniteFloat = key(
        "how closely to follow the prompt; 1 and below: no guidance", default=7.5, ge=0, le=1000
    )
    guidance_rescale: FiniteFloat = key(
        "how far guided outputs are scaled back to their own contrast", default=0.0, ge=0, le=1
    )
    clip_skip: int | None = key("layers of the text encoder to leave out at its end", default=None, ge=0, le=100)
    checkpoint: Checkpoint = key("where the weights come from")
    scheduler: SchedulerChoice = key("method that removes the noise, and its options")
    schedule: Schedule = key("noise levels to visit", default_factory=Schedule)
    backend: Backend = key("what computes", default_factory=Backend)
    noise: Noise = key("where random numbers are drawn", default_factory=Noise)
    output: Output = key("what is written where", picture=False, default_factory=Output)
    compare: Compare | None = key(
        "measure a sweep's images against converged solutions; null: do not", picture=False, default=None
    )
    sweep: Sweep | None = key("values to combine, by group or key path: one job each", picture=False, default=None)
    launcher: Literal["warm", "ray", "slurm"] = key(
        "who runs a sweep: this process, workers of a Ray cluster, or a Slurm array", picture=False, default="warm"
    )
    workers: int | None = key(
        "workers of the ray and slurm launchers; null, for ray: one for each GPU, or for each backend.threads CPUs",
        picture=False,
        default=None,
        ge=1,
        le=10_000,
    )
    shard: Annotated[str, Field(pattern=r"^[1-9]\d*/[1-9]\d*$")] | None = key(
        "i/n: run only the i-th of n equal parts of a sweep, the others being run elsewhere",
        picture=False,
        default=None,
    )
    on_error: Literal["continue", "stop"] = key(
        "what a job that fails does to the rest of a sweep", picture=False, default="continue"
    )

    def said(self, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """Every value, but for keys of later versions at their defaults: what is saved of a recipe."""
        data = self.model_dump(mode=mode)
        for path, default in _later(type(self)):
            plain = default.model_dump(mode=mode) if isinstance(default, BaseModel) else default
            for section, name in holders(data, path):
                if section.get(name, plain) == plain:
                    section.pop(name, None)
        return data


@cache
def _later(part: type[Recipe]) -> tuple[tuple[str, Any], ...]:
    """Paths of the keys that came after pictures had been saved, and their defaults."""
    marked = ((path, info) for path, info in paths_of(part).items() if marks(info)["later"])
    return tuple((path, info.get_default(call_default_factory=True)) for path, info in marked)


def key_paths() -> Mapping[str, FieldInfo]:
    """Every key of a recipe by its dotted path (`paths_of`)."""
    return paths_of(Recipe)


def find_key(path: str) -> str | None:
    """The path among `key_paths` of a key as it stands in a recipe; None where there is no such key."""
    return find_path(key_paths(), path)


def takes_options(key: str) -> bool:
    """Whether this is an option of a scheduler, of which the schema knows none: `scheduler.OPTION`."""
    section, _, name = key.rpartition(".")
    path = find_key(section) if section and name else None
    kind = key_paths()[path].annotation if path else None
    return SchedulerChoice in (kind, *get_args(kind))


def children(path: str) -> tuple[str, ...]:
    """The names of the keys in a section, "" being the whole recipe; none where its names are the user's."""
    inside = find_key(path) if path else ""
    parted = (known.rpartition(".") for known in key_paths())
    return tuple(name for section, _, name in parted if section == inside and name != FREE)

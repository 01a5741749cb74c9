"""Runs every command that README.md and docs/*.md show, as it is written, in a fresh clone.

    python tests/readme_commands.py --list              what is found, and what becomes of it
    python tests/readme_commands.py [--only WORD]       runs it in a temporary clone, with this clone's .venv

A command is a line of a `sh` block, a `$` line of another one, or a code span that begins with one of PROGRAMS. What
cannot be run as it is written stands in LISTED with its reason, and with what is tried in its place. Python blocks are
run too, with a small checkpoint of the same kind in the place of one on the hub. The exit code is 1 where anything does
not end as it should, or a listed command is no longer shown.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("run", "recipe", "python", "python3", "pip", "hf", "pytest", "ray", "tensorboard", ".venv/bin/pip", "for")
SECONDS = 1800  # of one command
SAVED = "outputs/shapes/2026-01-31_12-00-00"  # the run that examples speak of


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it, and where."""

    text: str
    file: str
    line: int


@dataclass(frozen=True)
class Listed:
    """Why a command is not run as it is written, and the commands tried in its place with the exit code of each."""

    reason: str
    instead: tuple[tuple[str, int], ...] = ()


HUB = "needs files of the hub"
FORM = "a form with placeholders, not a command"


def on_the_hub(name: str, *words: str) -> Listed:
    """A run of a checkpoint on the hub: composed whole; its plan tells what is known, and ends as the run would."""
    said = " ".join(words)
    return Listed(HUB, ((f"run recipe={name} {said} --cfg job", 0), (f"HF_HUB_OFFLINE=1 recipe plan {name} {said}", 2)))


def form(verb: str, *instead: str) -> Listed:
    return Listed(FORM, ((f"recipe {verb} --help", 0), *((command, 0) for command in instead)))


INSTALLS = Listed("installs packages: seconds here are minutes there, and the versions are the tests' own business")
SPREAD = "-m recipe=sd15 scheduler=euler,dpmpp_2m,unipc 'seed=range(0,64)'"
LISTED: dict[str, Listed] = {
    "python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt . && .venv/bin/run": Listed(
        INSTALLS.reason, ((".venv/bin/python -m runner.cli.run", 0),)
    ),
    "python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[test]' && .venv/bin/python -m pytest": (
        Listed("minutes: it is what this repository's checks do")
    ),
    ".venv/bin/pip install -c constraints.txt '.[jax]'": INSTALLS,
    ".venv/bin/pip install -c constraints.txt '.[ray]'": INSTALLS,
    ".venv/bin/pip install -c constraints.txt '.[slurm]'": INSTALLS,
    "run recipe=ays_sdxl": on_the_hub("ays_sdxl"),
    "run recipe=flax_parallel": on_the_hub("flax_parallel"),
    "recipe cat NAME": form("cat", "recipe cat shapes"),
    "recipe cp NAME FILE": form("cp", "recipe cp shapes copy.yaml"),
    "recipe check NAME… | --all": form("check", "recipe check shapes sd15", "recipe check --all"),
    "recipe plan": form("plan"),
    "recipe plan [-m] NAME": form("plan", "recipe plan shapes", "recipe plan -m shapes seed=1,2"),
    "recipe schedule NAME… --plot FILE": form(
        "schedule", "recipe schedule schedule/karras schedule/exponential steps=10 --plot levels.png"
    ),
    "recipe schedulers [NAME] [key=value]": form("schedulers", "recipe schedulers dpmpp_2m"),
    "recipe replay FOLDER | IMAGE [--check]": form("replay", f"recipe replay {SAVED} --check"),
    "recipe report FOLDER": form("report", "recipe report outputs/shapes/sweep --rows seed --columns scheduler"),
    "recipe export FOLDER --to TRACKER": form("export"),
    "recipe export FOLDER --to tensorboard": form("export", "recipe export outputs/shapes/sweep --to tensorboard"),
    "recipe VERB --help": form("ls"),
    "run recipe=mine schedular=euler": Listed(
        "shows what is said of a mistake", (("run recipe=mine schedular=euler", 2),)
    ),
    "python benchmarks/sweep.py speed": Listed("minutes", (("python benchmarks/sweep.py --help", 0),)),
    "python benchmarks/full_size.py": Listed("minutes and gigabytes", (("python benchmarks/full_size.py --help", 0),)),
    "python benchmarks/jax_speed.py speed --full": Listed("minutes", (("python benchmarks/jax_speed.py --help", 0),)),
    "run recipe=shapes_compare": Listed("minutes", (("recipe plan shapes_compare", 0),)),
    "run recipe=shapes_samplers": Listed("minutes", (("recipe plan shapes_samplers", 0),)),
    "hf auth login": Listed("needs an account", (("hf auth --help", 0),)),
    f"run {SPREAD} launcher=ray": Listed(
        HUB, ((f"run {SPREAD} launcher=ray --cfg job", 0), ("HF_HUB_OFFLINE=1 recipe plan -m sd15 seed=1,2", 2))
    ),
    "ray start --head --port=6379": Listed("starts a cluster"),
    "ray start --address=head:6379": Listed("joins a cluster"),
    "ray stop": Listed("stops a cluster"),
    "export SBATCH_PARTITION=gpu SBATCH_ACCOUNT=mine SBATCH_TIMELIMIT=2:00:00 SBATCH_GRES=gpu:1": Listed("needs Slurm"),
    f"run {SPREAD} launcher=slurm workers=8 backend.device=cuda backend.threads=4 batch_size=16": Listed(
        "needs Slurm",
        ((f"run {SPREAD} launcher=slurm workers=8 backend.device=cuda backend.threads=4 batch_size=16 --cfg job", 0),),
    ),
    "for i in 1 2 3 4; do ssh host$i"
    " \"cd /shared/project && run -m recipe=sd15 'seed=range(0,64)' shard=$i/4\" & done; wait": (
        Listed("needs four machines", (("for i in 1 2; do run -m num_images=1 seed=1,2,3 shard=$i/2 & done; wait", 0),))
    ),
    "torchrun --standalone --nproc-per-node 2 -m runner.demo.train_shapes --unet-steps 9900 --out runner/demo/shapes": (
        Listed("a day", (("python -m runner.demo.train_shapes --help", 0),))
    ),
    "python -m runner.demo.evaluate": Listed(
        "minutes", (("python -m runner.demo.evaluate --prompts 2 --least 0 steps=5", 0),)
    ),
    "python -m runner.demo.evaluate --guidance 7.5 7.5 --prompts 100 --seed 5000 schedule=default": Listed("minutes"),
    "python -m runner.demo.evaluate --guidance 7.5 7.5 --prompts 100 --seed 5000": Listed("minutes"),
}


# ---- what documents show ---------------------------------------------------------------------------------------------


def documents(root: Path = ROOT) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").glob("*.md")), root / "runner" / "demo" / "README.md"]


def blocks(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """(language, number of the first line, lines) of every fenced block."""
    language, start, inside = "", 0, None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"^\s*```(\w*)\s*$", line)
        if fence and inside is None:
            language, start, inside = fence[1], number + 1, []
        elif fence and inside is not None:
            yield language, start, inside
            inside = None
        elif inside is not None:
            inside.append(line)


def commands(text: str, file: str = "") -> list[Shown]:
    """Every command that a document shows, in order."""
    found = []
    for language, start, lines in blocks(text):
        if language in ("", "sh", "console"):
            found += [Shown(said, file, start + at) for at, said in _in_block(lines, bare=language == "sh")]
    prose = _without_blocks(text)
    for match in re.finditer(r"(`+)(.+?)\1", prose, re.DOTALL):
        said = " ".join(match[2].replace("\\|", "|").split())
        if said.split()[0] in PROGRAMS and " " in said:
            found.append(Shown(said, file, prose.count("\n", 0, match.start()) + 1))
    return sorted(found, key=lambda shown: shown.line)


def _in_block(lines: Sequence[str], *, bare: bool) -> Iterator[tuple[int, str]]:
    """Commands of a block, continued lines joined, prompts (`$`, `head$`) and comments taken off."""
    waiting, begun = "", 0
    for at, line in enumerate(lines):
        prompt = re.match(r"^(?:\w*\$)\s+", line)
        said = line[prompt.end() :] if prompt else line
        if not (bare or prompt or waiting) or not said.strip() or said.lstrip().startswith("#"):
            continue
        begun = begun if waiting else at
        waiting += _COMMENTED.match(said)[0].strip()  # type: ignore[index]
        if waiting.endswith("\\"):
            waiting = waiting[:-1].rstrip() + " "
            continue
        yield begun, waiting
        waiting = ""


_COMMENTED = re.compile(r"""(?:[^'"\s#]|'[^']*'|"[^"]*"|\s+(?!#)|(?<=\S)#)*""")  # up to a comment outside quotes


def _without_blocks(text: str) -> str:
    """The text with its fenced blocks blanked, line by line."""
    lines = text.splitlines()
    for _, start, inside in blocks(text):
        for number in range(start - 1, start + len(inside) + 1):
            if number - 1 < len(lines):
                lines[number - 1] = ""
    return "\n".join(lines)


def shown() -> list[Shown]:
    """Every command of every document, each text once."""
    found: dict[str, Shown] = {}
    for path in documents():
        for one in commands(path.read_text("utf-8"), str(path.relative_to(ROOT))):
            found.setdefault(one.text, one)
    return list(found.values())


# ---- a fresh clone ---------------------------------------------------------------------------------------------------

WORDS = {
    "run": "-m runner.cli.run",
    "recipe": "-m runner.cli.recipe",
    "python": "",
    "python3": "",
    "pytest": "-m pytest",
}
EXTRAS = ("jax", "flax", "tensorboard", "ray", "submitit", "pytest")
_LACKS = re.compile(r"needs .*, which (is|are) not installed|No module named '?\w+")
PRELUDE = "import numpy as np\nx = np.zeros((1, 4, 8, 8)) + 1.0\nnetwork = lambda x, t: 0.1 * x\n"
# A small checkpoint in the place of one on the hub; a folder has no variants of that name, and no revisions.
IN_PLACE = (
    ('"stable-diffusion-v1-5/stable-diffusion-v1-5"', '"my_checkpoint"'),
    (', variant="fp16"', ""),
    (' revision="bf16",', ""),
)


@dataclass
class Clone:
    """What a newcomer has: the files of the repository, and the installed programs."""

    root: Path
    failures: list[str] = field(default_factory=list)
    absent: frozenset[str] = frozenset()
    """Packages of extras that the virtual environment lacks: a command that says so is told, and is no failure."""

    @classmethod
    def make(cls, root: Path, venv: Path) -> Clone:
        """The tracked files as they are now, with programs of this virtual environment that use them."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        (root / ".venv").symlink_to(venv)
        (root / "shims").mkdir()
        for name, module in WORDS.items():
            shim = root / "shims" / name
            shim.write_text(f'#!/bin/sh\nexec {venv}/bin/python {module} "$@"\n')
            shim.chmod(0o755)
        look = f"from importlib.util import find_spec; print(*[name for name in {EXTRAS!r} if not find_spec(name)])"
        said = subprocess.run([venv / "bin/python", "-c", look], capture_output=True, text=True, check=True).stdout
        return cls(root, absent=frozenset(said.split()))

    def prepare(self) -> None:
        """What the documents speak of: a recipe of one's own, a checkpoint's folder, a run of some day, its picture."""
        readme = (self.root / "README.md").read_text("utf-8")
        for language, _, lines in blocks(readme):
            if language == "yaml" and "# run recipe=mine" in lines:
                (self.root / "recipes" / "recipe" / "mine.yaml").write_text("\n".join(lines) + "\n", "utf-8")
        shutil.copytree(self.root / "runner" / "demo" / "shapes", self.root / "my_checkpoint")
        folder = self.root / self.run("run", 0).strip().splitlines()[-1]
        if folder != self.root / SAVED:
            shutil.copytree(folder, self.root / SAVED)
        shutil.copy(min(folder.glob("*.png")), self.root / "picture.png")
        self.run("run -m num_images=1 steps=5 scheduler=euler,lms seed=1,2", 0)  # a sweep to report and export

    def run(self, command: str, code: int) -> str:
        """Runs a command as typed; its standard output. What does not end as it should is kept in `failures`."""
        path = f"{self.root / 'shims'}:{self.root / '.venv/bin'}:{os.environ['PATH']}"
        environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(self.root),
            "XDG_CACHE_HOME": str(self.root / "cache"),
        }
        begun = time.monotonic()
        try:
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.root, env=environment, capture_output=True, text=True, timeout=SECONDS
            )
            ended, said, out = done.returncode, done.stderr, done.stdout
        except subprocess.TimeoutExpired:
            ended, said, out = -1, f"not done in {SECONDS} s", ""
        needs_more = _LACKS.search(said)
        if ended != code and needs_more and self.absent.intersection(re.findall(r"\w+", needs_more[0])):
            print(f"  extra          {command}", flush=True)
            return out
        print(f"  {'ok  ' if ended == code else 'BAD '} {time.monotonic() - begun:5.0f} s  {command}", flush=True)
        if ended != code:
            self.failures.append(f"{command}\n    ended with {ended}, not {code}: {said.strip()[-1500:]}")
        return out

    def run_python(self) -> None:
        """The README's Python blocks, one after the other in one program."""
        readme = blocks((self.root / "README.md").read_text("utf-8"))
        found = [lines for language, _, lines in readme if language == "python"]
        if "jax" in self.absent:
            print("  extra          the Python blocks that import jax")
            found = [lines for lines in found if "import jax" not in lines]
        program = PRELUDE + "\n".join(line for lines in found for line in lines)
        for old, new in IN_PLACE:
            if old not in program:
                self.failures.append(f"the README's Python no longer has {old}")
            program = program.replace(old, new)
        (self.root / "readme.py").write_text(program, "utf-8")
        self.run("python readme.py", 0)


def stale() -> list[str]:
    """Listed commands that no document shows any more."""
    there = {one.text for one in shown()}
    return [text for text in LISTED if text not in there]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="show what is found and what becomes of it; run nothing")
    parser.add_argument("--only", default="", metavar="WORD", help="only commands that contain this")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the installed environment")
    chosen = parser.parse_args(arguments)
    todo = [one for one in shown() if chosen.only in one.text]
    if chosen.list:
        for one in todo:
            why = f"   [{LISTED[one.text].reason}]" if one.text in LISTED else ""
            print(f"{one.file}:{one.line}  {one.text}{why}")
        return 0
    with tempfile.TemporaryDirectory(prefix="readme-") as scratch:
        clone = Clone.make(Path(scratch), chosen.venv.resolve())
        clone.prepare()
        for one in todo:
            for command, code in LISTED[one.text].instead if one.text in LISTED else ((one.text, 0),):
                clone.run(command, code)
        if not chosen.only:
            clone.run_python()
    failures = [*clone.failures, *(f"listed, but shown nowhere: {text}" for text in stale())]
    print("\n".join([f"{len(failures)} of them do not do what is shown", *failures]) if failures else "all as shown")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

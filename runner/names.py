"""What A1111, ComfyUI, diffusers and others call the schedulers and schedules that recipes choose, and those that
recipes do not have: the only place where such names stand.

`meaning` takes any of them, however it is spelt, to choices of the library. A name may hold a schedule as well
("DPM++ 2M Karras"). Where a name written exactly so is one tool's, it means what that tool does; where its spelling is
forgiven and it could mean two things, it means neither, and `sentence` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from components.schedulers.names import class_names, folded

TOOLS = ("A1111", "ComfyUI")
CALLED: dict[str, dict[str, tuple[str, str]]] = {
    "scheduler": {
        "ddim": ("DDIM", "ddim"),
        "ddpm": ("", "ddpm"),
        "deis": ("", "deis"),
        "dpm2": ("DPM2", "dpm_2"),
        "dpm2_a": ("DPM2 a", "dpm_2_ancestral"),
        "dpmpp_2m": ("DPM++ 2M", "dpmpp_2m"),
        "dpmpp_2m_heun": ("", "res_multistep"),
        "dpmpp_2m_sde": ("DPM++ 2M SDE", "dpmpp_2m_sde"),
        "dpmpp_2m_sde_heun": ("DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun"),
        "dpmpp_3m_sde": ("DPM++ 3M SDE", "dpmpp_3m_sde"),
        "dpmpp_sde": ("DPM++ SDE", "dpmpp_sde"),
        "euler": ("Euler", "euler"),
        "euler_a": ("Euler a", "euler_ancestral"),
        "heun": ("Heun", "heun"),
        "lcm": ("LCM", "lcm"),
        "lms": ("LMS", "lms"),
        "plms": ("PLMS", ""),
        "sa_solver": ("", "sa_solver"),
        "unipc_bh1": ("UniPC", "uni_pc"),
        "unipc_bh2": ("", "uni_pc_bh2"),
    },
    "schedule": {
        "beta": ("Beta", ""),
        "beta_timesteps": ("", "beta"),
        "exponential": ("Exponential", "exponential"),
        "karras": ("Karras", "karras"),
        "kl_optimal": ("", "kl_optimal"),
        "normal": ("Uniform", "normal"),
        "sgm_uniform": ("SGM Uniform", "sgm_uniform"),
        "simple": ("Simple", "simple"),
    },
}
"""Group → choice → what A1111 and ComfyUI call it; empty where they have no such thing."""

ALSO: dict[str, dict[str, str]] = {
    "scheduler": {
        "dpmsolver++": "dpmpp_2m",
        "dpmsolver": "dpm_2m",
        "Heun 2": "heun",
        "DPM2 ancestral": "dpm2_a",
        "dpm_2_a": "dpm2_a",
        "res_2m": "dpmpp_2m_heun",
    },
    "schedule": {
        "Polyexponential": "exponential",
        "Normal": "normal",
        "Turbo": "trailing",
    },
}
"""Further names: A1111's Polyexponential has rho 1 (ours: 2); Normal and Turbo are Forge's."""

_ANCESTRAL = "takes its step to a lower level and adds fresh noise"
_EXPONENTIAL = "is a single-step exponential integrator"
MISSING: dict[str, dict[str, tuple[str, str]]] = {
    "scheduler": {
        "DPM adaptive": ("chooses its steps while it runs, so that no table can hold them", "dpmpp_2m"),
        "DPM fast": ("mixes methods of order one to three over a run", "dpmpp_2s"),
        "DPM++ 2S a": (_ANCESTRAL, "dpmpp_2s, without that noise, or dpmpp_sde"),
        "dpmpp_2s_ancestral": (_ANCESTRAL, "dpmpp_2s, without that noise, or dpmpp_sde"),
        "Restart": ("goes back to higher noise in between", "heun"),
        "HeunPP2": ("weighs slopes of three levels", "heun"),
        "exp_heun_2_x0": (_EXPONENTIAL, "dpmpp_2s"),
        "exp_heun_2_x0_sde": (_EXPONENTIAL + " of the SDE", "dpmpp_sde"),
        "ipndm_v": ("is a linear multistep method of changing steps", "lms"),
        "res_2s": (_EXPONENTIAL, "dpmpp_2s"),
        "res_3s": (_EXPONENTIAL, "dpmpp_2s"),
        "res_multistep_ancestral": (_ANCESTRAL, "dpmpp_2m_heun, without that noise, or dpmpp_2m_sde"),
        "gradient_estimation": ("pushes each slope past the one before it", "euler"),
        "euler_ge": ("pushes each slope past the one before it", "euler"),
        "er_sde": ("follows an SDE of its own", "dpmpp_2m_sde"),
        "seeds_2": (_EXPONENTIAL + " of the SDE", "dpmpp_sde"),
        "seeds_3": (_EXPONENTIAL + " of the SDE", "dpmpp_sde"),
        "sa_solver_pece": ("evaluates the network again after correcting", "sa_solver"),
        "DPM++ 2M v2": ("does not end on the picture of a single point, so it is left out", "dpmpp_2m"),
    },
    "schedule": {
        "Automatic": ("is each sampler's own default there", "karras for the DPM samplers, normal for the others"),
        "Align Your Steps": (
            "is one list of levels for each family of checkpoints",
            "ays_sd15_a1111, ays_sd15 or ays_sdxl, in ten steps",
        ),
        "AYS": ("is one list of levels for each family of checkpoints", "ays_sd15 or ays_sdxl, in ten steps"),
        "GITS": ("is one list of levels for each number of steps", "gits_4, gits_5, gits_6, gits_8 or gits_10"),
        "KL Optimal": ("has one level more than steps and does not end at zero in A1111", "kl_optimal, as in ComfyUI"),
        "DDIM": ("may visit more levels than steps were asked for", "leading"),
        "ddim_uniform": ("may visit more levels than steps were asked for", "leading"),
        "linear_quadratic": ("was made for flows of videos", "normal"),
        "beta57": ("has other quantiles, those of Beta(0.5, 0.7)", "beta_timesteps"),
        "bong_tangent": ("was made for flows", "normal"),
        "laplace": ("gathers its levels about sigma 1", "kl_optimal"),
    },
}
"""Names of what recipes do not have → what it does, and what comes nearest here."""

_MISSING = {group: {folded(name): said for name, said in names.items()} for group, names in MISSING.items()}
_BEFORE = re.compile(r"^(k[\s_-]+|sample[\s_-]+|flax)(?=\w)", re.IGNORECASE)  # k_euler, sample_euler, FlaxDDIMScheduler
_AFTER = re.compile(r"[\s_-]+gpu$", re.IGNORECASE)  # ComfyUI: where the noise is drawn, which is noise.device here
_CFG_PP = re.compile(r"[\s_-]*cfg[\s_-]*(\+\+|pp)$", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s_,-]+")


class Names:
    """The names by which one library's choices are known. choices: group → choice → anything."""

    def __init__(self, choices: Mapping[str, Mapping[str, Any]]) -> None:
        from components.schedulers import scheduler_classes

        self.choices = choices
        self.exact: dict[str, dict[str, str]] = {}
        self.folds: dict[str, dict[str, set[str]]] = {}
        for group in CALLED:
            there = choices[group]
            called = [(name, choice) for choice, names in CALLED[group].items() for name in names if name]
            self.exact[group] = {name: choice for name, choice in [*called, *ALSO[group].items()] if choice in there}
            folds = self.folds[group] = {}
            for name, choice in [*self.exact[group].items(), *((choice, choice) for choice in there)]:
                folds.setdefault(folded(name), set()).add(choice)
        classes = scheduler_classes()
        for name, class_name in class_names(classes).items():
            choice = classes[class_name].aliases[0]  # type: ignore[attr-defined]
            if choice in choices["scheduler"]:
                self.folds["scheduler"].setdefault(name, {choice})

    def meaning(self, group: str, name: str) -> dict[str, str] | None:
        """Group → choice of what a name stands for: one choice, or a scheduler with a schedule. None: not known."""
        if name in self.choices[group]:
            return {group: name}
        if group not in CALLED:
            return None
        for left, right in self._splits(name) if group == "scheduler" and name not in self.exact[group] else ():
            scheduler, schedule = self._one("scheduler", left), self._one("schedule", right)
            if scheduler and schedule:
                whole = f"{scheduler}_{schedule}"  # a file of its own
                there = whole in self.choices["scheduler"]
                return {"scheduler": whole} if there else {"scheduler": scheduler, "schedule": schedule}
            return None
        one = self._one(group, name)
        return {group: one} if one else None

    def called(self, group: str, choice: str) -> dict[str, str]:
        """Tool → what it calls a choice, for the tools that have it."""
        names = CALLED[group].get(choice)
        base, _, schedule = choice.rpartition("_")
        if names is None and base in CALLED[group] and schedule in CALLED["schedule"]:
            both = zip(CALLED[group][base], CALLED["schedule"][schedule], strict=True)
            names = tuple(f"{name} {label}" if name and label else "" for name, label in both)
        return {tool: name for tool, name in zip(TOOLS, names or (), strict=False) if name}

    def sentence(self, group: str, name: str) -> str | None:
        """What to say of a name that another tool has and recipes have not, or that may mean two things."""
        if group not in CALLED:
            return None
        for left, right in self._splits(name) if group == "scheduler" else ():
            return self._said("scheduler", left) or self._said("schedule", right)
        return self._said(group, name)

    def _splits(self, name: str) -> Iterator[tuple[str, str]]:
        """The ways to take a name apart into one of a scheduler and one of a schedule, served or not."""
        for gap in _BETWEEN.finditer(name) if not self._known("schedule", name) else ():
            left, right = name[: gap.start()], name[gap.end() :]
            if left and right and self._known("scheduler", left) and self._known("schedule", right):
                yield left, right

    def _one(self, group: str, name: str) -> str | None:
        for spelling in _spellings(name):
            if spelling in self.choices[group]:
                return spelling
            if spelling in self.exact[group]:
                return self.exact[group][spelling]
            found = self.folds[group].get(folded(spelling), set())
            if found or _missing(group, spelling):
                return next(iter(found)) if len(found) == 1 and not _missing(group, spelling) else None
        return None

    def _known(self, group: str, name: str) -> bool:
        return bool(self._one(group, name) or self._said(group, name))

    def _said(self, group: str, name: str) -> str | None:
        for spelling in _spellings(name):
            if missing := _missing(group, spelling):
                return f"'{name}' {missing[0]}; nearest here: {group}={missing[1]}"
            found = self.folds[group].get(folded(spelling), set())
            if len(found) > 1:
                return f"'{name}' may be {' or '.join(sorted(found))}, whose names differ only in how they are spelt"
        plain = _CFG_PP.sub("", name)
        if group == "scheduler" and plain != name and self._known(group, plain):
            near = self._one(group, plain) or next(filter(None, (_missing(group, s) for s in _spellings(plain))))[1]
            return f"'{name}' lets guidance move the noise alone (CFG++); nearest here: {group}={near}"
        return None


def _missing(group: str, name: str) -> tuple[str, str] | None:
    return _MISSING[group].get(folded(name))


def _spellings(name: str) -> Iterator[str]:
    """The name, and without what some tools put before or behind it."""
    plain = name.strip(" \t\"'")
    yield from dict.fromkeys([name, plain, _BEFORE.sub("", plain), _AFTER.sub("", _BEFORE.sub("", plain))])

"""Constructors say their options: to inspect and help(), and in the stubs that type checkers and editors read."""

import inspect
import pydoc
from pathlib import Path
from typing import Any

import diffusers
import pytest
from stubs import ROOT, STUBS, stub

from components.schedulers import EulerDiscreteScheduler, FlaxEulerDiscreteScheduler, scheduler_classes
from components.schedulers.options import Option
from components.schedulers.signatures import annotation, told

CLASSES = scheduler_classes()


@pytest.mark.parametrize("name", CLASSES)
def test_a_signature_has_every_option_with_its_default(name: str) -> None:
    parameters = inspect.signature(CLASSES[name]).parameters
    assert {key: parameter.default for key, parameter in parameters.items()} == {
        key: option.default for key, option in CLASSES[name].options().items()
    }
    assert list(inspect.signature(CLASSES[name].__init__).parameters) == ["self", *parameters]


@pytest.mark.parametrize("name", CLASSES)
def test_names_of_the_reference_librarys_signature_are_options_here(name: str) -> None:
    """Apart from a function, which no file can hold (`tau` takes its place), and open ends."""
    theirs = inspect.signature(getattr(diffusers, name)).parameters
    absent = set(theirs) - set(inspect.signature(CLASSES[name]).parameters)
    assert absent <= {"kwargs", "tau_func"}


def test_help_lists_the_options_with_their_meaning() -> None:
    text = pydoc.plain(pydoc.render_doc(EulerDiscreteScheduler))
    assert "use_karras_sigmas: bool = False" in text.split("Methods defined here")[0]
    assert "steps_offset (int; 0): Shift of the 'leading' spacing" in text
    assert "__init__(self, /, *, num_train_timesteps: int = 1000" in text
    assert "s_churn: float = 0.0" in str(inspect.signature(FlaxEulerDiscreteScheduler))


def test_types_and_values_of_an_option() -> None:
    chosen = Option("kind", "a", (str, None), "Which.", choices=("a", "b"))
    assert str(annotation(chosen)) == "typing.Optional[typing.Literal['a', 'b']]"
    assert annotation(Option("low", None, (float, None), "")) == float | None
    assert told(chosen) == "    kind ('a' | 'b'; 'a'): Which."


def test_a_wrong_option_is_refused_as_before() -> None:
    with pytest.raises(ValueError, match="did you mean use_karras_sigmas"):
        EulerDiscreteScheduler(use_karas_sigmas=True)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("file", STUBS)
def test_stubs_are_what_the_command_writes(file: str) -> None:
    """If not: python tests/stubs.py."""
    assert (ROOT / file).read_text(encoding="utf-8") == stub(file)


def test_a_stub_tells_a_type_checker_what_the_module_has() -> None:
    import ast

    tree = ast.parse(Path(ROOT / "components/schedulers/__init__.pyi").read_text(encoding="utf-8"))
    stubs: dict[str, Any] = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    assert list(stubs) == list(CLASSES)
    for name, node in stubs.items():
        assert [argument.arg for argument in node.body[0].args.kwonlyargs] == list(CLASSES[name].options())

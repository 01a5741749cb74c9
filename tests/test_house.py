"""The house keeps its rules: imports run one way, and what is said to be light is."""

from __future__ import annotations

from house import circles, code_lines, imports


def test_no_module_imports_what_imports_it() -> None:
    """Imports inside functions and for type checking count as well."""
    assert circles(imports()) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_components_know_no_runner() -> None:
    upwards = {
        module: other
        for module, others in imports().items()
        for other in others
        if module.startswith("components") and other.startswith("runner")
    }
    assert upwards == {}


def test_only_backends_and_the_python_face_import_engines() -> None:
    """Planning and composing go through the backend's protocol."""
    engines = ("runner.backends.torch", "runner.backends.jax")
    own = ("runner.backends", "runner.python_face", "runner.demo", "runner.plan")  # plan counts JAX's devices
    strangers = {
        module
        for module, others in imports().items()
        if not module.startswith(own) and any(other.startswith(engines) for other in others)
    }
    assert strangers == set()


SOURCE = '''"""A docstring

of three lines."""

# a comment
x = (
    1,  # one
)


def f():
    """What it does."""
    return x
'''


def test_lines_of_code_are_those_with_code_on_them() -> None:
    assert code_lines(SOURCE) == 5

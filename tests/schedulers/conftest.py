"""Warnings of the reference library about its own use of numpy say nothing of ours."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    for category in ("DeprecationWarning", "FutureWarning"):
        config.addinivalue_line("filterwarnings", f"ignore::{category}:diffusers")
    config.addinivalue_line("filterwarnings", "ignore:__array_wrap__ must accept context:DeprecationWarning")

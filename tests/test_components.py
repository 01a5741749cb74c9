"""The package of parts: names are found lazily, and nothing heavy comes with them."""

import subprocess
import sys

import pytest

import components


def test_parts_and_schedulers_are_names_of_the_package():
    from components import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    assert [c.__name__ for c in (AutoencoderKL, DDIMScheduler, UNet2DConditionModel)] == [
        "AutoencoderKL",
        "DDIMScheduler",
        "UNet2DConditionModel",
    ]
    assert {"AutoencoderKL", "DDIMScheduler", "open_checkpoint"} <= set(dir(components))


@pytest.mark.parametrize("name", ["NoScheduler", "no_such_part"])
def test_what_is_not_there_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=name):
        getattr(components, name)


def test_importing_the_package_and_asking_for_configurations_imports_nothing_heavy():
    code = (
        "import sys, components, components.checkpoint, components.model_config\n"
        "components.open_checkpoint, dir(components), components.DDIMScheduler\n"
        "heavy = {'torch', 'jax', 'transformers', 'huggingface_hub', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The networks in JAX. Without jax and flax, importing anything from here says what to install."""

from importlib.util import find_spec

if absent := [name for name in ("jax", "flax") if find_spec(name) is None]:
    raise ImportError(
        f"this part needs what is not installed: {' and '.join(absent)}. Install it: pip install {' '.join(absent)}"
    )

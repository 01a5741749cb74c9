"""The networks in JAX. Without jax and flax, importing anything from here says what to install."""

from components.packages import refuse_absent

refuse_absent("this part", ("jax", "flax"))

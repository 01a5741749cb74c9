"""Conditions: rows joined, repeated, replaced and padded, with numpy's arrays and with those of either backend."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from runner.backends.base import Guidance
from runner.backends.network_call import arguments
from runner.conditions import Conditions, join, pad

LIBRARIES: dict[str, tuple[Any, Any]] = {
    "numpy": (np.asarray, lambda arrays, axis: np.concatenate(arrays, axis)),
    "torch": (torch.as_tensor, lambda arrays, axis: torch.cat([torch.as_tensor(one) for one in arrays], axis)),
    "jax": (jnp.asarray, jnp.concatenate),
}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return LIBRARIES[request.param]


def request_of(make: Any, length: int, value: float, negative_length: int | None = None) -> Conditions:
    """One row of `length` tokens, all `value`; without the prompt they are -value."""
    absent = {"states": make(np.full((1, negative_length or length, 2), -value, np.float32))}
    return Conditions({"states": make(np.full((1, length, 2), value, np.float32)), "sizes": np.full((1, 3), 7)}, absent)


def test_join_repeat_and_calls_keep_rows_in_order(library: tuple[Any, Any]) -> None:
    make, arrays = library
    both = join([request_of(make, 2, value) for value in (1.0, 2.0)], arrays).repeat(2)
    without, with_prompt = both.calls(twice=True)["states"]
    assert np.asarray(with_prompt)[:, 0, 0].tolist() == [1, 1, 2, 2]
    assert np.asarray(without)[:, 0, 0].tolist() == [-1, -1, -2, -2]
    assert [np.asarray(half).shape for half in both.calls(twice=True)["sizes"]] == [(4, 3), (4, 3)]
    assert [len(halves) for halves in both.calls(twice=False).values()] == [1, 1]


def test_one_request_that_all_share_stays_one_row(library: tuple[Any, Any]) -> None:
    make, arrays = library
    one = request_of(make, 2, 1.0)
    assert join([one, one], arrays) is one


def test_replaced_changes_what_is_named_and_no_more() -> None:
    one = request_of(np.asarray, 2, 1.0)
    assert one.negative is not None
    other = one.replaced({"sizes": 5}, {})
    assert other.positive == {"states": one.positive["states"], "sizes": 5}
    assert other.negative == one.negative
    assert Conditions({"states": 1}).replaced({}, {}).negative is None
    assert Conditions({"states": 1}).replaced({}, {"states": 2}).negative == {"states": 2}


def test_pad_brings_rows_to_one_length_with_zeros_and_says_what_was_there(library: tuple[Any, Any]) -> None:
    make, arrays = library
    given = [request_of(make, 2, 1.0, negative_length=4), request_of(make, 5, 2.0)]
    padded = pad(given, "states", "mask", arrays, multiple=3)
    both = join([Conditions(one.positive, one.negative) for one in padded], arrays)
    for half, sign, lengths in ((both.positive, 1, (2, 5)), (both.negative, -1, (4, 5))):
        assert half is not None
        states, mask = np.asarray(half["states"]), np.asarray(half["mask"])
        assert states.shape == (2, 6, 2) and states.dtype == np.float32 and mask.dtype == bool
        for row, length in enumerate(lengths):
            assert mask[row].tolist() == [True] * length + [False] * (6 - length)
            assert (states[row, :length] == sign * (row + 1)).all() and not states[row, length:].any()


def test_pad_leaves_half_precision_and_requests_without_guidance_as_they_are() -> None:
    given = [Conditions({"states": torch.ones(1, n, 2, dtype=torch.bfloat16)}) for n in (1, 3)]
    padded = pad(given, "states", "mask", lambda arrays, axis: torch.cat(tuple(arrays), axis))
    assert [one.positive["states"].dtype for one in padded] == [torch.bfloat16] * 2
    assert [one.negative for one in padded] == [None, None]
    assert padded[1].positive["states"] is given[1].positive["states"]


def test_a_condition_goes_by_its_own_name_but_for_what_u_nets_take_otherwise() -> None:
    given = {"encoder_hidden_states": 1, "text_embeds": 2, "time_ids": 3, "pooled_projections": 4}
    assert arguments(given) == ([1], {"added_cond_kwargs": {"text_embeds": 2, "time_ids": 3}, "pooled_projections": 4})
    assert arguments({}) == ([], {})


def test_guidance_calls_twice_where_there_is_something_to_be_without() -> None:
    assert Guidance(2.0).twice(Conditions({"states": 1}, {"states": 2}))
    assert not Guidance(2.0).twice(Conditions({"states": 1}))
    assert not Guidance(1.0).twice(Conditions({"states": 1}, {"states": 2}))
    assert not Guidance(2.0, embedded=True).twice(Conditions({"states": 1}, {"states": 2}))

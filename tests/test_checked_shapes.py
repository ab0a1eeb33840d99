"""Shapes are enforced in every test, so a signature cannot say what is not so."""

import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped

from checked_shapes import arrays_checked, unchecked
from ipoke.scenes.parts import mirrored


def test_an_argument_of_another_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="half"):
        mirrored(np.zeros(3), np.zeros(4))


def test_where_nothing_is_checked_the_package_answers_itself() -> None:
    with unchecked(), pytest.raises(ValueError, match="same shape"):
        mirrored(np.zeros(3), np.zeros(4))


@pytest.mark.parametrize("shape", [(3,), (2, 4)])
def test_a_result_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    @jaxtyped(typechecker=arrays_checked)
    def doubled(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " 2*n"]:
        return np.zeros(shape)

    with pytest.raises(TypeCheckError, match="return value"):
        doubled(np.zeros(2))


def test_what_is_no_array_is_left_to_the_type_checker() -> None:
    def named(number: int, place: Float[np.ndarray, "2"]) -> str:
        return f"{number}: {place}"

    checked = arrays_checked(named)
    assert checked("one", np.zeros(2)) == "one: [0. 0.]"  # ty: ignore[invalid-argument-type]
    assert arrays_checked(len_of) is len_of


def len_of(word: str) -> int:
    return len(word)

"""The public verbs: where users find them, whatever room they are written in."""

from __future__ import annotations

import inspect
import pickle

import pytest

import mosaic

VERBS = [name for name in mosaic.__all__ if name not in ("Gate", "__version__")]


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_the_packages_own(name: str) -> None:
    verb = getattr(mosaic, name)
    assert (verb.__module__, verb.__qualname__) == ("mosaic", name)
    assert pickle.loads(pickle.dumps(verb)) is verb
    assert inspect.getdoc(verb)


def test_every_function_of_the_package_is_told() -> None:
    found = {name for name, value in vars(mosaic).items() if inspect.isfunction(value)}
    assert found - {"__getattr__"} == set(VERBS)
    assert mosaic.Gate.__name__ == "Gate"
    with pytest.raises(AttributeError, match="has no attribute 'close'"):
        mosaic.close  # type: ignore[attr-defined]  # noqa: B018

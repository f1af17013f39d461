"""Errors name the culprit, say what to do, and never show a secret."""

import pickle

import pytest

from mosaic.errors import (
    BrokenCatalogError,
    InputError,
    MosaicError,
    NoItemsError,
    Problem,
    ReadError,
    SourceMismatchError,
    WorkerError,
    redact,
)


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://a.b/x.tif?sig=SECRET&se=1", "https://a.b/x.tif"),
        ("https://user:SECRET@a.b/x.tif", "https://a.b/x.tif"),
        ("s3://bucket/key.tif", "s3://bucket/key.tif"),
        ("/data/what?.tif", "/data/what?.tif"),
        ("https://[broken/x?SECRET", "https://[broken/x"),
    ],
)
def test_redact(href: str, shown: str) -> None:
    assert redact(href) == shown


def test_problem_reads_as_one_line() -> None:
    problem = Problem("crs", "no CRS", "give it one", "S2A", "B04", "https://a/x.tif?sig=SECRET")
    assert str(problem) == "item S2A asset B04 (https://a/x.tif): no CRS; give it one"
    assert "SECRET" not in str(problem.as_dict())


def test_input_error_lists_every_problem() -> None:
    error = NoItemsError([Problem("a", "one"), Problem("b", "two")], "try again")
    assert isinstance(error, InputError)
    assert str(error) == "one\ntwo\ntry again"


@pytest.mark.parametrize(
    "kind", [InputError, NoItemsError, SourceMismatchError, BrokenCatalogError, ReadError]
)
def test_errors_come_whole_from_other_processes(kind: type[MosaicError]) -> None:
    problems = (Problem("crs", "no CRS", "give it one", "S2A", "B04", "https://a/x.tif"),)
    error = kind(problems)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.problems == problems
    told = InputError(problems, "try again")
    assert str(pickle.loads(pickle.dumps(told))) == str(told)
    lacks = WorkerError("no mosaic")
    assert str(pickle.loads(pickle.dumps(lacks))) == str(lacks)

"""Errors name the culprit, say what to do, and never show a secret."""

import pickle

import pytest

from mosaic.errors import (
    BrokenCatalogError,
    CompositeError,
    ExportExistsError,
    ForeignError,
    HeaderError,
    InputError,
    MissingError,
    MosaicError,
    NoItemsError,
    Problem,
    ReadError,
    RecipeError,
    SourceMismatchError,
    TiffBlockError,
    UnfinishedError,
    UnknownCollectionError,
    UsageError,
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


PROBLEM = Problem("crs", "no CRS", "give it one", "S2A", "B04", "https://a/x.tif")


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no"),
        InputError([PROBLEM], "try again"),
        NoItemsError([PROBLEM]),
        SourceMismatchError([PROBLEM]),
        BrokenCatalogError([PROBLEM]),
        UnknownCollectionError("no such collection", "name another", status=404),
        RecipeError("unknown key", file="mine.toml", line=22, key="bands.red"),
        HeaderError(PROBLEM),
        ReadError([PROBLEM]),
        CompositeError("mine", "it raised", ["S2A"], "rows 0:512"),
        WorkerError("no mosaic"),
        ExportExistsError("it is there"),
        UnfinishedError("out.tif", ["other bands"]),
        TiffBlockError("cut off", href="https://a/x.tif"),
        ForeignError("no driver", href="https://a/x.tif", advice="convert it"),
        MissingError("gone", href="https://a/x.tif", status=404, attempts=1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_whole_from_other_processes(error: MosaicError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))

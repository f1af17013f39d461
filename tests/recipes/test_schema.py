"""A mistake in a recipe is told by file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaic.errors import RecipeError, UsageError
from mosaic.recipes.fill import filled
from mosaic.recipes.load import load, load_all
from mosaic.recipes.schema import parse

GOOD = """\
title = "Test"
endpoint = "https://stac.example.com/v1"
collections = ["one", "two"]
source = "https://example.com/docs"
stacks = [["a", "b"]]

[[limits]]
hosts = ["stac.example.com"]
requests_per_minute = 60
source = "https://example.com/limits"

[[limits]]
hosts = ["files.example.com"]
concurrency = 4
source = "https://example.com/limits"

[defaults]
dtype = "int16"
resampling = "bilinear"

[bands.a]
common_name = "red"

[bands.b]
asset = { one = "x", two = "y" }
encoding = "fixed"
scale = 0.01

[bands."q a"]
dtype = "uint8"
nodata = 255

[mask]
band = "q a"
bad = ["cloud"]

[mask.bits]
cloud = [1, 2]
"""

WRONG = [
    ("[bands.a]\n", "[bands.a]\nresamplng = 1\n", 22, "bands.a.resamplng", "did you mean resampl"),
    ('"bilinear"', '"bilinaer"', 19, "defaults.resampling", "isn't one of nearest, bilinear"),
    ("requests_per_minute = 60", "requests_per_minute = 0", 9, "limits.requests_per", "above 0"),
    ("concurrency = 4", "concurency = 4", 14, "limits.concurency", "did you mean concurrency?"),
    ('"https://stac.example.com/v1"', '"https://stac.example.com/v1?key=a"', 2, "endpoint",
     "without user, query or token"),
    ('title = "Test"', 'titel = "Test"', 1, "titel", "did you mean title?"),
    ('source = "https://example.com/docs"\n', "", 0, "", "lacks source"),
    ("nodata = 255", "nodata = 256", 31, "bands.q a.nodata", "pixels of uint8 can't be 256"),
    ("scale = 0.01\n", "", 26, "bands.b.encoding", "wants a scale"),
    ('encoding = "fixed"\n', "", 26, "bands.b.scale", 'is for encoding = "fixed"'),
    ('one = "x"', 'three = "x"', 25, "bands.b.asset", "three isn't among the collections"),
    ('[["a", "b"]]', '[["a", "c"]]', 5, "stacks", "no band c"),
    ('band = "q a"', 'band = "qa"', 34, "mask.band", "no band qa"),
    ('bad = ["cloud"]', 'bad = ["clouds"]', 35, "mask.bad", "no class or field clouds"),
    ("cloud = [1, 2]", "cloud = [2, 1]", 37, "mask.bits", "a table of names and bits"),
    ("[mask]\n", "[mask]\nclasses = { cloud = 1 }\n", 33, "mask", "either classes or bits"),
    ('dtype = "int16"', 'dtype = "int16', 18, "", "no TOML"),
    ("[bands.a]\n", "[bands.a]\nundeclared = true\n", 22, "bands.a.undeclared", "nodata value"),
]  # fmt: skip


def test_a_whole_recipe() -> None:
    recipe = parse(GOOD, "test", "test.toml")
    assert [rule.name for rule in recipe.bands] == ["a", "b", "q a"]
    assert recipe.bands[1].key("two") == "y"
    assert recipe.bands[1].key("another") == "b"
    assert recipe.mask
    assert recipe.mask.as_dict() == {"asset": "q a", "bad": ["cloud"], "bits": {"cloud": [1, 2]}}
    assert [one.limits.requests_per_minute for one in recipe.limits] == [60, None]


@pytest.mark.parametrize(("right", "wrong", "line", "key", "said"), WRONG)
def test_a_typo_is_told_by_line_and_key(
    right: str, wrong: str, line: int, key: str, said: str
) -> None:
    assert GOOD.count(right) == 1 or right in ("[mask]\n",)
    with pytest.raises(RecipeError) as caught:
        parse(GOOD.replace(right, wrong, 1), "test", "test.toml")
    error = caught.value
    assert error.line == line, str(error)
    assert error.key.startswith(key)
    assert said in str(error)
    assert str(error).startswith(f"test.toml line {line}" if line else "test.toml")


def test_recipes_are_found_by_name_and_by_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nearest: sentinel-2-l2a-cdse"):
        load("sentinel-2-l2a-cdes")
    with pytest.raises(UsageError, match="can't be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "mine.toml").write_text(GOOD)
    assert load(tmp_path / "mine.toml").name == "mine"
    assert all(recipe.source and recipe.limits for recipe in load_all())


def test_what_an_item_says_itself_stays() -> None:
    recipe = parse(GOOD, "test", "test.toml")
    item = {
        "collection": "two", "properties": {}, "stac_extensions": [],
        "assets": {
            "a": {"href": "a.tif", "bands": [{"data_type": "uint16", "eo:common_name": "blue"}]},
            "y": {"href": "y.tif", "data_type": "float32", "raster:offset": 3.0},
            "q a": {"href": "q.tif", "bands": [{}, {}]},
        },
    }  # fmt: skip
    found = filled(item, recipe)
    assert found["assets"]["a"]["bands"] == [{"data_type": "uint16", "eo:common_name": "blue"}]
    assert found["assets"]["y"].get("bands") in (None, [{}])
    assert found["assets"]["q a"] == item["assets"]["q a"]
    del item["assets"]["y"]["raster:offset"]
    band = filled(item, recipe)["assets"]["y"]["bands"][0]
    assert band == {"raster:scale": 0.01, "raster:offset": 0.0}

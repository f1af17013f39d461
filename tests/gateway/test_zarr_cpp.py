"""`/zarr` by TensorStore, Zarr's client in C++."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

import mosaic
from mosaic.gateway.app import Gateway
from mosaic.settings import Retry
from tests.gateway.conftest import Serve
from tests.support.range_server import RangeServer


def by_tensorstore(gateway: Gateway, path: str, choice: str = "") -> Any:
    """An array, opened; what fails isn't asked for again."""
    base = f"{gateway.url}/zarr/mosaic{choice}"
    store = {"driver": "http", "base_url": base, "path": f"{path}/"}
    context = tensorstore.Context({"http_request_retries": {"max_retries": 1}})
    return tensorstore.open({"driver": "zarr3", "kvstore": store}, context=context).result()


def test_tensorstore_reads_what_open_gives(serve: Serve, remote: Path) -> None:
    """Whole arrays, a window across chunks, NaN where nothing lies; other keys aren't there."""
    gateway = serve(remote)
    want = mosaic.open(remote).load()
    for name in ("B04", "B03", "x", "y", "spatial_ref"):
        got = by_tensorstore(gateway, name)
        assert tuple(got.domain.labels) == want[name].dims
        assert got.dtype.numpy_dtype == want[name].dtype
        np.testing.assert_array_equal(got.read().result(), want[name].values)
    times = by_tensorstore(gateway, "time").read().result()
    np.testing.assert_array_equal(times, want.time.values.astype("datetime64[us]").astype(int))
    choice = "/groupby=month&method=mean&chunk=256"
    mean = mosaic.open(remote, groupby="month", method="mean").B04.load()
    assert mean.isnull().any()
    assert max(mean.shape) > 256
    window = by_tensorstore(gateway, "B04", choice)[0, 200:300, 210:290]
    np.testing.assert_array_equal(window.read().result(), mean.values[0, 200:300, 210:290])
    with pytest.raises(ValueError, match="NOT_FOUND"):
        by_tensorstore(gateway, "B99")


def test_a_scene_that_cant_be_read_is_an_error(
    serve: Serve, remote: Path, server: RangeServer
) -> None:
    gateway = serve(remote, retry=Retry(attempts=2, base=0.01, longest=0.1))
    server.behaviour.forbidden, server.behaviour.denial = "S2_32_0_1/B04.tif", 404
    array = by_tensorstore(gateway, "B04", "/groupby=all")
    with pytest.raises(ValueError, match="502"):
        array.read().result()

"""Mosaics in PostGIS: Debian's, started here, read by real GDALs over ``PG:`` and by Python."""

from __future__ import annotations

import json
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import mosaic
from mosaic.cli import main
from mosaic.errors import (
    CatalogExistsError,
    DatabaseError,
    InputError,
    MosaicError,
    NotACatalogError,
    UsageError,
)
from tests.interop.conftest import made_root
from tests.interop.postgis import USER, Server, serving
from tests.interop.roots import ROOTS, Root, cache_folder
from tests.support.mosaics import write_case
from tests.support.scenes import read, seam_scenes

pytestmark = pytest.mark.interop

JOB = Path(__file__).with_name("qgis_job.py")
BANDS = ("B04", "B03", "B02")


@pytest.fixture(scope="session")  # pytest runs a module once for each root
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(made_root("trixie", "postgis"), tmp_path_factory.mktemp("postgis")) as one:
        yield one


@pytest.fixture(autouse=True)
def home(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """libpq finds the password, and builds wait in a cache of the test's own."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MOSAIC_ROOTS", str(cache_folder()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")  # pytest runs a module once for each root
def items(folder: Path) -> Path:
    """Eight items in two zones on two dates, three bands."""
    return write_case(folder / "postgis" / "scenes", seam_scenes(128, 60.0, BANDS, dates=2))


def run(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def tables(server: Server, schema: str) -> set[str]:
    with server.connect() as connection:
        found = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (schema,)
        )
        return {name for (name,) in found}


@pytest.fixture(scope="session")  # pytest runs a module once for each root
def twin(server: Server, folder: Path, items: Path) -> Path:
    """One mosaic as a folder and in the schema ``twin``, and the doors to it."""
    options: dict[str, Any] = {"slices": "day", "stacks": [BANDS], "resampling": "bilinear"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(folder / "postgis/cache"))
        mosaic.build(items, folder / "postgis/twin", **options)
        report = mosaic.build(items, server.url("twin"), **options)
        assert report.indexes == (("tiles_B04", 8), ("tiles_B03", 8), ("tiles_B02", 8))
        mosaic.doors(server.url("twin"), folder / "postgis/doors")
        service = "postgresql:///?service=gis&schema=twin"
        mosaic.doors(service, folder / "postgis/service")
    assert not list((folder / "postgis/cache").rglob("*.gpkg"))
    return folder / "postgis/twin"


@pytest.mark.parametrize("doors", ["doors", "service"])
@pytest.mark.parametrize(
    ("door", "file"),
    [
        ("B04.gti", "B04.gti.gpkg"),
        ("B03_2025-06-06.gti", "B03_2025-06-06.gti"),
        ("B04_B03_B02.vrt", "B04_B03_B02.vrt"),
    ],
)
def test_gdal_reads_the_same_pixels_over_pg(
    gdal: Root, doors: str, door: str, file: str, twin: Path, server: Server, folder: Path
) -> None:
    """By host, or by service; from a folder elsewhere; whole, and a window."""
    found = []
    for path in (twin.parent / doors / door, twin / file):
        for window in ((), ("-srcwin", "40", "30", "50", "60")):
            out = folder / f"postgis/{gdal.name}.tif"
            done = gdal.run(
                ["gdal_translate", "-q", *window, path, out],
                binds=[folder, server.folder],
                env=server.env,
            )
            assert "rror" not in done.stderr
            found.append(read(out))
    here, here_window, there, there_window = found
    assert (here != 0).mean() > 0.5
    np.testing.assert_array_equal(here, there)
    np.testing.assert_array_equal(here_window, there_window)


def test_gdal_knows_a_slice_from_the_whole(
    gdal: Root, twin: Path, server: Server, folder: Path
) -> None:
    """The database sorts '~' before digits: the filter's texts must be compared as bytes."""
    counts = {}
    for door in ("B04.gti", "B04_2025-06-01.gti"):
        text = (twin.parent / "doors" / door).read_text()
        where = text.partition("<Filter>")[2].partition("</Filter>")[0]
        name = text.partition("<IndexDataset>")[2].partition("</IndexDataset>")[0]
        words = ["ogrinfo", "-json", name, "tiles_B04"]
        words += ["-where", where.replace("&gt;", ">").replace("&lt;", "<")] if where else []
        told = json.loads(gdal.run(words, env=server.env, binds=[server.folder]).stdout)
        counts[door] = told["layers"][0]["featureCount"]
    assert counts == {"B04.gti": 8, "B04_2025-06-01.gti": 4}
    with server.connect() as connection:
        assert connection.execute("SELECT '9' > '~'").fetchone() == (True,), (
            "the test shows nothing"
        )


def test_python_reads_the_same(twin: Path, server: Server) -> None:
    url = server.url("twin")
    here, there = mosaic.read(twin), mosaic.read(url)
    np.testing.assert_array_equal(here.values, there.values)
    np.testing.assert_array_equal(here.valid, there.valid)
    one = mosaic.open(url, groupby="solar_day", datetime="2025-06-06", bands=["B04"])
    two = mosaic.open(twin, groupby="solar_day", datetime="2025-06-06", bands=["B04"])
    assert one.identical(two)
    np.testing.assert_array_equal(one.B04.values, two.B04.values)
    sql = 'select id, datetime, "eo:cloud_cover", xmin from items order by id'
    assert mosaic.query(url, sql).equals(mosaic.query(twin, sql))
    assert mosaic.env(url) == mosaic.env(twin)
    told, want = mosaic.info(url), mosaic.info(twin)
    assert told["path"] == url
    same = ("items", "assets", "crs", "shape", "bounds", "bbox", "interval", "sort", "source_crs")
    assert {key: told[key] for key in same} == {key: want[key] for key in same}
    assert told["bytes"] > 100_000


def test_another_process_reads_it(server: Server, twin: Path) -> None:
    """As dask's workers do: what travels names the database, and nothing else."""
    lazy = mosaic.open(server.url("twin"), bands=["B04"], groupby="all", chunks={})
    packed = pickle.dumps(lazy)
    assert server.password.encode() not in packed
    code = "import pickle, sys; print(int(pickle.load(sys.stdin.buffer).B04.values.sum()))"
    done = subprocess.run([sys.executable, "-c", code], input=packed, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == int(mosaic.read(twin, bands=["B04"]).values.sum())


def test_tables_hold_what_the_files_hold(server: Server, twin: Path) -> None:
    rows = pq.read_table(twin / "items.parquet").to_pylist()
    with server.connect() as connection:
        found = connection.execute(
            'SELECT id, datetime, "proj:code", assets, bbox, ST_AsBinary(geometry), '
            "ST_SRID(geometry) FROM twin.items ORDER BY id"
        ).fetchall()
        kinds = dict(
            connection.execute(
                "SELECT f_table_name, srid FROM geometry_columns WHERE f_table_schema = 'twin' "
                "AND f_table_name LIKE 'tiles%'"
            ).fetchall()
        )
        indexed = connection.execute(
            "SELECT count(*) FROM pg_indexes WHERE schemaname = 'twin' AND indexdef LIKE '%gist%'"
        ).fetchone()
    assert len(found) == len(rows) == 8
    for row, (id_, when, code, assets, box, geometry, srid) in zip(
        sorted(rows, key=lambda one: one["id"]), found, strict=True
    ):
        assert (id_, when, code, box) == (row["id"], row["datetime"], row["proj:code"], row["bbox"])
        assert {key: one["href"] for key, one in assets.items()} == {
            key: one["href"] for key, one in row["assets"].items()
        }
        assert (bytes(geometry), srid) == (row["geometry"], 4326)
    assert set(kinds) == {"tiles_B02", "tiles_B03", "tiles_B04"}
    assert set(kinds.values()) == {int(mosaic.info(twin)["crs"].removeprefix("EPSG:"))}
    assert indexed == (4,)


def test_it_appears_whole_or_not_at_all(server: Server, items: Path, tmp_path: Path) -> None:
    """A build that is killed as it loads, one whose items are bad, one that may not overwrite."""
    url = server.url("whole")
    broken = json.loads(items.read_text())
    broken["features"][0]["properties"]["proj:epsg"] = 32601
    for feature in broken["features"]:
        for asset in feature["assets"].values():
            asset["href"] = str(items.parent / asset["href"])
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    with pytest.raises(InputError):
        mosaic.build(tmp_path / "broken.json", url)
    assert tables(server, "whole") == set()
    mosaic.build(items, url, bands=["B04"])
    before = tables(server, "whole")
    assert before == {"files", "items", "tiles_B04"}
    with pytest.raises(CatalogExistsError, match="--overwrite"):
        mosaic.build(items, url, bands=["B03"])
    with pytest.raises(InputError):
        mosaic.build(tmp_path / "broken.json", url, overwrite=True)
    # a lock on the old tables holds the load up before its end; then it is killed
    with server.connect() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM whole.items")
        command = [sys.executable, "-m", "mosaic", "build", str(items), "-o", url]
        process = subprocess.Popen([*command, "--bands", "B02,B03", "--overwrite"])
        _until(server, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        # others still read the old one, and nobody else builds
        assert mosaic.read(url, bands=["B04"]).valid.any()
        with pytest.raises(DatabaseError, match="being built by another process"):
            mosaic.build(items, url, overwrite=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    _until(
        server,
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory')",
    )
    assert tables(server, "whole") == before
    travelling = pickle.dumps(mosaic.open(url, bands=["B04"], groupby="all"))
    assert mosaic.build(items, url, bands=["B02"], overwrite=True).items == 8
    assert tables(server, "whole") == {"files", "items", "tiles_B02"}
    with pytest.raises(MosaicError, match="built anew"):
        pickle.loads(travelling).B04.values  # noqa: B018 - reading is what raises


def _until(server: Server, sql: str) -> None:
    end = time.monotonic() + 60
    with server.connect() as connection:
        while connection.execute(sql).fetchone() is None:
            assert time.monotonic() < end, sql
            time.sleep(0.05)


def test_tables_of_others_stay(server: Server, items: Path) -> None:
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA others")
        connection.execute("CREATE TABLE others.plots (name text)")
        mosaic.build(items, server.url("others"), bands=["B04"])
        connection.execute("CREATE VIEW others.mine AS SELECT id FROM others.items")
        connection.execute("CREATE ROLE reader; GRANT SELECT ON others.items TO reader, PUBLIC")
        with pytest.raises(DatabaseError, match=r"view others.mine depends on table"):
            mosaic.build(items, server.url("others"), bands=["B03"], overwrite=True)
        connection.execute("DROP VIEW others.mine")
        mosaic.build(items, server.url("others"), bands=["B03"], overwrite=True)
        assert tables(server, "others") == {"plots", "files", "items", "tiles_B03"}
        granted = connection.execute(
            "SELECT grantee FROM information_schema.role_table_grants "
            "WHERE table_schema = 'others' AND table_name = 'items' AND grantee <> %s",
            (USER,),
        ).fetchall()
        assert sorted(granted) == [("PUBLIC",), ("reader",)], "who may read, may still read"
        connection.execute("CREATE SCHEMA taken")
        for name in ("items", "files"):
            connection.execute(f"CREATE TABLE taken.{name} (name text)")
            with pytest.raises(CatalogExistsError, match=f"table {name} that isn't mosaic's"):
                mosaic.build(items, server.url("taken"), overwrite=True)
            connection.execute(f"DROP TABLE taken.{name}")


def test_no_password_anywhere(
    server: Server, items: Path, twin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = server.password
    told = [
        run("build", items, "-o", server.url("secret"), "-v").output,
        run("info", server.url("secret"), "--json").output,
        run("doors", server.url("secret"), tmp_path / "doors", "--json").output,
        run("build", items, "-o", server.url("secret")).output,
    ]
    assert "written  postgresql://mosaic@127.0.0.1" in told[0]
    with server.connect() as connection:
        dumped = connection.execute(
            "SELECT string_agg(encode(data, 'escape'), '') FROM secret.files"
        ).fetchone()
    for path in [*(tmp_path / "doors").iterdir(), *twin.parent.glob("*/*.gti")]:
        text = path.read_text()
        assert "PG:" in text or path.parent == twin or path.suffix == ".vrt"
        told.append(text)
    assert not [text for text in (*told, *map(str, dumped or ())) if secret in text]
    with_secret = server.url("secret").replace(USER, f"{USER}:{secret}")
    for words in (
        ("build", items, "-o", with_secret),
        ("info", with_secret),
        ("doors", with_secret, tmp_path / "d"),
        ("build", items, "-o", f"{server.url('secret')}&password={secret}"),
        ("check", with_secret),
        ("update", with_secret),
        ("query", with_secret, "select 1"),
    ):
        done = run(*words)
        assert done.exit_code == 1
        assert secret not in done.output
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    done = run("info", server.url("secret"))
    assert done.exit_code == 1
    assert "no password supplied" in done.output


def test_what_is_wrong_is_said(server: Server, items: Path, tmp_path: Path) -> None:
    with pytest.raises(NotACatalogError, match="holds no mosaic; make one with"):
        mosaic.open(server.url("nothing"))
    with pytest.raises(DatabaseError, match=r"can't be reached.*Connection refused"):
        mosaic.build(items, "postgresql://mosaic@127.0.0.1:1/gis")
    with server.connect() as connection:
        connection.execute("CREATE DATABASE plain")
        connection.execute(f"CREATE ROLE guest LOGIN PASSWORD '{server.password}'")
    with pytest.raises(DatabaseError, match="no PostGIS: CREATE EXTENSION"):
        mosaic.build(items, server.url("m", "plain"))
    guest = server.url("guest").replace(USER, "guest")
    with pytest.raises(DatabaseError, match=r"permission denied.*GRANT CREATE"):
        mosaic.build(items, guest)
    for url, said in (
        (server.url("no-name"), "letters, digits and _"),
        (f"{server.url('m')}&colour=red", r"libpq doesn't take it \(colour\)"),
    ):
        with pytest.raises(UsageError, match=said):
            mosaic.build(items, url)
    for verb in ("update", "check", "relocate", "serve"):
        done = run(verb, server.url("twin"))
        assert done.exit_code == 1, verb
        assert f"{verb} works on folders" in done.output
    with pytest.raises(UsageError, match="doors lead to a database"):
        mosaic.doors(str(tmp_path), tmp_path / "doors")
    with pytest.raises(UsageError, match="--overview"):
        mosaic.build(items, server.url("m"), overview=1000)


def test_names_and_crs_that_postgis_does_not_take_as_they_are(
    gdal: Root, server: Server, folder: Path
) -> None:
    """A CRS without a number in PostGIS; assets whose names are no plain names of tables."""
    home = folder / f"postgis/odd-{gdal.name}"
    long = "reflectance." + "x" * 60
    document = json.loads(
        write_case(home / "scenes", seam_scenes(64, 60.0, ("B04", "B03"), dates=1)).read_text()
    )
    for item in document["features"]:
        assets = item["assets"]
        item["assets"] = {'red "1"': assets["B04"], long: assets["B03"]}
        for asset in item["assets"].values():
            asset["href"] = str(home / "scenes" / asset["href"])
    crs = "+proj=laea +lat_0=48 +lon_0=12 +datum=WGS84 +units=m +type=crs"
    mosaic.build(document, home / "twin", dst_crs=crs)
    schema = f"odd_{gdal.name}"
    report = mosaic.build(document, server.url(schema), dst_crs=crs)
    names = [name for name, _ in report.indexes]
    assert len(set(names)) == 2
    assert all(len(name) <= 63 for name in names)
    for door in map(Path, mosaic.doors(server.url(schema), home / "doors")):
        found = []
        for path in (door, home / "twin" / f"{door.stem}.gti.gpkg"):
            gdal.run(
                ["gdal_translate", "-q", path, home / "out.tif"],
                binds=[folder, server.folder],
                env=server.env,
            )
            found.append(read(home / "out.tif"))
        assert (found[0] != 0).mean() > 0.3
        np.testing.assert_array_equal(*found)


def test_what_the_readme_shows_runs(
    gdal: Root, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blocks of `bash`: mosaic here, GDAL and psql in the root."""
    home = folder / f"postgis/readme-{gdal.name}"
    write_case(home / "demo/scenes", seam_scenes(128, 60.0, BANDS, dates=2))
    monkeypatch.chdir(home)
    text = (Path(__file__).parents[2] / "README.md").read_text()
    lines = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(lines) >= 4
    for line in lines:
        line = line.replace(" --slices", " --overwrite --slices")  # the other GDAL built it too
        command, *words = shlex.split(line)
        if command == "mosaic":
            done = run(*words)
            assert done.exit_code == 0, done.output
            continue
        where = ROOTS["trixie"] if command == "psql" else gdal
        said = where.run([command, *words], binds=[folder, server.folder], cwd=home, env=server.env)
        assert "rror" not in said.stderr
        if command == "psql":
            assert "2025-06-06T" in said.stdout
            assert "(3 rows)" in said.stdout
    assert (read(home / "window.tif") != 0).mean() > 0.2


def test_qgis_shows_the_same(desktop: Root, server: Server, twin: Path, folder: Path) -> None:
    told = mosaic.info(twin)
    height, width = told["shape"]
    out = folder / "postgis"
    layers = (out / "doors/B04.gti", twin / "B04.gti.gpkg")
    whole = [
        {
            "layer": str(layer),
            "out": str(out / f"qgis-{number}"),
            "extent": told["bounds"],
            "size": [width // 2, height // 2],
            "crs": "",
            "stretch": [0, 65535],
        }
        for number, layer in enumerate(layers)
    ]
    (out / "jobs.json").write_text(json.dumps(whole))
    done = desktop.run(
        ["python3", JOB, out / "jobs.json"],
        binds=[folder, JOB.parent, server.folder],
        env={"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": "/tmp", **server.env},
    )
    one, two = json.loads(done.stdout)
    assert one["crs"] == two["crs"]
    there, here = (np.load(f"{job['out']}.npz") for job in whole)
    assert here["valid"].mean() > 0.5
    for name in ("raw", "valid", "image"):
        np.testing.assert_array_equal(there[name], here[name])


def test_doors_stay_in_their_folder(server: Server, twin: Path, tmp_path: Path) -> None:
    """Whoever may write into the table names its files; none of them leads elsewhere."""
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA hostile")
        connection.execute("CREATE TABLE hostile.files (LIKE twin.files)")
        connection.execute("INSERT INTO hostile.files SELECT * FROM twin.files")
        connection.execute("UPDATE hostile.files SET name = '../B04.gti' WHERE name = 'B04.gti'")
    written = mosaic.doors(server.url("hostile"), tmp_path / "doors")
    assert {Path(path).parent for path in written} == {tmp_path / "doors"}
    assert not (tmp_path / "B04.gti").exists()

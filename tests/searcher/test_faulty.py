"""APIs that fail in ways no well-kept server does: everything ends, and with a clear word."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

import mosaic
from mosaic.errors import InputError, NoItemsError, PagingError, SearchError
from mosaic.searcher.pages import BARREN
from tests.support.stac_api import Answer, Api, Asked, answer, free_port, landing, proxy

Json = dict[str, Any]


def item(number: int, **more: Any) -> Json:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"i{number}",
        "collection": "c",
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "bbox": [0, 0, 0, 0],
        "properties": {"datetime": "2025-01-01T00:00:00Z", **more},
        "links": [],
        "assets": {"a": {"href": "./a.tif"}},
    }


@pytest.fixture
def api() -> Iterator[Api]:
    """An API whose every answer a test writes."""
    with proxy(free_port(), None) as api:
        yield api


def serve(
    api: Api, search: Callable[[Asked, int], Answer], method: str = "POST", **collections: Json
) -> None:
    """The landing page, no collections, and ``search`` for the n-th search."""

    def fault(number: int, asked: Asked, real: object) -> Answer:
        path = urlsplit(asked.path).path
        if path == "/":
            return answer(landing(api.url, method))
        if path == "/collections":
            return answer({"collections": [{"id": name} for name in collections], "links": []})
        if path.startswith("/collections/"):
            return answer({"code": "NotFound"}, 404)
        return search(asked, len(api.searches) - 1)

    api.fault = fault


def page(features: list[Json], following: Json | None = None, matched: int | None = None) -> Answer:
    document: Json = {"type": "FeatureCollection", "features": features, "links": []}
    if following:
        document["links"] = [{"rel": "next", **following}]
    if matched is not None:
        document["numberMatched"] = matched
    return answer(document)


def test_an_api_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSAIC_ATTEMPTS", "3")
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SearchError, match=r"doesn't answer \(3 attempts.*Connection refused"):
        list(mosaic.search(url))


def test_a_server_that_hangs_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def hang_up() -> None:
            for _ in range(2):
                listening.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MOSAIC_ATTEMPTS", "2")
            with pytest.raises(SearchError, match=r"doesn't answer \(2 attempts"):
                list(mosaic.search(url))


def test_html_for_json(api: Api) -> None:
    html = b"<!doctype html><html><head><title>Please log in</title></head></html>"
    api.fault = lambda number, asked, real: Answer(200, html, {"Content-Type": "text/html"})
    with pytest.raises(SearchError, match=r"it answers HTML \(Please log in\)"):
        list(mosaic.search(api.url))
    assert len(api.asked) == 1
    serve(api, lambda asked, n: Answer(200, html))
    with pytest.raises(SearchError, match=r"/search: it answers HTML"):
        list(mosaic.search(api.url))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, {"code": "BadRequest", "description": "invalid CQL2: eo:clouds is unknown"},
         r"refuses the search \(status 400\): invalid CQL2: eo:clouds is unknown"),
        (422, {"detail": [{"msg": "field required"}]}, "field required"),
        (401, {"message": "who are you?"}, "refuses access: who are you.*netrc"),
        (500, {"detail": "cql2 broke"}, r"doesn't answer \(3 attempts.*cql2 broke"),
    ],
)  # fmt: skip
def test_the_servers_own_word_is_told(api: Api, status: int, body: Json, said: str) -> None:
    serve(api, lambda asked, n: answer(body, status))
    with pytest.raises(SearchError, match=said) as caught:
        list(mosaic.search(api.url, filter="eo:clouds < 10"))
    assert caught.value.status == status
    assert api.searches[0].body["filter"] == {
        "op": "<",
        "args": [{"property": "eo:clouds"}, 10.0],
    }


def test_a_next_link_that_leads_back(api: Api) -> None:
    def search(asked: Asked, n: int) -> Answer:
        return page([item(n)], {"href": f"{api.url}/search?token={(n + 1) % 3}"})

    serve(api, search)
    with pytest.raises(PagingError, match="leads back"):
        list(mosaic.search(api.url))
    assert len(api.searches) < 8


def test_pages_that_never_bring_anything_new(api: Api) -> None:
    serve(api, lambda asked, n: page([item(n % 2)], {"href": f"{api.url}/search?token={n}"}))
    with pytest.raises(PagingError, match=f"{BARREN} pages in a row"):
        list(mosaic.search(api.url))
    assert len(api.searches) == 2 + BARREN
    assert len(list(mosaic.search(api.url, max_items=2))) == 2


def test_an_empty_last_page_that_links_back_is_the_end(api: Api) -> None:
    link = {"href": f"{api.url}/search?token=last"}
    serve(api, lambda asked, n: page([item(0)] if n == 0 else [], link))
    assert len(list(mosaic.search(api.url))) == 1
    assert len(api.searches) == 2


def test_empty_pages_on_the_way_are_passed_over(api: Api) -> None:
    def search(asked: Asked, n: int) -> Answer:
        following = {"href": f"/search?token={n + 1}"} if n < 4 else None
        return page([] if n in (1, 2) else [item(n)], following)

    serve(api, search)
    assert [one["id"] for one in mosaic.search(api.url)] == ["i0", "i3", "i4"]


def test_pages_by_post_merge_their_bodies(api: Api) -> None:
    def search(asked: Asked, n: int) -> Answer:
        assert asked.body["collections"] == ["c"]
        assert asked.body.get("token") == (f"next:{n}" if n else None)
        body = {"token": f"next:{n + 1}"}
        following = {"href": f"{api.url}/search", "method": "POST", "body": body, "merge": True}
        return page([item(n)], following if n < 2 else None)

    serve(api, search)
    assert len(list(mosaic.search(api.url, collections="c"))) == 3


def test_a_redirected_post_still_asks_what_was_asked(api: Api) -> None:
    def search(asked: Asked, n: int) -> Answer:
        if asked.path == "/search":
            return Answer(301, b"", {"Location": "/search/"})
        assert (asked.method, asked.body["collections"]) == ("POST", ["c"])
        return page([item(0)])

    serve(api, search)
    assert len(list(mosaic.search(api.url, collections="c"))) == 1
    serve(api, lambda asked, n: Answer(308, b"", {"Location": "/search"}))
    with pytest.raises(SearchError, match="status 308"):
        list(mosaic.search(api.url))


def test_conditions_are_numbers_where_they_look_like_it(api: Api) -> None:
    serve(api, lambda asked, n: page([item(0)]))
    conditions = ["eo:cloud_cover<10", "eo:cloud_cover >= 1.5", "landsat:wrs_path=033", 'x="7"']
    list(mosaic.search(api.url, query=[*conditions, '{"y": {"in": [1, 2]}}']))
    assert api.searches[0].body["query"] == {
        "eo:cloud_cover": {"lt": 10, "gte": 1.5},
        "landsat:wrs_path": {"eq": "033"},
        "x": {"eq": "7"},
        "y": {"in": [1, 2]},
    }


def test_a_search_that_found_nothing_is_made_again(api: Api, tmp_path: Path) -> None:
    serve(api, lambda asked, n: page([], matched=0))
    for _ in range(2):
        with pytest.raises(NoItemsError, match="no items"):
            mosaic.build(f"stac+{api.url}", tmp_path / "m")
    assert len(api.searches) == 2
    assert not list(tmp_path.iterdir())


def test_items_without_an_id_are_not_taken_for_one(api: Api, tmp_path: Path) -> None:
    nameless = [{k: v for k, v in item(n).items() if k != "id"} for n in range(2)]
    serve(api, lambda asked, n: page([item(0), *nameless], matched=3))
    assert len(list(mosaic.search(api.url))) == 3
    with pytest.raises(InputError, match="item number 3: has no id"):
        mosaic.build(f"stac+{api.url}", tmp_path / "m")


def test_an_api_that_only_knows_get(api: Api) -> None:
    def search(asked: Asked, n: int) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        assert asked.method == "GET"
        assert "eo:cloud_cover" in query["filter"][0]
        assert query["filter-lang"] == ["cql2-text"]
        following = {"href": f"{asked.path}&token=1"} if n == 0 else None
        return page([item(n)], following)

    serve(api, search, method="GET")
    found = list(mosaic.search(api.url, filter="eo:cloud_cover < 10", bbox=(0, 0, 1, 1)))
    assert [one["id"] for one in found] == ["i0", "i1"]
    # relative hrefs are read against the API: the items have no link to themselves
    assert found[0]["assets"]["a"]["href"] == f"{api.url}/a.tif"


def test_items_that_change_between_pages(api: Api, tmp_path: Path) -> None:
    """The newest version is kept once, and said; an item that came again is no second one."""

    def search(asked: Asked, n: int) -> Answer:
        updated = "2025-01-0{}T00:00:00Z".format
        pages = [
            [item(0, updated=updated(1)), item(1)],
            [item(1), item(0, updated=updated(2)), item(2, updated=updated(5))],
            [item(2, updated=updated(4)), item(3)],
        ]
        return page(pages[n], {"href": f"{api.url}/search?token={n}"} if n < 2 else None, 4)

    serve(api, search)
    outcome = mosaic.search(api.url).save(tmp_path / "out.json")
    assert outcome.count == 4
    assert any("1 items changed while they were searched" in note for note in outcome.notes)
    found = orjson.loads((tmp_path / "out.json").read_bytes())["features"]
    assert sorted(one["id"] for one in found) == ["i0", "i1", "i2", "i3"]
    assert {one["id"]: one["properties"].get("updated") for one in found} == {
        "i0": "2025-01-02T00:00:00Z",
        "i1": None,
        "i2": "2025-01-05T00:00:00Z",
        "i3": None,
    }


def test_items_that_got_lost_are_missed(api: Api, tmp_path: Path) -> None:
    """A deletion shifts the pages: the API counts more than it gave."""

    def search(asked: Asked, n: int) -> Answer:
        pages = [[item(0), item(1)], [item(3)]]
        return page(pages[n % 2], {"href": f"{api.url}/search?t={n}"} if n % 2 == 0 else None, 4)

    serve(api, search)
    with pytest.raises(PagingError, match="counts 4 items, its pages held 3; search again"):
        mosaic.search(api.url).save(tmp_path / "out.ndjson")
    assert not (tmp_path / "out.ndjson").exists()
    with pytest.raises(InputError, match="its pages held 3"):
        mosaic.build(f"stac+{api.url}", tmp_path / "m", dtype="uint8")
    assert not (tmp_path / "m").exists()


def test_a_token_that_the_api_forgot_begins_anew(api: Api, tmp_path: Path) -> None:
    down = [True]

    def search(asked: Asked, n: int) -> Answer:
        if "token=1" in asked.path and down[0]:
            return answer({"description": "down"}, 400)
        if "token=1" in asked.path:
            return answer({"description": "token expired"}, 404)
        if "token=2" in asked.path:
            return page([item(1)])
        token = 1 if down[0] else 2
        return page([item(0)], {"href": f"{api.url}/search?token={token}"})

    serve(api, search)
    with pytest.raises(SearchError, match="down"):
        mosaic.search(api.url).save(tmp_path / "out.ndjson")
    down[0] = False
    outcome = mosaic.search(api.url).save(tmp_path / "out.ndjson")
    assert outcome.count == 2
    assert outcome.notes == ("the API has forgotten where the search had stopped: it began anew",)


def test_no_secret_of_a_url_is_shown(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = "no: https://a.example/search?api_key=hush and /search?api_key=hush"
    serve(api, lambda asked, n: answer({"description": echo}, 400))
    with pytest.raises(SearchError) as caught:
        list(mosaic.search(f"{api.url}/?api_key=hush"))
    assert "hush" not in str(caught.value)
    assert "hush" not in str(mosaic.search(f"{api.url}?api_key=hush").request.as_dict())
    monkeypatch.setenv("MOSAIC_ATTEMPTS", "1")
    with pytest.raises(SearchError) as caught:
        list(mosaic.search(f"http://127.0.0.1:{free_port()}/?api_key=hush"))
    assert "hush" not in str(caught.value)

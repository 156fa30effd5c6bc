import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from tests.browser import dump_dom, screenshot

PAGE = """<!doctype html><meta charset="utf-8"><body style="margin:0;background:#00f">
<p id="size"></p><script>{script}</script></body>"""


def write_page(folder: Path, script: str) -> Path:
    page = folder / "page.html"
    page.write_text(PAGE.format(script=script), encoding="utf-8")
    return page


@pytest.mark.parametrize(("width", "height"), [(800, 600), (390, 700)])
def test_the_picture_has_the_size_asked_for_and_shows_the_page(
    tmp_path: Path, width: int, height: int
) -> None:
    page = write_page(tmp_path, "")
    screenshot(page, tmp_path / "page.png", width, height)
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.size == (width, height)
        corner = picture.convert("RGB").getpixel((width - 2, height - 2))
    assert corner == (0, 0, 255)


def test_the_dom_holds_what_scripts_wrote(tmp_path: Path) -> None:
    page = write_page(tmp_path, "document.getElementById('size').textContent = 'µ ' + 6 * 7")
    assert "µ 42" in dump_dom(page)


def test_an_uncaught_script_error_fails(tmp_path: Path) -> None:
    page = write_page(tmp_path, "missing_function()")
    with pytest.raises(AssertionError, match="missing_function"):
        dump_dom(page)


class Recorder(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def test_a_page_reaches_no_server_not_even_one_that_listens(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.paths = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://localhost:{server.server_port}/asset.js"
        script = f"fetch('{url}').catch(() => document.body.append('un' + 'reached'))"
        dom = dump_dom(write_page(tmp_path, script))
        server.shutdown()
    assert "unreached" in dom
    assert server.paths == []  # type: ignore[attr-defined]

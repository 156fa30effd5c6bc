"""The pages as Chromium shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from edgekit.report.page import render_fit, render_profile, render_verify, write_report
from tests.browser import dump_dom, screenshot
from tests.report.samples import FIT, HELD_OUT, N_MEASURED, N_PREDICTED, PROFILE, VERIFY

PAGES = {
    "fit": render_fit(FIT),
    "verify": render_verify(VERIFY),
    "profile": render_profile(PROFILE),
}


def dom_of(page: str, folder: Path) -> str:
    """The page after its own script ran; fails on an uncaught error in it."""
    path = folder / "page.html"
    write_report(path, page)
    return dump_dom(path)


def marks(dom: str, symbol: str) -> int:
    return len(re.findall(rf'<use href="#{symbol}" x=', dom))


@pytest.mark.parametrize("name", sorted(PAGES))
def test_scripts_run_and_points_get_their_labels(name: str, tmp_path: Path) -> None:
    dom = dom_of(PAGES[name], tmp_path)
    points = re.findall(r'<use [^>]*class="point[^>]*>', dom)
    assert all("aria-label=" in point for point in points)
    headers = re.findall(r"<table class=\"sortable\">.*?</thead>", dom, re.DOTALL)
    assert headers
    assert all("<button" in header for header in headers)


def test_every_network_is_in_the_picture(tmp_path: Path) -> None:
    fit = dom_of(PAGES["fit"], tmp_path)
    assert marks(fit, "predicted") == N_PREDICTED
    assert marks(fit, "measured") == N_MEASURED - 1
    assert marks(fit, "chosen") == marks(fit, "baseline") == 1
    assert marks(dom_of(PAGES["profile"], tmp_path), "pair") == 2 * len(HELD_OUT)


def test_a_script_that_slips_in_does_not_run(tmp_path: Path) -> None:
    script = "<script>document.title = 'ran'</script>"
    page = PAGES["fit"].replace("<main>", f"<main>{script}")
    assert script in page
    assert "<title>ran</title>" not in dom_of(page, tmp_path)
    free = re.sub(r"<meta http-equiv[^>]*>", "", page)
    assert "<title>ran</title>" in dom_of(free, tmp_path)


def test_a_click_on_a_header_sorts_numbers_as_numbers(tmp_path: Path) -> None:
    click = (
        "<script>const table = document.querySelector('#network table');"
        "const button = table.tHead.rows[0].cells[4].querySelector('button');"
        "button.click(); button.click();</script>"
    )
    page = re.sub(r"<meta http-equiv[^>]*>", "", PAGES["fit"]).replace(
        "</body>", f"{click}</body>"
    )
    dom = dom_of(page, tmp_path)
    assert 'aria-sort="descending"' in dom
    body = dom.partition('<section id="network">')[2].partition("<tbody>")[2]
    names = re.findall(r'<tr><th scope="row">(.*?)</th>', body.partition("</tbody>")[0])
    assert names == ["blocks.1", "stem", "blocks.0"]


@pytest.mark.parametrize("width", [1200, 420])
def test_nothing_sticks_out_of_the_page(width: int, tmp_path: Path) -> None:
    """The picture is coloured up to the margin and blank in it, also on a phone."""
    write_report(tmp_path / "page.html", PAGES["fit"])
    screenshot(tmp_path / "page.html", tmp_path / "page.png", width, 1600)
    with Image.open(tmp_path / "page.png") as picture:
        grey = picture.convert("L")
    margin = grey.crop((width - 8, 0, width, 1600))
    assert margin.getextrema() == (255, 255)
    low, high = grey.getextrema()
    assert low < 60 < 250 < high

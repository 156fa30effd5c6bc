import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgekit.core.limits import Limits
from edgekit.report.page import (
    render_fit,
    render_profile,
    render_split,
    render_verify,
    write_report,
)
from edgekit.report.values import FrontPoint
from tests.report.samples import (
    BLOCKS,
    EVIL,
    FIT,
    HELD_OUT,
    N_MEASURED,
    N_PREDICTED,
    PROFILE,
    SPLIT,
    VERIFY,
)

PAGES = {
    "fit": render_fit(FIT),
    "verify": render_verify(VERIFY),
    "profile": render_profile(PROFILE),
    "split": render_split(SPLIT),
}
VOID = {"meta", "img", "br", "link", "input"}


class Outline(HTMLParser):
    """Elements with their attributes and text, and whether tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.text[tag][-1] += data

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [found for _, found in self.elements if name in (found.get("class") or "").split()]


@pytest.fixture(params=sorted(PAGES))
def page(request: pytest.FixtureRequest) -> str:
    return PAGES[request.param]


def test_tags_are_closed_in_order_and_anchors_exist(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    identifiers = [found["id"] for _, found in outline.elements if "id" in found]
    assert len(identifiers) == len(set(identifiers))
    links = {str(found["href"]) for _, found in outline.elements if "href" in found}
    assert links
    assert links <= {f"#{name}" for name in identifiers}


def test_nothing_is_fetched(page: str) -> None:
    outline = Outline(page)
    assert not [found for _, found in outline.elements if "src" in found or "srcset" in found]
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in outline.elements}
    own = page[: page.index("<body>")] + page[page.index("<script>") :]
    assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp|import\(", own)
    policy = next(
        found["content"] for _, found in outline.elements if found.get("http-equiv") is not None
    )
    assert str(policy).startswith("default-src 'none'")


def test_text_of_users_is_text(page: str) -> None:
    outline = Outline(page)
    assert [tag for tag, _ in outline.elements].count("script") == 1
    assert not [found for _, found in outline.elements if any(key[:2] == "on" for key in found)]
    assert EVIL not in page
    assert "&lt;script&gt;" in page


def test_every_table_has_a_caption_and_headers_with_scope(page: str) -> None:
    outline = Outline(page)
    names = [tag for tag, _ in outline.elements]
    assert names.count("caption") == names.count("table") > 0
    assert all(text.strip() for text in outline.text["caption"])
    assert all("scope" in found for tag, found in outline.elements if tag == "th")


def test_the_pages_are_small(page: str) -> None:
    assert len(page.encode()) < 60_000


def test_many_networks_stay_below_200_kb_and_it_is_said_what_was_left_out() -> None:
    name = "-".join("3" * 40)
    measured = [FrontPoint(name, 0.8, 1e-3 + i * 1e-6, 1, "measured") for i in range(100)]
    predicted = [FrontPoint(name, 0.7, 1e-3 + i * 1e-6, 1, "predicted") for i in range(5000)]
    page = render_fit(replace(FIT, front=(*measured, *predicted)))
    assert len(page.encode()) < 200_000
    assert len(Outline(page).with_class("measured")) >= 100
    assert "4,880 predicted networks are left out" in page


def test_measured_and_predicted_points_have_shapes_of_their_own() -> None:
    shapes = [found["href"] for found in Outline(PAGES["fit"]).with_class("point")]
    assert shapes.count("#predicted") == N_PREDICTED
    assert shapes.count("#measured") == N_MEASURED - 1
    assert shapes.count("#chosen") == shapes.count("#baseline") == 1
    titles = Outline(PAGES["fit"]).text["title"]
    assert sum("PREDICTED: " in title for title in titles) == N_PREDICTED
    assert sum("p50 measured: " in title for title in titles) == N_MEASURED + 1


def test_a_predicted_baseline_is_not_drawn_as_a_measured_one() -> None:
    point = FrontPoint("other", 0.8, 1e-3, 1, "predicted", baseline=True)
    outline = Outline(render_fit(replace(FIT, front=(*FIT.front, point))))
    classes = [found["class"] for found in outline.with_class("baseline") if "x" in found]
    assert sorted(map(str, classes)) == ["point baseline", "point baseline predicted"]


def test_limits_that_are_met_and_broken_are_said_in_words() -> None:
    assert "All limits met, measured on the device: latency p50 &lt;= 1.5 ms" in PAGES["fit"]
    assert "NOT MET when measured on the device: latency (" in PAGES["verify"]
    assert "All limits met" not in PAGES["verify"]


def test_without_limits_no_verdict_is_claimed() -> None:
    page = render_fit(replace(FIT, limits=Limits(), limit_rows=()))
    assert "No limits were set" in page
    assert "All limits met" not in page


def test_a_limit_far_beyond_the_points_does_not_squeeze_them() -> None:
    page = render_fit(replace(FIT, limits=Limits.of("1s"), limit_rows=()))
    assert "limit lies far to the right" in page
    assert "limit: p50" not in page
    assert "limit: p50 1.5 ms" in PAGES["fit"]


def test_a_block_without_a_measured_time_makes_the_sum_unknown() -> None:
    unknown = replace(BLOCKS[2], measured_s=None)
    whole = Outline(PAGES["fit"]).text["tfoot"]
    partly = Outline(render_fit(replace(FIT, blocks=(*BLOCKS[:2], unknown)))).text["tfoot"]
    assert whole == ["sum4800890"]  # 4 kernels, 800 us measured, 890 us predicted
    assert partly == ["sum4n/a890"]


def test_parts_that_do_not_exist_leave_no_section() -> None:
    short = replace(
        FIT, front=(), baselines=(), finalists=(), attempts=(), validation=(), hypervolumes=()
    )
    headings = Outline(render_fit(short)).text["h2"]
    gone = {"Baselines", "Finalists", "Attempts", "Predictions", "Course of the search"}
    assert not gone & set(headings)
    assert gone <= set(Outline(PAGES["fit"]).text["h2"])
    bare = Outline(render_profile(replace(PROFILE, validation=(), floor=None, held_out=())))
    assert "Held-out networks" not in bare.text["h2"]


def test_the_command_and_the_conditions_are_there() -> None:
    assert Outline(PAGES["fit"]).text["pre"] == [FIT.command]
    assert "900 in 18 blocks" in PAGES["fit"]
    assert re.search(r"stolen by the hypervisor</th><td>unknown<", PAGES["fit"])


def test_skipped_files_are_counted_and_named_even_if_undecodable() -> None:
    assert "2 unreadable files were left out" in PAGES["fit"]
    assert r"bad\udcff.jpg" in PAGES["fit"]


def test_the_profile_draws_each_held_out_network_twice() -> None:
    pairs = [found for found in Outline(PAGES["profile"]).with_class("point")]
    assert len(pairs) == 2 * len(HELD_OUT)
    assert "error +4.0 %" in PAGES["profile"]


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(path, PAGES["fit"])
    assert path.read_text(encoding="utf-8") == PAGES["fit"]
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_a_split_shows_a_point_for_each_price_and_what_a_link_adds() -> None:
    page = render_split(SPLIT)
    outline = Outline(page)
    assert len(outline.with_class("point")) == 2
    texts = " ".join(outline.text["td"])
    for figure in ("310", "190", "92", "90", "621"):
        assert figure in texts
    # 2 ms + 20 us + 300 us of parts, and 8 x (310.5 + 16) bits at 100 kbit/s
    assert f"{2.32 + 26.12:.1f}" in texts
    assert "Computed, not measured" in page

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from edgekit.report.markup import Html, escape, joined, tag


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_a_reader_gets_back_the_text_and_no_tag_of_it(text: str) -> None:
    page = Reader(tag("td", text, title=text))
    assert page.tags == [("td", [("title", text)])]
    assert page.text == text


def test_markup_is_not_escaped_again_and_a_plain_sum_is() -> None:
    inner = tag("b", "x")
    assert tag("p", inner) == "<p><b>x</b></p>"
    assert joined(["<", inner]) == "&lt;<b>x</b>"
    assert tag("p", inner + "!") == "<p>&lt;b&gt;x&lt;/b&gt;!</p>"


def test_markup_in_an_attribute_is_escaped() -> None:
    assert tag("p", title=Html('"<b>')) == '<p title="&quot;&lt;b&gt;"></p>'


def test_names_and_numbers_of_attributes() -> None:
    shown = tag("line", x1=1, y1=2.25, class_="a", aria_label="b")
    assert shown == '<line x1="1" y1="2.2" class="a" aria-label="b"></line>'


def test_what_utf8_cannot_hold_is_shown_as_an_escape() -> None:
    assert escape("a\udcff&") == r"a\udcff&amp;"

"""One self-contained HTML file per stage: nothing is fetched from anywhere.

The page forbids itself the network and every script but its own (a content security policy with
the digest of that script), so that text from a data set could not run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from edgekit.core.files import write_bytes_atomic
from edgekit.report.fit import fit_sections
from edgekit.report.markup import escape, joined, tag
from edgekit.report.pictures.svg import SYMBOLS
from edgekit.report.profile import profile_sections
from edgekit.report.sections import Section
from edgekit.report.split import split_sections
from edgekit.report.values import FitReport, ProfileReport, SplitReport, VerifyReport
from edgekit.report.verify import verify_sections


def render_fit(report: FitReport) -> str:
    """The page of a ``fit``: limits, front, network, comparison, conditions, command."""
    about = f"{report.data.task_name}, {report.limits.describe()}"
    return _page(report.title, about, report.created_at, fit_sections(report))


def render_verify(report: VerifyReport) -> str:
    """The page of a ``verify``: limits, the artifact measured again, placement, conditions."""
    about = f"{report.data.task_name}, {report.limits.describe()}"
    return _page(report.title, about, report.created_at, verify_sections(report))


def render_profile(report: ProfileReport) -> str:
    """The page of a ``profile``: the device, and how far its predictions can be trusted."""
    return _page(report.title, "device profile", report.created_at, profile_sections(report))


def render_split(report: SplitReport) -> str:
    """The page of a ``split``: accuracy against bytes, and the time of each part."""
    return _page(report.title, report.data.task_name, report.created_at, split_sections(report))


def write_report(path: Path, html: str) -> None:
    """Write a page so that ``path`` holds either its old or its new content."""
    write_bytes_atomic(path, html.encode())


def _page(title: str, about: str, created_at: str, sections: Sequence[Section]) -> str:
    text = resources.files("edgekit.report").joinpath("page.html").read_text(encoding="utf-8")
    links = (tag("li", tag("a", part.heading, href=f"#{part.anchor}")) for part in sections)
    made = tag("p", f"{about}. Made {created_at}.", class_="soft")
    body = joined(
        [
            SYMBOLS,
            tag("header", tag("h1", title), made),
            tag("nav", tag("ul", *links), aria_label="Contents"),
            tag("main", *(part.html for part in sections)),
        ]
    )
    return Template(text).substitute(title=escape(title), policy=_policy(text), body=body)


def _policy(text: str) -> str:
    """Content security policy: inline styles, the script of the page by its digest, no more."""
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"

"""Links in Markdown files work on a plain checkout, without a built site: files exist, and so do headings."""

from __future__ import annotations

import posixpath
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def tracked() -> set[str]:
    """Every file that git tracks, and every folder with one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout, so there is no list of files to compare with")
    files = set(listed.stdout.split("\0")) - {""}
    return files | {parent.as_posix() for name in files for parent in Path(name).parents}


def links(text: str) -> list[str]:
    """Targets of links and images, except those in code and those to other sites."""
    found = _LINK.findall(_CODE.sub("", _FENCE.sub("", text)))
    return [target for target in (first or second for first, second in found) if ":" not in target]


def anchors(text: str) -> set[str]:
    """Names by which GitHub links to the headings of a page; repeated headings get numbers."""
    seen: Counter[str] = Counter()
    names = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def broken(page: str, text: str, files: set[str]) -> list[str]:
    """The links of a page that lead nowhere, each with the reason."""
    faults = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        if target not in files:
            faults.append(f"{link}: git tracks no {target}")
        elif anchor and anchor not in anchors(text if target == page else (ROOT / target).read_text()):
            faults.append(f"{link}: {target} has no such heading")
    return faults


PAGES = sorted(
    [path.relative_to(ROOT).as_posix() for path in ROOT.glob("*.md")]
    + [path.relative_to(ROOT).as_posix() for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md")]
)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_tracked_file_and_a_heading_in_it(page: str) -> None:
    assert broken(page, (ROOT / page).read_text(), tracked()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = (
        "# A page\n\n[a](b.md) [c](../README.md#holdfast) ![d](e.png) [f](#a-page) [g](#nowhere) [h](https://example.org)"
        '\n\n<img src="i.png">\n\n`[j](k.md)`\n\n```bash\n# No heading\n[l](m.md)\n```\n[n](#no-heading)\n'
    )
    faults = [fault.partition(":")[0] for fault in broken("docs/page.md", text, {"docs/page.md", "README.md"})]
    assert faults == ["b.md", "e.png", "#nowhere", "i.png", "#no-heading"]


def reached(page: str, seen: set[str]) -> set[str]:
    """The pages that links lead to from one page, and from those in turn."""
    seen.add(page)
    for link in links((ROOT / page).read_text()):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link.partition("#")[0]))
        if target.endswith(".md") and target not in seen and (ROOT / target).is_file():
            reached(target, seen)
    return seen


def test_every_page_of_the_documentation_is_one_link_away_from_its_first_page() -> None:
    first = "docs/index.md"
    text = (ROOT / first).read_text()
    near = {posixpath.normpath(posixpath.join("docs", link)) for link in links(text)}
    assert {page for page in PAGES if page.startswith("docs/")} - near == {first}


def test_every_page_is_reached_from_the_readme() -> None:
    assert set(PAGES) - reached("README.md", set()) == set()

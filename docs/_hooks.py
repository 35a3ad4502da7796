"""What MkDocs is told beyond mkdocs.yml. GitHub and the site show the same files, so only the site's copy changes.

The pages of the repository's root join the site; a page that the navigation does not name is added to its explanations;
links to other files of the repository become links to where it is published; heads of code blocks, which
tests/test_docs.py reads, become titles.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = "https://github.com/withstand/withstand/blob/main/"
PAGES = {"README.md": "index.md", **{name: name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")}}
FENCE = re.compile(r"^```(\w+)([^\n]*)\n((?:.*\n)*?)```$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")


def on_config(config: Any) -> Any:
    """Pages that nobody named yet go below the explanations, those of components below their list."""
    named = set(re.findall(r"[\w/.-]+\.md", str(config.nav)))
    for path in sorted((ROOT / "docs").rglob("*.md")):
        page = path.relative_to(ROOT / "docs").as_posix()
        if page not in named:
            title = "Reference" if page.startswith("components/") else "Explanations"
            section = next(part[title] for part in config.nav if title in part)
            after = section.index("components.md") + 1 if title == "Reference" else len(section)
            while title == "Reference" and str(section[after]).startswith("components/"):
                after += 1
            section.insert(after, page)
    return config


def on_files(files: Any, config: Any) -> Any:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fences are left as they are but for their heads; links are rewritten between them."""
    site = page.file.src_uri
    source = next((source for source, name in PAGES.items() if name == site), f"docs/{site}")
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [linked(markdown[end : fence.start()], source, site), headed(fence)]
        end = fence.end()
    return "".join([*parts, linked(markdown[end:], source, site)])


def headed(fence: re.Match[str]) -> str:
    title = re.search(r"\b(?:file|same)=(\S+)", fence[2])
    head = f' title="{title[1]}"' if title else ""
    return f"```{fence[1]}{head}\n{fence[3]}```"


def linked(text: str, source: str, site: str) -> str:
    def other(link: re.Match[str]) -> str:
        path, mark, anchor = link[1].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return link[1]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        page = file.removeprefix("docs/") if file.startswith("docs/") else PAGES.get(file)
        if page is None:
            return PUBLISHED + file + mark + anchor
        return posixpath.relpath(page, posixpath.dirname(site) or ".") + mark + anchor

    return LINK.sub(other, text)

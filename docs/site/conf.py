"""The site: the guides in docs/, and the reference, made from the docstrings. `scripts/docs site` builds it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mpshell import __version__  # noqa: E402

project = "mpshell"
author = "The mpshell developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["benchmarks/notes/*", "site/*.py"]
html_theme = "furo"
html_title = f"mpshell {version}"

# Links to headings of other pages, as GitHub makes them.
myst_heading_anchors = 4

# Docstrings are plain text: a word between single backticks is code.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
python_display_short_literal_types = True


def setup(app: Sphinx) -> None:
    app.connect("build-finished", copy_pictures)


def copy_pictures(app: Sphinx, error: Exception | None) -> None:
    """Copy the pictures that pages show by HTML, light and dark: Sphinx does not look into that."""
    if error is not None:
        return
    for name in ("images", "benchmarks"):
        shutil.copytree(ROOT / "docs" / name, Path(app.outdir) / name, dirs_exist_ok=True)
    for page in Path(app.outdir).glob("*.html"):
        for source in re.findall(r'(?:src|srcset)="([^":]+)"', page.read_text()):
            if not (page.parent / source.partition("?")[0]).exists():
                logging.getLogger(__name__).warning("%s: no picture %s", page.name, source)

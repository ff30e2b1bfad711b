"""Settings of the documentation site; `make docs` builds it.

The source folder is the root of the project, so that links between the texts, the results and the
code are the same here and where the files are read as they are.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import mmbas  # noqa: E402

project = "mmbas"
author = "mmbas contributors"
copyright = author  # noqa: A001
release = version = mmbas.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "results/*.md", "benchmarks/*.md", "*.md"]
exclude_patterns = [".*", "work_dirs", "data", "docs/_build", "README.md"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # links such as deploy.md#measured

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Source", "notes_style")]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
templates_path = ["templates"]
html_additional_pages = {"index": "redirect.html"}  # the root of a server leads to the pages
html_title = f"mmbas {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}

# Pages that refuse programs are no broken links.
linkcheck_ignore = [r"https://archive\.ics\.uci\.edu/.*", r"https://openreview\.net/.*"]
linkcheck_anchors = False

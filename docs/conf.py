"""How Sphinx builds this folder; ``nox -s docs`` does it, and a warning fails it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from radical.asyncflow import __version__

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

project = "AsyncFlow"
author = "The AsyncFlow developers"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "gallery",
    "overview",
    "page_pictures",
    "error_entries",
    "public_sources",
    "reference_texts",
    "screenshots",
    "sphinx_copybutton",
    "sphinx_design",
    "state_diagram",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# Docstrings mark names by single backquotes.
default_role = "literal"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
autodoc_preserve_defaults = True
autodoc_mock_imports = ["dask", "distributed"]  # the pages of that backend need not run it
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# An attribute of one class has the name of another's: no reader is misled by that.
suppress_warnings = ["ref.python"]
if not os.environ.get("CI"):
    suppress_warnings.append("page_pictures")  # on a machine that cannot draw them

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"AsyncFlow {version}"
html_copy_source = False
html_show_copyright = False
html_use_index = False
html_domain_indices = False

# The button copies commands without their prompt.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

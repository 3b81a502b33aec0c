"""Sphinx: `make docs`."""

from importlib.metadata import version as installed

project = "jaxlearn"
author = "jaxlearn developers"
copyright = "2026, jaxlearn developers"
version = release = installed("jaxlearn")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = "jaxlearn"

autodoc_typehints = "none"  # the docstring's shapes and units say more
autosummary_generate = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

napoleon_google_docstring = False
napoleon_use_rtype = False
# the fields that every solver and model states, after its first line
napoleon_custom_sections = ["Minimises", "Step", "Reads the data by", "Cost per step", "Stops when"]

sphinx_gallery_conf = {
    "examples_dirs": "../experiments",
    "gallery_dirs": "gallery",
    "filename_pattern": "/quickstart",  # executed
    "ignore_pattern": r"(^|/)(?!quickstart)[^/]*\.py$",
    "doc_module": "jaxlearn",
    "abort_on_example_error": True,
    "show_memory": False,
}
# a property listed among the attributes is described once
napoleon_use_ivar = True

# A name in single quotes may be that of a class and of its door, or of what many solvers have: any of them will do.
suppress_warnings = ["ref.python"]

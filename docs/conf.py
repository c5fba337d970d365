"""Sphinx configuration: Markdown by MyST, the furo theme."""

project = "rollingq"
author = "The rollingq developers"
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]

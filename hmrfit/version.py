"""The version and the project's address, written here only: setup.py, results and `hmrfit --version` read them here."""

__version__ = "0.1.0"

ADDRESS = ""
"""Of the project's public repository, such as a page that shows its files below `/blob/main/`. It has none yet: links
and pictures of the long description then stay relative, and notebooks have no button for Colab."""

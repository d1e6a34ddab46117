"""The version, written here only: setup.py, results and `hmrfit --version` read it from here."""

__version__ = "0.1.0"

"""Where OpenCV cannot be loaded, the reader learns what to install."""

import importlib
import sys

import pytest


class NoLibGL:
    """An importer for which cv2 is there but its system library is not, as on a bare server."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")


def test_a_missing_libgl_gets_an_error_message(monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in ("cv2", "hmrfit.io.opencv"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoLibGL(), *sys.meta_path])
    with pytest.raises(
        ImportError, match=r"libGL\.so\.1.*apt-get install libgl1 libglib2\.0-0.*opencv-python-headless"
    ):
        importlib.import_module("hmrfit.io.opencv")


def test_cv2_comes_through_the_door() -> None:
    import cv2

    assert importlib.import_module("hmrfit.io.opencv").cv2 is cv2

"""hmrfit.view: bodies in viser's scene, upright, and what to install where viser is missing."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.two_people import fit_two_people, write_photo

import hmrfit


def test_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hmrfit\[viewer\]'"):
        hmrfit.view(None)


@pytest.mark.packages
def test_the_bodies_stand_in_the_scene(tmp_path: Path) -> None:
    pytest.importorskip("viser", reason="needs viser: pip install 'hmrfit[viewer]'")
    result = fit_two_people(write_photo(tmp_path))
    server = hmrfit.view(result, port=8123)
    try:
        names = list(server.scene._handle_from_node_name)
        mesh = server.scene._handle_from_node_name["/person 0"]
        assert {"/person 0", "/person 1", "/floor"} <= set(names)
        np.testing.assert_allclose(mesh.vertices[:, 2], -result.vertices[0][:, 1], atol=1e-6)  # z up, the camera level
    finally:
        server.stop()

"""hmrfit.view(result): a result in a browser window while the program runs, through viser (extra `viewer`).

The scene is turned so that z points up, as viser has it: from the camera frame (x right, y down, z forward) first level
(`ops.level`), then

    (x, y, z) -> (x, z, −y).

Pages need none of this: `result.page` writes a view that works without a program behind it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.ops.level import level_rotation
from hmrfit.render.shading import BODY_COLORS, hex_to_rgb
from hmrfit.result_data import ResultData

INSTALL = "hmrfit.view needs viser: pip install 'hmrfit[viewer]'. Without it, result.page('page.html') turns too."

Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Level frame -> viser's world."""


def view(result: ResultData, port: int = 8080) -> Any:
    """Shows the bodies of a result, other answers on request, frames by a slider; returns viser's server at once.

    The address is printed by viser; `server.stop()` ends it. The program has to stay alive meanwhile.

    Args:
        port: of this machine, or the next free one.
    Raises:
        ModuleNotFoundError: viser is not installed; the message says how to get it.
    """
    try:
        import viser
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(INSTALL) from error
    server = viser.ViserServer(port=port)
    turn = Z_UP @ level_rotation(result.up).numpy()
    if result.is_sequence:
        _frames(server, result, turn)
    else:
        _people(server, result, turn)
    server.scene.add_grid("/floor", width=6.0, height=6.0, cell_size=1.0, position=(0.0, 0.0, _lowest(result, turn)))
    return server


def _people(server: Any, result: ResultData, turn: NDArray[np.float64]) -> None:
    """Everybody of a photograph, and a box to tick for every other answer."""
    for i, name in enumerate(result.names):
        _mesh(server, f"/person {name}", result.vertices[i] @ turn.T, result.faces, BODY_COLORS[i % len(BODY_COLORS)])
    for h, params in enumerate(result.hypotheses[1:], 1):
        vertices = result.body_model(params).vertices
        assert vertices is not None
        for i, name in enumerate(result.names):
            if result.posterior is not None and result.probability[i, h] <= 0:
                continue
            place, color = f"/person {name}, other answer {h}", BODY_COLORS[(i + h) % len(BODY_COLORS)]
            handle = _mesh(server, place, vertices[i].numpy() @ turn.T, result.faces, color)
            handle.visible = False
            box = server.gui.add_checkbox(place[1:], False)
            box.on_update(lambda event, handle=handle: setattr(handle, "visible", event.target.value))


def _frames(server: Any, result: ResultData, turn: NDArray[np.float64]) -> None:
    """One frame at a time, posed when the slider comes to it."""
    shown = _mesh(server, "/person", result[0].vertices[0] @ turn.T, result.faces, BODY_COLORS[0])
    slider = server.gui.add_slider("frame", min=0, max=len(result) - 1, step=1, initial_value=0)

    def move(event: Any) -> None:
        shown.vertices = np.asarray(result[int(event.target.value)].vertices[0] @ turn.T, np.float32)

    slider.on_update(move)


def _mesh(server: Any, name: str, vertices: NDArray[np.float64], faces: NDArray[np.int64], color: str) -> Any:
    rgb = tuple(int(c) for c in np.round(255 * hex_to_rgb(color)))
    return server.scene.add_mesh_simple(name, np.asarray(vertices, np.float32), faces.astype(np.uint32), color=rgb)


def _lowest(result: ResultData, turn: NDArray[np.float64]) -> float:
    """Metres, where the floor is: the lowest point of the first row."""
    return float((result[0].vertices[0] @ turn.T)[:, 2].min())

"""viewer.js: three.js from the installed trimesh, and our own script.

trimesh ships three.js (MIT; with its licence line) inside the page of its own notebook viewer. It is taken from there
when a page is written, so that no copy of it lies in this package. Another release of trimesh may bring another one, or
none: then the script says so, and the page shows its pictures only.
"""

import zipfile
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

TEMPLATE, PAGE_IN_IT = Path("resources", "templates", "viewer.zip"), "viewer.html.template"
"""In trimesh's package, and the page inside."""

NEEDED = ("Three.js Authors", "WebGLRenderer", "BufferGeometry", "MeshLambertMaterial", "GridHelper", "LineSegments")
"""What the text of a three.js that fits contains."""

OWN_PART = "var camera,controls,scene,renderer"
"""With which the viewer of trimesh itself begins, after the library."""

OUR_SCRIPT = ("viewer_body.js", "viewer_stage.js", "viewer_controls.js", "viewer_page.js")

LARGEST = 8 << 20
"""Bytes of the page in trimesh's archive that are read at the most."""


@cache
def viewer_script() -> str:
    """The text of viewer.js."""
    own = "".join(files("hmrfit.report").joinpath(name).read_text(encoding="utf-8") for name in OUR_SCRIPT)
    return f"{three()}\n(() => {{\n{own}}})();\n"


def three() -> str:
    """three.js as a script that sets THREE, or one line that says why there is none."""
    spec = find_spec("trimesh")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    try:
        with zipfile.ZipFile(folder / TEMPLATE) as archive, archive.open(PAGE_IN_IT) as page:
            text = page.read(LARGEST).decode()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return _without("The installed trimesh has no viewer from which three.js could be taken.")
    begin, end = text.find("<script>"), text.find(OWN_PART)
    if not 0 <= begin < end or any(word not in text[begin:end] for word in NEEDED):
        return _without("The installed trimesh has another viewer, without a three.js that fits.")
    return text[begin + len("<script>") : end].strip()


def _without(reason: str) -> str:
    return f'window.hmrfitNoViewer = "{reason}";'

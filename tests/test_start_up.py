"""What a process loads until its first fit: nothing that takes long to import and that only other work needs."""

import subprocess
import sys
from pathlib import Path

OF_A_COMMAND = ("torch._dynamo", "sympy", "scipy.optimize", "scipy.spatial", "trimesh", "av", "matplotlib")
SLOW_TO_IMPORT = (*OF_A_COMMAND, "scipy.special")
"""torch._dynamo is torch's compiler, which takes as long as the rest of torch: a product on the device "meta" loads
it. The others are for assignments, files and pictures, scipy.special for how sure limbs are."""

FIRST_FIT = f"""
import sys
import numpy as np
import hmrfit
x, y = np.meshgrid(np.linspace(200, 300, 4), np.linspace(100, 400, 5))
keypoints = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)[:17]
result = hmrfit.fit(None, keypoints, keypoint_set="coco17", image_size=(640, 480))
assert result.vertices.shape[-1] == 3
print([module for module in {SLOW_TO_IMPORT} if module in sys.modules])
"""


def test_a_first_fit_loads_nothing_that_only_other_work_needs() -> None:
    found = subprocess.run([sys.executable, "-c", FIRST_FIT], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


COMMAND = f"""
import json, sys
from pathlib import Path
import numpy as np
from hmrfit.cli import main
from hmrfit.io.image import write_image
write_image("a.png", np.zeros((48, 64, 3), np.uint8))
x, y = np.meshgrid(np.linspace(20, 30, 4), np.linspace(10, 40, 5))
points = np.stack([x, y, np.ones_like(x)], -1).reshape(-1)[:51].tolist()
Path("a_keypoints.json").write_text(json.dumps({{"people": [{{"person_id": [0], "pose_keypoints_2d": points}}]}}))
code = main(["fit", "a.png", "-k", "a_keypoints.json", "-o", "out", "--no-pictures", "--keypoint-set", "coco17"])
print(code, [module for module in {OF_A_COMMAND} if module in sys.modules])
"""


def test_nor_does_a_command_that_fits_a_photograph(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", COMMAND], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.splitlines()[-1] == "0 []", found.stdout + found.stderr

"""What a process loads until its first fit: nothing that takes long to import and that only other work needs."""

import subprocess
import sys

SLOW_TO_IMPORT = ("torch._dynamo", "sympy", "scipy.optimize", "scipy.spatial", "trimesh", "av", "matplotlib")
"""torch._dynamo is torch's compiler, which takes as long as the rest of torch: a product on the device "meta" loads
it. The others are for assignments, files and pictures."""

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

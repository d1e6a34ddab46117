"""Nothing needs what is not in the base installation: the demo runs with every optional package blocked."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BLOCKED = (
    "smplx",
    "pytorch3d",
    "anny",
    "chumpy",
    "matplotlib",
    "pytest",
    "hypothesis",
    "h5py",
    "cdflib",
    "tensorboard",
)
"""smplx by its licence, the others because only extras bring them."""

CODE = """
import sys
sys.modules.update(dict.fromkeys({blocked!r}))
from hmrfit.cli import main
sys.exit(main(["demo", "-o", {out!r}, "--height", "160"]))
"""


def test_the_demo_runs_without_smplx_and_other_extras(tmp_path: Path) -> None:
    code = CODE.format(blocked=BLOCKED, out=str(tmp_path / "demo"))
    # one thread: two that wait for each other on a busy machine take many times as long
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PA-MPJPE" in done.stdout and (tmp_path / "demo" / "index.html").is_file()

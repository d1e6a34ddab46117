"""hmrfit as a package. The library is the only thing imported; `priors/` and `configs/` ride along as its data.

`package_dir` puts the two top-level folders into the wheel as `hmrfit/_priors` and `hmrfit/_configs`; in a checkout,
and in an editable installation, `hmrfit.assets` finds them beside the package instead.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
DATA = ["py.typed", "*.npz", "*.pt", "*.json", "*.yaml", "*.md", "*.html", "*.css", "*.js", "NOTICE*"]
PYAV = "av>=14.0"
PYARROW = "pyarrow>=16"
SMPLX = "smplx>=0.1.28"  # non-commercial licence: never a base requirement


def version() -> str:
    return re.search(r'__version__ = "(.+)"', (HERE / "hmrfit" / "version.py").read_text())[1]


setup(
    name="hmrfit",
    version=version(),
    description="From a photograph and 2D keypoints to an accurate 3D human body",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author="hmrfit developers",
    license="MIT",
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["hmrfit", "hmrfit.*"]), "hmrfit._priors", "hmrfit._configs"],
    package_dir={"hmrfit._priors": "priors", "hmrfit._configs": "configs"},
    package_data={"": DATA},
    include_package_data=False,
    install_requires=[
        "torch>=2.4",
        "numpy>=1.26",
        "scipy>=1.11",
        "opencv-python>=4.8",
        "tqdm>=4.60",
        "yacs>=0.1.8",
        "trimesh>=4.0",
    ],
    extras_require={
        "smplx": [SMPLX],
        "body": ["anny>=0.6.2"],  # building the free body again
        # rtmlib asks for both of these, which own one folder cv2: of one version they are the same files there
        "detect": ["rtmlib>=0.0.16", "onnxruntime>=1.20", "opencv-python==5.0.0.93", "opencv-contrib-python==5.0.0.93"],
        "train": ["tensorboard>=2.14"],
        "datasets": ["cdflib>=1.0", "h5py>=3.9"],  # Human3.6M's poses (cdf), MPI-INF-3DHP's annotations (mat 7.3)
        "video": [PYAV],  # exact times of frames, overlay.mp4 that browsers play
        "ray": ["ray[data]>=2.50", PYARROW],  # hmrfit fit --engine ray
        "parquet": [PYARROW],  # a table of all people, and keypoints from one
        "viewer": ["viser>=1.0"],  # hmrfit.view: a window while the program runs; pages need none
        "test": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "mypy>=2.4", PYAV, PYARROW, SMPLX],
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
        "dev": ["ruff>=0.15", "matplotlib>=3.8"],
    },
    entry_points={
        "console_scripts": ["hmrfit = hmrfit.cli:main"],
        "hmrfit.detectors": [  # the same lines as hmrfit.detectors.plugins.BUILT_IN
            "rtmlib = hmrfit.detectors.rtmlib:Rtmlib",
            "movenet = hmrfit.detectors.movenet:MoveNet",
            "mediapipe = hmrfit.detectors.mediapipe:MediaPipe",
        ],
    },
    zip_safe=False,
)

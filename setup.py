"""hmrfit as a package. The library is the only thing imported; `priors/` and `configs/` ride along as its data.

`package_dir` puts the two top-level folders into the wheel as `hmrfit/_priors` and `hmrfit/_configs`; in a checkout,
and in an editable installation, `hmrfit.assets` finds them beside the package instead.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
README = HERE / "README.md"
DATA = ["py.typed", "*.npz", "*.pt", "*.json", "*.yaml", "*.md", "*.html", "*.css", "*.js", "NOTICE*"]
PYAV = "av>=14.0"
PYARROW = "pyarrow>=16"
PILLOW_HEIF = "pillow-heif>=0.20"
SHTAB = "shtab>=1.7"
SMPLX = "smplx>=0.1.28"  # non-commercial licence: never a base requirement
MYPY = "mypy>=2.4"

MARKDOWN_LINK = re.compile(r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)")


def constant(name: str) -> str:
    """A text of hmrfit/version.py, which is not imported: that would need torch."""
    return re.search(rf'^{name} = "(.*)"', (HERE / "hmrfit" / "version.py").read_text(), re.MULTILINE)[1]


def long_description(text: str, address: str) -> str:
    """The README for a page that has none of its files: pictures and links become absolute, if the project has an
    address."""
    if not address:
        return text
    places = {"!": "raw", "": "blob"}
    return MARKDOWN_LINK.sub(lambda link: f"{link[1]}{link[2]}({address}/{places[link[1]]}/main/{link[3]})", text)


def project_urls(address: str) -> dict[str, str]:
    """The pages below the project's address; none without one."""
    pages = {"Source": "", "Issues": "/issues", "Changelog": "/blob/main/CHANGELOG.md"}
    return {name: address + page for name, page in pages.items()} if address else {}


setup(
    name="hmrfit",
    version=constant("__version__"),
    description="From a photograph and 2D keypoints to an accurate 3D human body, with a measure of how sure it is",
    long_description=long_description(README.read_text() if README.exists() else "", constant("ADDRESS")),
    long_description_content_type="text/markdown",
    project_urls=project_urls(constant("ADDRESS")),
    author="hmrfit developers",
    license="MIT",
    license_files=["LICENSE", "NOTICE"],
    keywords=[
        "human mesh recovery",
        "human pose estimation",
        "3D human body",
        "SMPL",
        "SMPLify",
        "HMR",
        "SPIN",
        "2D keypoints",
        "motion capture",
        "biomechanics",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Graphics :: 3D Modeling",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
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
        "heic": [PILLOW_HEIF],  # photographs as iPhones write them
        "completion": [SHTAB],  # hmrfit completion bash
        "train": ["tensorboard>=2.14"],  # TRAIN.BOARD=True; training itself needs nothing more
        "datasets": ["cdflib>=1.0", "h5py>=3.9"],  # Human3.6M's poses (cdf), MPI-INF-3DHP's annotations (mat 7.3)
        "video": [PYAV],  # exact times of frames, overlay.mp4 that browsers play
        "ray": ["ray[data]>=2.50", PYARROW],  # hmrfit fit --engine ray
        "parquet": [PYARROW],  # a table of all people, and keypoints from one
        "viewer": ["viser>=1.0"],  # hmrfit.view: a window while the program runs; pages need none
        "test": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", MYPY, PILLOW_HEIF, PYAV, PYARROW, SHTAB, SMPLX],
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
        "dev": ["ruff>=0.15", MYPY, "matplotlib>=3.8"],  # checks; the plots of benchmarks/
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

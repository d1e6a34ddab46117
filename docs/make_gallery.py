"""Draws the pictures of README and documentation anew, all of them our own renderings.

    python docs/make_gallery.py --demo out/demo --video out/demo/video        after `make demo`

docs/images/demo.jpg     the photograph with the body over it, from the right, from behind; how sure each joint is
docs/images/walk.gif     the demo's video, every person in a colour of its own
"""

import argparse
from pathlib import Path

import numpy as np

import hmrfit
from hmrfit.io.opencv import cv2
from hmrfit.render.overlay import side_by_side
from hmrfit.video.reader import open_video

HERE = Path(__file__).parent
HEIGHT, GIF_WIDTH, EVERY = 540, 420, 3
"""Pixels, and which frames of the video: one in so many."""


def hero(folder: Path) -> np.ndarray:
    """The demo's overlay, and beside it the uncertainty plot."""
    result = hmrfit.FitResult.load(folder / "result.npz")
    overlay = result.overlay(hmrfit.read_image(folder / "photo.png"))
    scaled = lambda image: cv2.resize(  # noqa: E731
        image, (round(image.shape[1] * HEIGHT / len(image)), HEIGHT), interpolation=cv2.INTER_AREA
    )
    return side_by_side([scaled(np.asarray(overlay)), result.uncertainty_plot(height=HEIGHT)])


def write_gif(video: Path, path: Path) -> None:
    """The video as a GIF that loops."""
    opened = open_video(video)
    frames = [frame.image for i, frame in enumerate(opened.frames()) if i % EVERY == 0]
    size = (GIF_WIDTH, round(frames[0].shape[0] * GIF_WIDTH / frames[0].shape[1]))
    animation = cv2.Animation()
    animation.frames = [
        cv2.cvtColor(cv2.resize(f, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR) for f in frames
    ]
    animation.durations = [round(1000 * EVERY / opened.fps)] * len(frames)
    cv2.imwriteanimation(str(path), animation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("out/demo"))
    parser.add_argument("--video", type=Path, default=Path("out/demo/video"))
    arguments = parser.parse_args()
    (HERE / "images").mkdir(exist_ok=True)
    hmrfit.write_image(HERE / "images" / "demo.jpg", hero(arguments.demo))
    write_gif(arguments.video / "overlay.mp4", HERE / "images" / "walk.gif")


if __name__ == "__main__":
    main()

"""Draws the pictures of README and documentation anew, all of them our own renderings.

    python docs/make_gallery.py --demo out/demo --video out/demo/video/from_keypoints --hand out/demo/hand
                                                                    (after `make demo` and `hmrfit demo --hand`)

docs/images/demo.jpg     the photograph with the body over it, from the right, from behind; how sure each joint is
docs/images/hands.jpg    a body with hands, fitted to noisy whole-body keypoints, and the demo's hand, from four sides
docs/images/walk.gif     the demo's video, every person in a colour of its own
docs/images/NAME.jpg     those of `gallery_pictures.PICTURES`
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from gallery_pictures import PICTURES

import hmrfit
from hmrfit.assets import locate
from hmrfit.build import load_body
from hmrfit.io.opencv import cv2
from hmrfit.keypoints import find_set
from hmrfit.priors.gmm import PoseGmm
from hmrfit.render.overlay import side_by_side
from hmrfit.synthetic.people_with_hands import people_with_hands
from hmrfit.video.reader import open_video

HERE = Path(__file__).parent
HEIGHT, GIF_WIDTH, EVERY = 540, 420, 3
"""Pixels, and which frames of the video: one in so many."""

SHIPPED, CHOSEN = 24, 17
"""Of so many people in shipped poses, the one whose hands are easy to see."""


def hero(folder: Path) -> np.ndarray:
    """The demo's overlay, and beside it the uncertainty plot."""
    result = hmrfit.FitResult.load(folder / "result.npz")
    overlay = result.overlay(hmrfit.read_image(folder / "photo.png"))
    scaled = lambda image: cv2.resize(  # noqa: E731
        image, (round(image.shape[1] * HEIGHT / len(image)), HEIGHT), interpolation=cv2.INTER_AREA
    )
    return side_by_side([scaled(np.asarray(overlay)), result.uncertainty_plot(height=HEIGHT)])


def with_hands(folder: Path) -> np.ndarray:
    """A body with hands above the demo's hand, both from four sides."""
    generator = torch.Generator().manual_seed(0)
    with np.load(locate("poses")) as data:
        poses = torch.as_tensor(data["poses"][:: len(data["poses"]) // SHIPPED][:SHIPPED]).double().flatten(1)
    fingers = PoseGmm.from_file(locate("hand_pose_gmm")).sample(2 * SHIPPED, generator).unflatten(0, (-1, 2))
    names = find_set("coco_wholebody133").with_hands.names
    people = people_with_hands(load_body("free_body_h"), poses, fingers, names, generator)
    seen = people.keypoints
    points = torch.cat([seen.xy, seen.confidence[..., None]], -1)[[CHOSEN]].numpy()
    size = tuple(int(n) for n in people.camera.size[0])
    body = hmrfit.fit(None, points, keypoint_set=names, camera=people.camera[[CHOSEN]], image_size=size)
    hand = hmrfit.FitResult.load(folder / "result.npz")
    above, below = (side_by_side(one.turntable(4, (HEIGHT * 3 // 4, HEIGHT))) for one in (body, hand))
    return np.concatenate([above, below])


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
    parser.add_argument("--video", type=Path, default=Path("out/demo/video/from_keypoints"))
    parser.add_argument("--hand", type=Path, default=Path("out/demo/hand"))
    arguments = parser.parse_args()
    (HERE / "images").mkdir(exist_ok=True)
    hmrfit.write_image(HERE / "images" / "demo.jpg", hero(arguments.demo))
    hmrfit.write_image(HERE / "images" / "hands.jpg", with_hands(arguments.hand))
    for name, picture in PICTURES.items():
        hmrfit.write_image(HERE / "images" / f"{name}.jpg", picture(arguments.demo))
    write_gif(arguments.video / "overlay.mp4", HERE / "images" / "walk.gif")


if __name__ == "__main__":
    main()

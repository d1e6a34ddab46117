"""Hands of keypoint files and of data sets' annotations, ready to be fitted: `read_hand_keypoints`."""

import os
from collections.abc import Sequence
from pathlib import Path

from hmrfit.datasets import HAND_READERS, read_hands
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.hand_keypoints import hand_set
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.keypoint_files.find import KeypointSource
from hmrfit.io.keypoint_files.hand_formats import check_side, read_hands_of_file, side_of_hand
from hmrfit.ops.check import did_you_mean


def read_hand_keypoints(
    path: str | os.PathLike[str],
    side: str | None = None,
    keypoint_set: str | Sequence[str | None] | None = None,
    image_size: tuple[int, int] | None = None,
    mirrored: bool = False,
    dataset: str | None = None,
    split: str | None = None,
) -> list[PersonKeypoints]:
    """The hands of a keypoint file, or of a data set's download.

        for hand in hmrfit.read_hand_keypoints("hands.json", side="left"):
            hmrfit.fit_hand("photo.jpg", [hand], side="left")

    Args:
        path: MediaPipe's hands and holistic as JSON, OpenPose's, COCO-WholeBody's annotations, whole-body keypoints of
            133, 135, 136 or 308 points in any format of `read_keypoints`; arrays and tables (21, 3) of one hand. With
            `dataset` the folder of a download.
        side: only "left" or "right" hands, the person's own; where the file does not say which hand it is, this one.
        keypoint_set: the order of an array's points: "hand21" (the default), "mano_native21", "interhand21", ...
        image_size: (width, height), for formats that write fractions of the image.
        mirrored: whether MediaPipe saw a mirrored picture, as a selfie camera shows it. Its "Left" is then the person's
            left hand; in an ordinary photograph it is the right one, and is read so by default.
        dataset: "freihand", "ho3d", "interhand", "dexycb" or "rhd": what is annotated there, or the true joints as the
            camera sees them. split: of it, default its evaluation or test.

    Returns: one `PersonKeypoints` a hand, whose names say which hand and which points, an empty list where there are
        none; with `image`, and of a data set with its camera (`intrinsics`).

    Raises:
        FileNotFoundError: there is no such file. ValueError: it cannot be read, or does not say which hand it is.
    """
    check_side(side)
    if dataset is None:
        return read_hands_of_file(path, side, keypoint_set, image_size, mirrored)
    if dataset not in HAND_READERS:
        near = did_you_mean(dataset, HAND_READERS)
        raise ValueError(f"There is no data set of hands '{dataset}'.{near} Known: {', '.join(HAND_READERS)}.")
    return [hand for hand in people_of_hands(read_hands(dataset, path, split)) if side in (None, side_of_hand(hand))]


def people_of_hands(data: HandDataset) -> list[PersonKeypoints]:
    """The hands of a data set as keypoints."""
    known = {side: hand_set(data.order, side).names for side in ("left", "right")}
    points = data.keypoints_2d
    return [
        PersonKeypoints(
            known[str(data.side[i])],
            points[i, :, :2],
            points[i, :, 2],
            data.root,
            str(data.names[i]),
            None if data.image is None else str(data.image[i]),
            (int(data.size[i, 0]), int(data.size[i, 1])),
            intrinsics=data.K[i] if (data.K[i] == data.K[i]).all() else None,
            made_by="labelled",
        )
        for i in range(len(data))
    ]


class HandKeypointSource(KeypointSource):
    """The hands of one side in many photographs."""

    def __init__(
        self, side: str, keypoint_set: str | Sequence[str | None] | None = None, mirrored: bool = False
    ) -> None:
        check_side(side)
        super().__init__()
        self.side, self.hand_set, self.mirrored = side, keypoint_set, mirrored

    def read(self, file: Path) -> list[PersonKeypoints]:
        """The file's hands of this side."""
        return read_hand_keypoints(file, self.side, self.hand_set, mirrored=self.mirrored)

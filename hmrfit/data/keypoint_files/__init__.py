"""Keypoint files of the usual detectors and datasets, read into people with named keypoints.

Which coordinates a format means, and what happens to them, in one table (ours: (0, 0) is the corner of the top-left
pixel, so formats whose pixel centres are integers get +0.5):

    format               coordinates                    added   confidence
    OpenPose JSON        cv2's, centres at integers     +0.5    as it is
    COCO annotations     indices of clicked pixels      +0.5    visibility 0 -> 0; 1 (hidden, but labelled), 2 -> 1
    COCO results         indices (as detectron2 writes) +0.5    as it is; visibility as above
    MMPose JSON          cv2's, centres at integers     +0.5    heat-map peaks, clipped to [0, 1]
    hmrfit's JSON        `format` names the set         +0.5    as it is
    npy, npz, csv        ours                           0       as it is; 1 where there is none

Confidences up to 2 count as 1 (heat maps overshoot, visibility 2 is "seen"); beyond that, or negative, the file is
refused: those are logits or percentages. A keypoint of confidence 0, or without any numbers, comes out as (0, 0), 0.
Boxes are [x, y, width, height] with corners as corners in all of these formats, and are not shifted.
"""

from hmrfit.data.keypoint_files.find import KeypointSource, find_keypoint_file, people_in_image
from hmrfit.data.keypoint_files.person import PersonKeypoints
from hmrfit.data.keypoint_files.read import read_keypoints

__all__ = ["KeypointSource", "PersonKeypoints", "find_keypoint_file", "people_in_image", "read_keypoints"]

"""Keypoint files of the usual detectors and datasets, read into people with named keypoints.

A format is added with one function and one row of a table. The function gives each person's own numbers as a `Found`
(`person.finish` then makes names, confidences and pixels of them); the row says how the format is recognised:

    JSON                json_formats.JSON_FORMATS    (parsed content, name) -> people        by its keys
    csv, tsv, txt       tables.TABLE_FORMATS         (rows of cells, path) -> people         by its heading
    any other suffix    readers.READERS              (path) -> people                        by the suffix

What was a JSON file is then read from memory too (a dictionary, bytes, an open file), and a file of the new suffix is
found beside its photograph.

Which coordinates each format means, and what happens to them (ours: (0, 0) is the corner of the top-left pixel, so
formats whose pixel centres are integers get +0.5; fractions of the image are first multiplied by its size):

    format                 coordinates                    added   keypoints, where the file does not name them
    OpenPose, ControlNet   cv2's, centres at integers     +0.5    18, 25: OpenPose's
    AlphaPose cmu, open    cv2's, centres at integers     +0.5    18, 25: OpenPose's
    EasyMocap annots       cv2's, centres at integers     +0.5    17: COCO's; 18, 25: OpenPose's
    COCO annotations       indices of clicked pixels      +0.5    17: COCO's
    COCO results           indices (as detectron2 writes) +0.5    17: COCO's; AlphaPose and its `idx` too
    MMPose JSON            cv2's, centres at integers     +0.5    by `dataset_name`
    ultralytics            COCO's, or fractions           +0.5    17: COCO's
    easy_ViTPose           cv2's, y before x              +0.5    named by `skeleton`
    TensorFlow.js, ml5     cv2's, centres at integers     +0.5    named, or 17: COCO's
    labelme, points        pixels, as clicked             +0.5    named by `label`
    Label Studio           percent of the image           0       named by `keypointlabels`
    lists beside scores    cv2's, centres at integers     +0.5    17: COCO's (Hugging Face, torchvision, rtmlib)
    YOLO labels, txt       fractions of the image         +0.5    17: COCO's
    SPIN npz               indices                        +0.5    openpose25, spin24, or both as spin49
    DeepLabCut csv         napari's, centres at integers  +0.5    named by `bodyparts`
    MediaPipe JSON, csv    fractions of the image         0       mediapipe33
    hmrfit's JSON          `format` names the set         +0.5    -
    hmrfit's detections    ours                           0       `format`, for each person
    npy, npz, csv, tsv     ours                           0       csv and npz may name them; lists in JSON too
    Parquet tables         ours                           0       named by `keypoint_set`

Names of keypoints mean what `names` says, in any order; 26, 133, 135, 136 and 308 are recognised by their number;
hands, fingers and faces are left out. Which points are missing, and what scores mean, is the table in `numbers`. A size
that a file states is followed: `PersonKeypoints.at_size` scales to the photograph, or refuses another aspect ratio.
Boxes are [x, y, width, height] with corners as corners in all of these formats, and are not shifted.
"""

from hmrfit.io.keypoint_files.find import KeypointSource, find_keypoint_file, people_in_image
from hmrfit.io.keypoint_files.person import PersonKeypoints
from hmrfit.io.keypoint_files.readers import read_keypoints

__all__ = ["KeypointSource", "PersonKeypoints", "find_keypoint_file", "people_in_image", "read_keypoints"]

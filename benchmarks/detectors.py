"""A detector on labelled photographs: people found, keypoints right, time, and what the fit loses by it.

    python benchmarks/detectors.py [--photos FOLDER] [--detector NAME] [--draw FOLDER]

FOLDER (or the environment variable HMRFIT_PHOTOS) holds a JSON file for each labelled person (`_people.py`). People are
looked for in whole photographs; of those found, the one nearest to the labels is the person's.

    pck_05, pck_10     fraction of the 12 limb joints that are labelled (shoulders, elbows, wrists, hips, knees, ankles)
                       within 5 and 10 % of the longer side of the box of the person's labelled keypoints; of a person
                       who is missed, all are wrong
    found              people of whom at least half of the joints are within 20 %
    ms_per_photo       of the processor, the photograph being decoded
    mirror_bias_px     mean of (x + mirrored x − width)/2 over all joints of the same boxes, in pixels of a box of 256:
                       a detector whose pixel centres are at integers has half a pixel. `_y`: found minus
                       labelled joints down the picture, median, in the same pixels
    pa_mpjpe_..._mm    over the 12 limb joints, of fits from detected and from labelled keypoints, with the focal length
                       given, for the people whose labels belong to their 3D truth
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _common import PHOTOS, finish, needed, photos_argument, skip, threads
from _people import LabelledPerson, labelled_people, limb_index
from numpy.typing import NDArray

import hmrfit
from hmrfit.detectors.detect import load_detector
from hmrfit.detectors.detector import Detector, NoDetector
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.io.image import Image
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.keypoints import flip_permutation, limbs, resolve_set

MISSED = 0.2
"""Of the box: a person is found if half of the joints are nearer."""

CROP = 256
"""Pixels in which the bias is given."""


def errors(found: PersonKeypoints, labelled: PersonKeypoints) -> NDArray[np.float64]:
    """Of the labelled limb joints, fractions of the box."""
    ours, theirs = limb_index(found.names), limb_index(labelled.names)
    seen = labelled.confidence > 0
    box = np.ptp(labelled.xy[seen], axis=0).max()
    distance = np.linalg.norm(found.xy[ours] - labelled.xy[theirs], axis=1)
    return distance[seen[theirs]] / box


def nearest(people: Sequence[PersonKeypoints], labelled: PersonKeypoints) -> PersonKeypoints | None:
    """The person who was labelled, among those that were found."""
    best = min(people, key=lambda person: float(np.median(errors(person, labelled))), default=None)
    return best if best is not None and np.median(errors(best, labelled)) < MISSED else None


def mirror_bias(detector: Detector, image: Image, labelled: PersonKeypoints) -> NDArray[np.float64]:
    """Pixels of a box of `CROP`: half of what the two pictures disagree by along x, of the keypoints that both show."""
    seen = labelled.xy[labelled.confidence > 0]
    (x, y), (w, h) = seen.min(0), np.ptp(seen, axis=0)
    width, order = image.shape[1], flip_permutation(resolve_set(detector.keypoint_set))
    (plain,) = detector.detect(image, np.array([[x, y, w, h]]))
    (mirrored,) = detector.detect(np.ascontiguousarray(image[:, ::-1]), np.array([[width - x - w, y, w, h]]))
    both = (plain.confidence > 0) & (mirrored.confidence[order] > 0)
    return ((plain.xy[:, 0] + mirrored.xy[order, 0] - width) / 2 * CROP / max(w, h))[both]


def joint_error(person: LabelledPerson, keypoints: PersonKeypoints) -> float:
    """PA-MPJPE of the fit, mm."""
    result, truth = hmrfit.fit(person.image, [keypoints]), person.truth()
    assert truth is not None
    points = result.body_model.points(person.names).pose(result.params).points
    return 1e3 * pa_mpjpe(points[:, limb_index(person.names)], truth[None]).item()


def draw(image: Image, people: Sequence[PersonKeypoints], file: Path) -> None:
    """The limbs of everybody found: the person's left red, the right blue."""
    from hmrfit.io.opencv import cv2

    picture, wide = image.copy(), max(1, image.shape[0] // 240)
    for person in people:
        for a, b in limbs(person.names):
            sides = {person.names[i].partition("_")[0] for i in (a, b)}
            color = (255, 60, 60) if sides == {"left"} else (60, 140, 255) if sides == {"right"} else (60, 255, 60)
            ends = [tuple(int(v) for v in person.xy[i]) for i in (a, b)]
            cv2.line(picture, *ends, color, wide, cv2.LINE_AA)
    hmrfit.write_image(file, picture)


def main(arguments: Sequence[str] | None = None) -> None:
    """Detect in all photographs, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    photos_argument(parser)
    parser.add_argument("--detector", help="its name; default the first that is installed")
    parser.add_argument("--draw", type=Path, help="a folder for pictures of what was found")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    folder = needed(options.photos, "--photos", PHOTOS)
    try:
        detector = load_detector(options.detector)
    except NoDetector as error:
        skip(str(error))
    people = [p for p in labelled_people(folder, deep=False) if p.image is not None]
    cache: dict[bytes, list[PersonKeypoints]] = {}  # several labelled people may be in copies of one photograph
    times, every, biases, down, found = [], [], [], [], 0
    pairs: list[tuple[float, float]] = []
    for person in people:
        assert person.image is not None
        content, (labelled,) = person.image.read_bytes(), hmrfit.read_keypoints(person.file)
        image = hmrfit.read_image(person.image)
        if content not in cache:
            began = time.process_time()
            cache[content] = hmrfit.detect(image, detector)
            times.append(time.process_time() - began)
            if options.draw:
                draw(image, cache[content], options.draw / f"{person.name}.jpg")
        mine = nearest(cache[content], labelled)
        found += mine is not None
        joints = int((labelled.confidence[limb_index(labelled.names)] > 0).sum())
        wrong = np.full(joints, np.inf) if mine is None else errors(mine, labelled)
        every.append(wrong)
        biases.append(mirror_bias(detector, image, labelled))
        line = f"{person.name:36s} {len(cache[content])} people, PCK.05 {np.mean(wrong < 0.05):.2f}"
        if mine is not None:
            seen = labelled.confidence > 0
            offset = (mine.xy[limb_index(mine.names)] - labelled.xy[limb_index(labelled.names)])[:, 1]
            scale = CROP / np.ptp(labelled.xy[seen], axis=0).max()
            down.append(offset[seen[limb_index(labelled.names)]] * scale)
        if person.truth() is not None and mine is not None:
            lens = replace(mine, intrinsics=labelled.intrinsics, distortion=labelled.distortion)
            pairs.append((joint_error(person, lens), joint_error(person, labelled)))
            line += f", PA-MPJPE {pairs[-1][0]:.1f} detected, {pairs[-1][1]:.1f} labelled"
        print(line, flush=True)
    joint_errors, (detected, given) = np.concatenate(every), np.array(pairs).reshape(-1, 2).T
    print()
    finish(
        benchmark="detectors",
        detector=detector.fingerprint,
        torch_threads=torch.get_num_threads(),
        people=len(people),
        photos=len(cache),
        found=found,
        pck_05=float(np.mean(joint_errors < 0.05)),
        pck_10=float(np.mean(joint_errors < 0.1)),
        median_percent_of_box=float(100 * np.median(joint_errors)),
        ms_per_photo=float(1e3 * np.mean(times)),
        mirror_bias_px=float(np.mean(np.concatenate(biases))),
        mirror_bias_px_y=float(np.median(np.concatenate(down))),
        pa_mpjpe_detected_mm=float(detected.mean()) if len(detected) else None,
        pa_mpjpe_labelled_mm=float(given.mean()) if len(given) else None,
    )


if __name__ == "__main__":
    main()

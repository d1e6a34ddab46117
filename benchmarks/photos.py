"""The fit on real photographs: COCO people with masks, and one person, three instants, seen by four calibrated cameras.

    python benchmarks/photos.py [--photos FOLDER]

FOLDER (or the environment variable HMRFIT_PHOTOS) holds a JSON file for each person, with the names of photograph and
mask. Every person is fitted from it with the default settings, the people before four cameras with known intrinsics.

    reproj.    mean distance to the keypoints that were seen, % of the box of the visible keypoints
    IoU        of the body's silhouette with the labelled mask, which the fit has not seen. The body wears no clothes,
               and the mask ends where something stands in front of the person.
               "with mask": of the body that was fitted to the mask as well, by measurements=[Mask(...)]
    BMI        mass over height squared of the fitted shape, kg/m² (a naked body of 1,000 kg/m³): over 30 few people
               with labels are, and clothes must not make them so
    PA-MPJPE   mm, after a similarity alignment, to joints triangulated from four views (themselves right to 20-30 mm):
               shoulders, elbows, wrists, hips, knees, ankles as COCO defines them; of the cameras whose labels belong
               to that truth (`_people.py`)
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from _common import PHOTOS, finish, needed, photos_argument, threads
from _people import LabelledPerson, labelled_people, limb_index
from torch import Tensor

import hmrfit
from hmrfit.body.mass_index import body_mass_index
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.io.opencv import cv2
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.result import FitResult


def mask_overlap(result: FitResult, mask: np.ndarray) -> float:
    """Intersection over union of the body's silhouette and the mask."""
    vertices = torch.as_tensor(result.vertices).float()
    body = BuiltinRenderer().silhouette(vertices, torch.as_tensor(result.faces), result.camera.to(torch.float32))
    found = body[0].numpy()
    return float((found & mask).sum() / (found | mask).sum())


def mass_index(result: FitResult) -> float:
    """kg/m² of the fitted shape."""
    return float(body_mass_index(result.body_model, result.params.betas)[0])


def joint_error(result: FitResult, truth: Tensor) -> float:
    """PA-MPJPE in mm against the 12 triangulated points (12, 3) of the same set."""
    names = result.keypoints.names
    found = result.body_model.points(names).pose(result.params).points
    return 1e3 * pa_mpjpe(found[:, limb_index(names)], truth[None]).item()


def measure(person: LabelledPerson) -> dict[str, float]:
    """Fit one person; the measures for which the file has a truth."""
    result = hmrfit.fit(person.image, person.file)
    row = {"reproj.": 100 * float(result.reprojection_error[0])}
    if person.about.get("mask"):
        mask = cv2.imread(str(person.file.parent / person.about["mask"]), cv2.IMREAD_GRAYSCALE) > 0
        informed = hmrfit.fit(person.image, person.file, measurements=[hmrfit.Mask(mask)])
        row |= {"IoU": mask_overlap(result, mask), "IoU with mask": mask_overlap(informed, mask)}
        row["reproj. with mask"] = 100 * float(informed.reprojection_error[0])
        row |= {"reproj. without": row["reproj."], "BMI": mass_index(result), "BMI with mask": mass_index(informed)}
    truth = person.truth()
    if truth is not None:
        row["PA-MPJPE"] = joint_error(result, truth)
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit all people and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    photos_argument(parser)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    people = labelled_people(needed(options.photos, "--photos", PHOTOS), deep=False)
    rows: dict[str, list[float]] = defaultdict(list)
    for person in people:
        row = measure(person)
        for key, value in row.items():
            rows[key].append(value)
        print(f"{person.name:36s}" + "   ".join(f"{key} {value:6.2f}" for key, value in row.items()), flush=True)
    print()
    finish(
        benchmark="photos",
        people=len(people),
        reprojection_percent_of_box_median=float(np.median(rows["reproj."])),
        mask_iou_median=float(np.median(rows["IoU"])) if rows["IoU"] else None,
        mask_iou_median_with_mask=float(np.median(rows["IoU with mask"])) if rows["IoU"] else None,
        reprojection_percent_without_mask=float(np.mean(rows["reproj. without"])) if rows["IoU"] else None,
        reprojection_percent_with_mask=float(np.mean(rows["reproj. with mask"])) if rows["IoU"] else None,
        bmi_over_30_without_mask=float(np.mean(np.array(rows["BMI"]) > 30)) if rows["IoU"] else None,
        bmi_over_30_with_mask=float(np.mean(np.array(rows["BMI with mask"]) > 30)) if rows["IoU"] else None,
        pa_mpjpe_mm=float(np.mean(rows["PA-MPJPE"])) if rows["PA-MPJPE"] else None,
    )


if __name__ == "__main__":
    main()

"""What networks of hands learn from which supervision, on synthetic hands, in short runs on a CPU.

    python benchmarks/hand_networks.py [--poses fingers21.npz] [--only images depths roots] [--steps 400] [--out FOLDER]

images   Boukhayma et al.'s network (`hmrfit train --config train_hand_image`), ResNet-10 at 64 pixels, all runs on the
         same --images synthetic pictures: 2D keypoints alone; and the mask, as published (without gradient) and by
         distance; and 3D; and both. Scores on 300 other pictures at four moments of a run: PA-MPJPE over 21 points,
         MPJPE about the wrist, 2D error in % of the box, overlap with the mask. The floor is the true pose in six
         components.
depths   Spurr et al.'s claim: a network of 21 noisy keypoints (2 % of the box) for the 2.5D of 21 points, trained on
         4,000 hands, of which all have 2D and 0, 10 or 100 % have 3D: without L_BMC, with it, and with boxes instead of
         hulls. Means over --seeds, and the standard deviation of PA-MPJPE between them. --bmc and --angles multiply
         the weights of L_BMC, and of its angles once more. With --poses, priors and hulls are fitted without handy.js,
         whose poses are then scored; without, hands are draws of the shipped prior.
roots    The wrist's depth from noisy 2.5D (1 % of the box, 0.05 on z): the closed form of one bone, with the refinement
         network, all bones at once, and with the network after it. Millimetres, at the hand's mean size.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from _common import finish, threads
from hand_accuracy import left_out, pa_mpjpe, random_rotations
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera, pixels_to_crop
from hmrfit.evaluate.hand_scores import auc
from hmrfit.io.image import write_image
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import ImageEncoder, KeypointEncoder, normalise_keypoints, view_of_box
from hmrfit.network.hand_depth import (
    BONE,
    DepthNetwork,
    RootDepthRefinement,
    closed_form,
    in_space,
)
from hmrfit.network.hand_regressor import HandRegression, HandRegressor
from hmrfit.network.hmr import HMR
from hmrfit.network.resnet import channels_last
from hmrfit.ops.procrustes import similarity_align
from hmrfit.ops.root_depth import error_parts, normalised, root_depth
from hmrfit.ops.rotation import matrix_to_rotvec
from hmrfit.priors.biomechanics import HandLimits, bones_of, joint_angles
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.hand_scenes import HAND21, HandSample, HandScenes, hand_poses
from hmrfit.train.augmentation import Augmentation
from hmrfit.train.hand_depth_training import DepthLossWeights, DepthTargets, boxes_of, depth_losses, refinement_loss
from hmrfit.train.hand_images import SceneHands
from hmrfit.train.hand_losses import HandLosses, HandLossWeights
from hmrfit.train.hand_masks import BONES
from hmrfit.train.hand_objective import HandImageObjective
from hmrfit.train.hand_validation import draw_hands, held_out, regress_hands, score_hands
from hmrfit.train.images import Mixed
from hmrfit.train.trainer import Trainer, TrainingSchedule, rate_factor, set_rate
from hmrfit.types import BodyParams, Keypoints

# ---- images

RESOLUTION, BATCH, SCORED = 64, 48, 300
RUNS = {
    "2D": HandLossWeights(points_3d=0, mask=0),
    "2D + mask, published": HandLossWeights(points_3d=0),
    "2D + mask, distance": HandLossWeights(points_3d=0, mask_kind="distance"),
    "2D + 3D": HandLossWeights(mask=0),
    "2D + 3D + mask, distance": HandLossWeights(mask_kind="distance"),
}
MOMENTS = 4


def images(
    body: SmplBody, count: int, steps: int, out: Path | None, names: Sequence[str] = tuple(RUNS)
) -> dict[str, dict[str, float]]:
    """Name of the run -> its scores at the end; every moment's are printed. names: which of RUNS."""
    poses = hand_poses(prior(), limits(), body, 8000, seed=1)
    train, test = (
        SceneHands(HandScenes(body, p, n, RESOLUTION, seed=s), how, True)
        for p, n, s, how in (
            (
                poses[:6000],
                count,
                1,
                Augmentation(scale=0.1, translation=0.05, rotation=60, rotated=0.7, flipped=0, colour=0.3),
            ),
            (poses[6000:], SCORED, 2, None),
        )
    )
    shown, single = held_out(test, SCORED), body.to(dtype=torch.float32)
    begin = time.process_time()
    for i in range(count):
        train[i]
    print(f"{count} images of {RESOLUTION} px: {time.process_time() - begin:.0f} s of the processor", flush=True)
    table = {"mean hand": mean_hand(single, shown), "floor, 6 components": floor(body, shown)}
    print(f"\n{'':26s}{'steps':>6s}{'PA-MPJPE':>10s}{'MPJPE':>8s}{'2D, %':>8s}{'IoU':>7s}")
    for name in names:
        run = image_run(single, train, RUNS[name], steps)
        for moment in range(1, MOMENTS + 1):
            while run.step < steps * moment // MOMENTS:
                run.train_step()
            found = regress_hands(run.average, shown)
            table[name] = score_hands(single, shown, found)
            print(row_of(name, run.step, table[name]), flush=True)
        if out is not None:
            some = slice(0, 24)
            write_image(
                out / f"{name.replace(' ', '_').replace(',', '')}.png", draw_hands(single, shown[some], found[some])
            )
    for name in ("mean hand", "floor, 6 components"):
        print(row_of(name, 0, table[name]))
    return table


def row_of(name: str, step: int, scores: dict[str, float]) -> str:
    """A line of the table; unknown figures are left out."""
    columns = (("pa_mpjpe_mm", 10, 1), ("mpjpe_mm", 8, 1), ("error_2d_percent", 8, 1), ("mask_iou", 7, 3))
    cells = [f"{scores[key]:{width}.{digits}f}" if key in scores else " " * width for key, width, digits in columns]
    return f"{name:26s}{step:6d}" + "".join(cells)


def image_run(body: SmplBody, hands: SceneHands, weights: HandLossWeights, steps: int) -> Trainer:
    """One run; all begin with the same weights and see the same hands in the same order."""
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10", RESOLUTION)
    hmr = HMR(encoder, HandRegressor(encoder.features, body.hands["right"], resolution=RESOLUTION))
    channels_last(hmr.encoder)
    objective = HandImageObjective(Mixed([hands], [1.0]), HandLosses(body, weights), hmr.regressor.layout)
    schedule = TrainingSchedule(BATCH, steps, rate=1e-3, warm_up=steps // 10, average=0.98, half=True)
    return Trainer(hmr, FactorizedDiscriminator(16, width=1, hidden=1), objective, schedule)


def mean_hand(body: SmplBody, hands: HandSample) -> dict[str, float]:
    """Scores of Θ₀, of which only the 3D after alignment says something."""
    regressor = HandRegressor(1, body.hands["right"], resolution=RESOLUTION)
    found: HandRegression = regressor.layout.regression(regressor.mean.expand(len(hands), -1))
    return {"pa_mpjpe_mm": score_hands(body, hands, found)["pa_mpjpe_mm"]}


def floor(body: SmplBody, hands: HandSample) -> dict[str, float]:
    """3D errors of the truth with its pose in six components."""
    truth, poses, points = hands.params.to(torch.float64), body.hands["right"], body.points(HAND21)
    theta = matrix_to_rotvec(truth.body_pose).flatten(1)
    c = (theta - poses.mean) @ poses.components[:6].T
    near = points.pose(replace(truth, body_pose=poses.rotations(c))).points
    true = points.pose(truth).points
    apart = (near - near[:, :1]) - (true - true[:, :1])
    aligned = similarity_align(near, true)
    return {
        "pa_mpjpe_mm": 1e3 * (aligned - true).norm(dim=-1).mean().item(),
        "mpjpe_mm": 1e3 * apart.norm(dim=-1).mean().item(),
    }


# ---- 2.5D


@dataclass(frozen=True)
class Cases:
    """Hands before known cameras."""

    points: Tensor  # (B, 21, 3) metres
    camera: Camera
    unit: Tensor  # (B,) metres, the length of BONE

    def seen(self, noise: float, generator: torch.Generator) -> Keypoints:
        """Keypoints in pixels, with noise of a fraction of the box."""
        xy = self.camera.project(self.points)
        box = (xy.amax(1) - xy.amin(1)).amax(1)
        moved = xy + noise * box[:, None, None] * torch.randn(xy.shape, generator=generator, dtype=xy.dtype)
        return Keypoints(moved, torch.ones_like(xy[..., 0]), HAND21)


def make_cases(body: SmplBody, theta: Tensor, generator: torch.Generator) -> Cases:
    """Hands in the poses theta (B, 45), of random betas and views, as in benchmarks/hand_accuracy.py."""
    B = len(theta)
    betas = torch.randn(B, body.shape_count, generator=generator, dtype=torch.float64)
    at = torch.rand(B, 3, generator=generator, dtype=torch.float64)
    depth = 0.3 + 0.5 * at[:, 2]
    place = torch.cat([(2 * at[:, :2] - 1) * torch.tensor([220.0, 140.0]) * depth[:, None] / 600, depth[:, None]], 1)
    params = BodyParams.from_rotvecs(torch.zeros(B, 3).double(), theta, betas, place)
    params = replace(params, global_orient=random_rotations(B, generator))
    points = body.points(HAND21).pose(params).points
    unit = (points[:, BONE[0]] - points[:, BONE[1]]).norm(dim=1)
    return Cases(points, Camera.from_size(640, 480, 600.0, count=B), unit)


def prior() -> PoseGmm:
    return PoseGmm.from_file(locate("hand_pose_gmm"))


def limits() -> HandLimits:
    return HandLimits.from_file(locate("hand_limits"))


@contextmanager
def sources(poses: Path | None, body: SmplBody) -> Iterator[tuple[PoseGmm, HandLimits, Tensor]]:
    """(prior, limits, poses to score on (N, 45))."""
    if poses is None:
        yield prior(), limits(), hand_poses(prior(), limits(), body, 1000, seed=9)
        return
    with tempfile.TemporaryDirectory() as folder:
        group, theta, settings = next(iter(left_out(poses, Path(folder))))
        assert group == "handyjs"
        yield PoseGmm.from_file(settings["PRIORS.GMM"]), HandLimits.from_file(settings["PRIORS.HAND_LIMITS"]), theta


HANDS, DEPTH_BATCH, NOISE = 4000, 128, 0.02
LABELS = (0.0, 0.1, 1.0)
LOSSES = ("without BMC", "BMC, hulls", "BMC, boxes")


def depths(
    body: SmplBody,
    poses: Path | None,
    steps: int,
    seeds: int,
    labels: Sequence[float] = LABELS,
    losses: Sequence[str] = LOSSES,
    biomechanics: DepthLossWeights | None = None,
    first_seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Run -> its scores, the mean over seeds. labels: shares of the 3D. losses: of LOSSES. biomechanics: the weights
    of the runs with L_BMC."""
    own_weights, every_seed = biomechanics or DepthLossWeights(), range(first_seed, first_seed + seeds)
    table: dict[str, dict[str, float]] = {}
    with sources(poses, body) as (gmm, own, theta):
        mean = body.shapedirs.new_zeros(1, body.shape_count)
        flat = body.points(HAND21).pose(replace(body.neutral(), betas=mean)).points
        usual = float((flat[0, BONE[0]] - flat[0, BONE[1]]).norm())
        unit_limits = own.scaled(1 / usual).map(Tensor.float)
        of_hulls = (own_weights, unit_limits)
        of_boxes = (own_weights, boxes_of(unit_limits))
        every = ((DepthLossWeights.without_biomechanics(), unit_limits), of_hulls, of_boxes)
        kinds = {name: kind for name, kind in zip(LOSSES, every, strict=True) if name in losses}
        generator = torch.Generator().manual_seed(5)
        chosen = theta[torch.randint(len(theta), (1000,), generator=generator)]
        test = make_cases(body, chosen, generator)
        train = make_cases(body, hand_poses(gmm, own, body, HANDS, seed=3), torch.Generator().manual_seed(4))
        head = f"{'PA, mm':>10s}{'about wrist':>12s}{'Z part':>8s}{'AUC':>7s}{'out of hulls':>21s}{'PA std':>7s}"
        print(f"\n{'':24s}{'3D':>6s}{head}")
        for share in labels:
            for name, (weights, kind) in kinds.items():
                runs = [depth_run(train, test, share, weights, kind, unit_limits, steps, seed) for seed in every_seed]
                scores = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
                numbers = "".join(
                    f"{v:{w}.{d}f}"
                    for v, w, d in zip(scores.values(), (10, 12, 8, 7, 21), (1, 1, 1, 3, 1), strict=True)
                )
                scores["pa_mpjpe_std_mm"] = float(np.std([run["pa_mpjpe_mm"] for run in runs], ddof=min(1, seeds - 1)))
                table[f"{name}, {share:.0%} of the 3D"] = scores
                print(f"{name:24s}{share:6.0%}{numbers}{scores['pa_mpjpe_std_mm']:7.2f}", flush=True)
    return table


def scaled(weights: DepthLossWeights, bmc: float, angles: float) -> DepthLossWeights:
    """The weights of L_BMC times `bmc`, that of its angles times `angles` once more."""
    return replace(
        weights,
        bone_length=bmc * weights.bone_length,
        palm=bmc * weights.palm,
        angles=bmc * angles * weights.angles,
    )


def depth_run(
    train: Cases,
    test: Cases,
    share: float,
    weights: DepthLossWeights,
    own: HandLimits,
    hulls: HandLimits,
    steps: int,
    seed: int,
) -> dict[str, float]:
    """One training, its scores on `test`."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = DepthNetwork(KeypointEncoder(256, 2, names=HAND21))
    refine = RootDepthRefinement()
    parameters = [*network.parameters(), *refine.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01)
    known = torch.rand(HANDS, generator=generator) < share
    for step in range(steps):
        set_rate(optimizer, 1e-3 * rate_factor(step, steps // 20, step / steps))
        rows = torch.randint(HANDS, (DEPTH_BATCH,), generator=generator)
        some = Cases(train.points[rows], train.camera[rows], train.unit[rows])
        inputs, box, targets = given(some, NOISE, generator, known[rows])
        found = network(*inputs)
        points, depth = in_space(found, *box, refine if share else None)
        losses = depth_losses(found, points, depth, targets, own, weights)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        if torch.nn.utils.clip_grad_norm_(parameters, 5.0).isfinite():
            optimizer.step()
    return depth_scores(network.eval(), refine.eval() if share else None, test, hulls)


Inputs = tuple[Tensor, tuple[str, ...], Tensor]
Box = tuple[Tensor, Tensor, Camera]


def given(cases: Cases, noise: float, generator: torch.Generator, known: Tensor) -> tuple[Inputs, Box, DepthTargets]:
    """(the network's inputs, the box and camera, the targets), float32."""
    points, center, side = normalise_keypoints(cases.seen(noise, generator))
    camera = cases.camera
    view = view_of_box(center, side, camera)
    xy = pixels_to_crop(camera.project(cases.points), center, side)
    Z = cases.points[..., 2] / cases.unit[:, None]
    targets = DepthTargets(xy, Z - Z[:, :1], Z[:, 0], known).to(torch.float32)
    box = (center.float(), side.float(), camera.to(torch.float32))
    return (points.float(), HAND21, view.float()), box, targets


@torch.no_grad()
def depth_scores(
    network: DepthNetwork, refine: RootDepthRefinement | None, test: Cases, hulls: HandLimits
) -> dict[str, float]:
    """Errors in mm at the true length of BONE, as Spurr et al. score."""
    inputs, box, _ = given(test, NOISE, torch.Generator().manual_seed(8), torch.ones(len(test.points)).bool())
    points, _ = in_space(network(*inputs), *box, refine)
    P, truth = points.double() * test.unit[:, None, None], test.points
    about = (P - P[:, :1]) - (truth - truth[:, :1])
    outside = hulls.hulls.signed_distance(joint_angles(bones_of(points))).clamp_min(0)
    aligned = (similarity_align(P, truth) - truth).norm(dim=-1)
    return {
        "pa_mpjpe_mm": pa_mpjpe(P, truth).mean().item(),
        "wrist_relative_mm": 1e3 * about.norm(dim=-1).mean().item(),
        "z_part_mm": 1e3 * error_parts(P - P[:, :1] + truth[:, :1], truth)[1].mean().item(),
        "auc": auc(aligned.numpy()),
        "outside_degrees": torch.rad2deg(outside).mean().item(),
    }


# ---- the wrist's depth

Z_NOISE, XY_NOISE, ROOT_BATCH = 0.05, 0.01, 256


def roots(body: SmplBody, steps: int) -> dict[str, dict[str, float]]:
    """Method -> errors of the wrist's depth in mm."""
    poses = hand_poses(prior(), limits(), body, 22_000, seed=6)
    generator = torch.Generator().manual_seed(7)
    train, test = make_cases(body, poses[:20_000], generator), make_cases(body, poses[20_000:], generator)
    lengths = bones_of(train.points).norm(dim=-1).flatten(1)
    mu, sigma = lengths.mean(0), lengths.std(0)
    unit = float(train.unit.mean())

    def all_bones(xy: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return root_depth(xy, z, mu, sigma + 0.003, BONES, closed_form(xy, z))

    def all_bones_in_units(xy: Tensor, z: Tensor) -> Tensor:
        """Z of all bones, brought to the unit at the mean size, which is what the networks are trained to give."""
        Z, s = all_bones(xy.double(), z.double())
        return (Z * s / unit).float().clamp(0.5, 100)

    networks: dict[str, RootDepthRefinement] = {}
    for name in ("refined", "all bones, refined"):
        torch.manual_seed(0)
        networks[name] = train_root(train, unit, None if name == "refined" else all_bones_in_units, steps)
    xy, z = noisy_depths(test, torch.Generator().manual_seed(11))
    truth = test.points[:, 0, 2]
    x32, z32 = xy.float(), z.float()
    from_mean = lambda Z: Z.double() * unit  # noqa: E731
    Z, s = all_bones(xy, z)
    with torch.no_grad():
        found = {
            "one bone, index": from_mean(closed_form(xy, z)),
            "one bone, middle": from_mean(closed_form(xy, z, (0, 9))) * float(mu[8] / mu[4]),
            "one bone, refined": from_mean(networks["refined"](x32, z32, closed_form(x32, z32))),
            "all bones": Z * s,
            "all bones, refined": from_mean(networks["all bones, refined"](x32, z32, all_bones_in_units(xy, z))),
            "mean depth": truth.mean().expand(len(truth)),
        }
    table = {}
    print(f"\n{'depth of the wrist, mm':24s}{'mean':>8s}{'median':>8s}{'90 %':>8s}")
    for name, Zs in found.items():
        apart = 1e3 * (Zs - truth).abs()
        table[name] = {
            "mean_mm": apart.mean().item(),
            "median_mm": apart.median().item(),
            "p90_mm": apart.quantile(0.9).item(),
        }
        print(f"{name:24s}" + "".join(f"{v:8.1f}" for v in table[name].values()))
    size = sum(p.numel() for p in networks["refined"].parameters())
    print(f"the refinement has {size} numbers")
    return table


def noisy_depths(cases: Cases, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(normalised xy (B, 21, 2), z (B, 21) in units of BONE) with noise."""
    xy = normalised(cases.seen(XY_NOISE, generator).xy, cases.camera.focal, cases.camera.center)
    z = (cases.points[..., 2] - cases.points[:, :1, 2]) / cases.unit[:, None]
    noise = Z_NOISE * torch.randn(z.shape, generator=generator, dtype=z.dtype)
    return xy, z + noise - noise[:, :1]


Start = Callable[[Tensor, Tensor], Tensor]


def train_root(cases: Cases, unit: float, start: Start | None, steps: int) -> RootDepthRefinement:
    """A refinement after the closed form, or after `start`. Its target is the depth in metres over the mean unit."""
    refine, generator = RootDepthRefinement(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(refine.parameters(), 2e-3, weight_decay=0.01)
    for step in range(steps):
        set_rate(optimizer, 2e-3 * rate_factor(step, steps // 20, step / steps))
        rows = torch.randint(len(cases.points), (ROOT_BATCH,), generator=generator)
        some = Cases(cases.points[rows], cases.camera[rows], cases.unit[rows])
        xy, z = (v.float() for v in noisy_depths(some, generator))
        truth = (some.points[:, 0, 2] / unit).float()
        loss = refinement_loss(refine, xy, z, truth, None if start is None else start(xy, z))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return refine.eval()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=Path, help="npz with xyz (N, 21, 3), side, source; see priors/free_hand.md")
    parser.add_argument(
        "--only", nargs="+", choices=("images", "depths", "roots"), default=("images", "depths", "roots")
    )
    parser.add_argument("--images", type=int, default=6000, help="that are trained on")
    parser.add_argument("--steps", type=int, default=400, help="of a run on images")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=tuple(RUNS), help="on images; each is alike alone")
    parser.add_argument("--depth-steps", type=int, default=1500)
    parser.add_argument("--labels", nargs="+", type=float, default=LABELS, help="shares of the 3D in 2.5D training")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES, help="of 2.5D training")
    parser.add_argument("--bmc", type=float, default=1.0, help="times the weights of L_BMC")
    parser.add_argument("--angles", type=float, default=1.0, help="times the weight of L_BMC's angles, once more")
    parser.add_argument("--root-steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each kind of 2.5D training")
    parser.add_argument("--first-seed", type=int, default=0, help="of them")
    parser.add_argument("--out", type=Path, help="folder for contact sheets")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    threads(options.threads)
    body, figures = SmplBody.from_file(locate("free_hand")), {}
    if "images" in options.only:
        figures["images"] = images(body, options.images, options.steps, options.out, options.runs)
    if "depths" in options.only:
        figures["depths"] = depths(
            body,
            options.poses,
            options.depth_steps,
            options.seeds,
            options.labels,
            options.losses,
            scaled(DepthLossWeights(), options.bmc, options.angles),
            options.first_seed,
        )
    if "roots" in options.only:
        figures["roots"] = roots(body, options.root_steps)
    print()
    finish(benchmark="hand_networks", **figures)


if __name__ == "__main__":
    main()

"""hmrfit train --config train_hand_image: Boukhayma's network of hands, on synthetic hands and on data sets."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from hmrfit.assets import locate
from hmrfit.body.mirrored import side_of
from hmrfit.body.smpl import SmplBody
from hmrfit.build import device_of, load_body
from hmrfit.config import CfgNode, ConfigError
from hmrfit.datasets import read_hands
from hmrfit.network.checkpoints import load_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import HeatmapEncoder, ImageEncoder
from hmrfit.network.hand_regressor import HandRegressor
from hmrfit.network.hmr import HMR
from hmrfit.network.resnet import channels_last
from hmrfit.ops.check import did_you_mean
from hmrfit.priors.biomechanics import HandLimits
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.hand_scenes import HandSample, HandScenes, hand_poses
from hmrfit.train import distributed
from hmrfit.train.augmentation import Augmentation
from hmrfit.train.hand_images import MASKS, HandImages, SceneHands
from hmrfit.train.hand_losses import HandLosses, HandLossWeights
from hmrfit.train.hand_objective import HandImageObjective
from hmrfit.train.hand_picture_files import hand_files
from hmrfit.train.hand_validation import hand_score, hand_sheet, held_out
from hmrfit.train.images import Mixed, SampleSource
from hmrfit.train.trainer import Draw, Score, Trainer, TrainingSchedule

SEED_STEP = 1000
"""Between the hands of one process and the next."""

HELD_OUT_SEED = 7
"""Added to the seed: of the hands for scores and contact sheets."""

WARM_UP = 300
"""Steps; a tenth of shorter runs."""

POSES = 20_000
"""Drawn from the prior once; hands are in one of them."""

ENTRY = ("NAME", "ROOT", "SPLIT", "SHARE", "MASKS")


def build_hand_run(settings: CfgNode) -> tuple[Trainer[HandSample], Score, Draw | None]:
    """The trainer, and the functions that score and draw its network on synthetic hands that it is not trained on."""
    how = settings.TRAIN
    trainer, body = build_hand_trainer(settings), _right_hand(settings).to(dtype=torch.float32)
    own = settings.clone()
    own.defrost()
    own.SEED = settings.SEED + HELD_OUT_SEED
    scenes = SceneHands(_scenes(own, how.SCORED + how.DRAWN))
    hands = held_out(scenes, how.SCORED + how.DRAWN)
    draw = hand_sheet(body, hands[slice(how.SCORED, None)]) if how.DRAWN else None
    return trainer, hand_score(body, hands[slice(0, how.SCORED)]), draw


def build_hand_trainer(settings: CfgNode) -> Trainer[HandSample]:
    """The network, its data sets and its scenes, as the settings want them; the seed decides all random numbers."""
    how, hand = settings.TRAIN, settings.TRAIN.HAND
    torch.manual_seed(settings.SEED)
    body, hmr = _right_hand(settings), _network(settings)
    channels_last(hmr.encoder)
    weights = HandLossWeights(
        keypoints_2d=hand.KEYPOINTS_2D,
        points_3d=hand.POINTS_3D if how.PAIRED else 0.0,
        mask=hand.MASK,
        pose=hand.POSE,
        betas=hand.BETAS,
        parameters=hand.PARAMETERS if how.PAIRED else 0.0,
        mask_kind=hand.MASK_KIND,
    )
    losses = HandLosses(body.to(dtype=torch.float32), weights)
    heatmaps = isinstance(hmr.encoder, HeatmapEncoder)
    objective = HandImageObjective(_hands(settings), losses, _regressor(hmr).layout, heatmaps)
    warm_up = min(WARM_UP, max(1, how.STEPS // 10)) if how.STEPS else WARM_UP
    schedule = TrainingSchedule(how.BATCH, how.STEPS, how.MINUTES, how.RATE, warm_up, half=how.HALF)
    none = FactorizedDiscriminator(joints=16, betas=10, width=1, hidden=1)  # of which nothing is asked
    return Trainer(hmr, none, objective, schedule, _device(settings))


def _device(settings: CfgNode) -> torch.device:
    device = device_of(settings.TRAIN.DEVICE, "TRAIN.DEVICE")
    return torch.device(device, distributed.local_rank()) if device == "cuda" else torch.device(device)


def _right_hand(settings: CfgNode) -> SmplBody:
    """The settings' body.

    Raises:
        ConfigError: it is no right hand.
    """
    body = load_body(settings.BODY.PATH)
    if side_of(body.skeleton) != "right":
        raise ConfigError(
            f"BODY.PATH, '{settings.BODY.PATH}', is no right hand. Take free_hand or MANO_RIGHT.pkl: left hands are "
            "trained as their mirror images."
        )
    return body


def _network(settings: CfgNode) -> HMR:
    """Random weights, or those to begin with: another run's, or an image encoder's alone."""
    hand = settings.TRAIN.HAND
    begun = load_network(locate("weights to begin with", hand.BEGIN)) if hand.BEGIN else None
    if isinstance(begun, HMR):
        _regressor(begun)
        return begun.train().requires_grad_(True)
    kind = HeatmapEncoder if hand.HEATMAPS else ImageEncoder
    encoder = kind(hand.VARIANT, hand.RESOLUTION)
    if begun is not None:
        if not isinstance(begun, ImageEncoder) or begun.variant != hand.VARIANT or hand.HEATMAPS:
            raise ConfigError(
                f"TRAIN.HAND.BEGIN, '{hand.BEGIN}', holds no network of hands and no image encoder {hand.VARIANT} "
                "without heat maps. Leave it out to begin anew."
            )
        encoder.load_state_dict(begun.state_dict())
    body = _right_hand(settings)
    if "right" not in body.hands:
        raise ConfigError(f"BODY.PATH, '{settings.BODY.PATH}', has no hands_mean and hands_components to pose it by.")
    poses = body.hands["right"]
    return HMR(encoder, HandRegressor(encoder.features, poses, hand.COMPONENTS, body.shape_count, hand.RESOLUTION))


def _regressor(hmr: HMR) -> HandRegressor:
    if not isinstance(hmr.regressor, HandRegressor):
        raise ConfigError("TRAIN.HAND.BEGIN holds a network of bodies, not one of hands. Leave it out to begin anew.")
    return hmr.regressor


def _scenes(settings: CfgNode, count: int) -> HandScenes:
    body, hand = _right_hand(settings), settings.TRAIN.HAND
    gmm = PoseGmm.from_file(locate(settings.PRIORS.GMM)).for_skeleton(body.skeleton)
    limits = HandLimits.from_file(locate(settings.PRIORS.HAND_LIMITS))
    poses = hand_poses(gmm, limits, body, min(POSES, count), settings.SEED)
    return HandScenes(body, poses, count, hand.RESOLUTION, seed=settings.SEED)


def _hands(settings: CfgNode) -> Mixed[HandSample]:
    """The data sets of the settings and the scenes, each with its share."""
    hand, names = settings.TRAIN.HAND, {f.name: f.name.upper() for f in fields(Augmentation)}
    how = Augmentation(**{name: hand[key] for name, key in names.items() if key in hand})
    sources: list[SampleSource[HandSample]] = []
    shares: list[float] = []
    for entry in hand.DATASETS:
        checked = _checked_entry(entry)
        files = hand_files(read_hands(checked["NAME"], checked["ROOT"], checked["SPLIT"]))
        masks = checked.get("MASKS", "files")
        sources.append(HandImages(files, how, hand.RESOLUTION, settings.SEED, masks))
        shares.append(float(checked.get("SHARE", 1.0)))
    if hand.SCENES > 0:
        sources.append(SceneHands(_scenes(settings, hand.SCENE_COUNT), how, hand.REMEMBER))
        shares.append(hand.SCENES)
    if not sources:
        raise ConfigError("There are no hands to train on: TRAIN.HAND.SCENES is 0 and TRAIN.HAND.DATASETS is empty.")
    return Mixed(sources, shares, settings.SEED + SEED_STEP * distributed.rank(), hand.WORKERS)


def _checked_entry(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry of TRAIN.HAND.DATASETS.

    Raises:
        ConfigError: it is written otherwise.
    """
    usual = "{NAME: freihand, ROOT: folder, SPLIT: training, SHARE: 1, MASKS: files}"
    if not isinstance(entry, Mapping) or not {"NAME", "ROOT", "SPLIT"} <= set(entry):
        raise ConfigError(f"TRAIN.HAND.DATASETS: each is {usual}, not {entry!r}.")
    for name in entry:
        if name not in ENTRY:
            raise ConfigError(f"TRAIN.HAND.DATASETS: there is no {name}.{did_you_mean(name, ENTRY)} Each is {usual}.")
    if entry.get("MASKS", "files") not in MASKS:
        raise ConfigError(f"TRAIN.HAND.DATASETS: MASKS is one of {', '.join(MASKS)}, not '{entry['MASKS']}'.")
    return entry

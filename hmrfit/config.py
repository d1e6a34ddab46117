"""Settings: the defaults below, then an overlay file, then overrides. A key that is not here is refused, not added.

    load_config("fit", ["SEED=3"])      configs/fit.yaml over the defaults, then one change
    load_config("mine.yaml")

Only this file, `hmrfit.build` and `hmrfit.cli` ever see a CfgNode; everything below them takes plain arguments.
"""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import yaml  # comes with yacs
from yacs.config import CfgNode

from hmrfit.assets import shipped
from hmrfit.io.bounded import check_regular, read_text
from hmrfit.io.budget import brief
from hmrfit.ops.check import did_you_mean
from hmrfit.render.rasteriser import RENDERERS

_C = CfgNode()

_C.BODY = CfgNode()
_C.BODY.PATH = "free_body"  # a name for hmrfit.assets.locate, or a file: SMPL's .npz or .pkl
_C.BODY.KIND = "smpl"  # "smpl": our own skinning; "smplx": the smplx package (non-commercial) behind the same protocol

_C.PRIORS = CfgNode()
_C.PRIORS.GMM = "pose_gmm"
_C.PRIORS.LIMITS = "joint_limits"
_C.PRIORS.HAND_LIMITS = ""  # what joints of fingers can do, of a body that is one hand; "": no term 'biomechanics'
_C.PRIORS.HANDS = "auto"  # pose prior of a whole body's fingers, fitted where its keypoints have points of hands;
#                           "": hands are left out (hmrfit.with_hands)
_C.PRIORS.ERROR_MODEL = "error_model"  # how wrong the initial estimate is; "": it is only one start of several
_C.PRIORS.MIXTURE = "mixture_hmr"  # other answers that the picture allows; "": there are only those that the fit kept
_C.PRIORS.LABELS = "label_model"  # which keypoints carry a wrong name; "": they are taken at their word
_C.PRIORS.DISCRIMINATORS = "discriminators"  # read when a weight or stage names that term; "": there is no such term
_C.PRIORS.INITIAL_ESTIMATE = "keypoint_hmr"  # the network that makes it of keypoints; "": starts of a library only
_C.PRIORS.IMAGE_ESTIMATE = ""  # an image HMR, by name or path, which makes it instead where there is a photograph

_C.PRIORS.KEYPOINT_OFFSETS = ""  # where a detector's keypoints lie on the body (`hmrfit adapt`); "": at its points

_C.FIT = CfgNode()
_C.FIT.HYPOTHESES = 0  # starts a person from a library; 0: as many as the schedule of hmrfit.fitting has
_C.FIT.SIGMA = 0.0  # robust scale of the term `reprojection`, a fraction of the box; 0: the term's own
_C.FIT.LIBRARY = 400  # poses to start from, drawn from the pose prior beside its means; their mirror images come too
_C.FIT.STAGES = []  # empty: the schedule of hmrfit.fitting; else a list of
#                     {weights: {reprojection: 24, gmm: 1}, free: [transl, global_orient], max_steps: 30, keep: 2};
#                     factors: {bending: 3} instead of weights: as least-squares codes write them, the weight's root
_C.FIT.DEVICE = "cpu"  # where the steps are taken: "cuda", or "auto", a GPU where there is one
_C.FIT.START = "auto"  # the initial estimate; with FIT.STAGES, or without a network, a library. Or one of them:
#                       initial_estimate, library, mean_pose; SPIN starts at the first, SMPLify at the last
_C.FIT.TERMS = []  # built-in terms in every stage beside the schedule's own, each with weight 1: [interpenetration]
_C.FIT.FOCAL = "assumed"  # where nothing says what it is; "free": the focal length that the people speak for
_C.FIT.ANSWER = "fit"  # "mean": the mean of the fit and of the other answers, fitted on; takes three times as long
_C.FIT.CALIBRATION = CfgNode()  # of the covariance of fits with FIT.STAGES, as measured
_C.FIT.CALIBRATION.NU = 0.0  # degrees of freedom of Student's t; 0: not calibrated, the covariance is the energy's own
_C.FIT.CALIBRATION.KEYPOINTS = [1.0, 0.0, 0.0]  # factor, hidden, noise (hmrfit.fitting.uncertainty.Weight) of its terms
_C.FIT.CALIBRATION.OTHERS = [1.0, 0.0, 0.0]  # of all other terms

_C.RENDER = CfgNode()
_C.RENDER.BACKEND = "builtin"  # what draws the masks that `hmrfit evaluate` scores: a name of RENDERERS

_C.TRAIN = CfgNode()
_C.TRAIN.ENCODER = "keypoints"  # the inputs of the network; "image": the settings of TRAIN.IMAGE are for it
_C.TRAIN.MOTION = ""  # a folder of motion files; `hmrfit train` needs one
_C.TRAIN.BEGIN = ""  # the keypoint HMR: weights to begin with, another run's hmr.npz; "": random
_C.TRAIN.WIDTH = 640  # features of the encoder
_C.TRAIN.BLOCKS = 3
_C.TRAIN.HIDDEN = 768  # of the regressor
_C.TRAIN.HARD = 0.0  # the fraction of people who are as hard as real ones (hmrfit.synthetic.hard_people)
_C.TRAIN.STEPS = 0  # 0: as many as the minutes allow; only a number of steps gives the same bits on every machine
_C.TRAIN.MINUTES = 20.0
_C.TRAIN.BATCH = 256
_C.TRAIN.RATE = 1e-3  # of Adam, at its height
_C.TRAIN.ADVERSARIAL = 0.01  # weight of the discriminators' loss; 0: train without them
_C.TRAIN.PAIRED = True  # False: no 3D truth at all, only keypoints and discriminators
_C.TRAIN.DEVICE = "auto"  # a GPU where there is one; "cpu", "cuda"
_C.TRAIN.HALF = False  # products in bfloat16: faster where the machine has it
_C.TRAIN.REPORT_EVERY = 100  # steps
_C.TRAIN.SAVE_EVERY = 1000  # steps
_C.TRAIN.BOARD = False  # also write for TensorBoard
_C.TRAIN.DRAWN = 12  # people on the contact sheet that is drawn whenever the run is saved; 0: none
_C.TRAIN.SCORED = 1000  # the averaged weights are measured with this many held-out people

_C.TRAIN.IMAGE = CfgNode()
_C.TRAIN.IMAGE.VARIANT = "resnet50"  # a name of hmrfit.network.encoders.RESNETS
_C.TRAIN.IMAGE.RESOLUTION = 224  # pixels of a crop
_C.TRAIN.IMAGE.BEGIN = ""  # weights to begin with: an HMR's, or an encoder's alone (torchvision's ResNet); "": random
_C.TRAIN.IMAGE.DATASETS = []  # {FILE: people in SPIN's npz format, ROOT: the folder of its images, SHARE: 0.5} each
_C.TRAIN.IMAGE.SCENES = 1.0  # weight of synthetic people beside each dataset's SHARE; 0: none
_C.TRAIN.IMAGE.SCENE_COUNT = 100_000  # how many different synthetic images there are
_C.TRAIN.IMAGE.REMEMBER = False  # keep them in memory and augment them anew each time: 3 RESOLUTION² bytes each
_C.TRAIN.IMAGE.OPENPOSE_WEIGHT = 0.0  # of detected keypoints in the reprojection loss
_C.TRAIN.IMAGE.GT_WEIGHT = 1.0  # of annotated ones
_C.TRAIN.IMAGE.REPROJECTION = 60.0  # weights of the losses, HMR's (hmrfit.train.losses)
_C.TRAIN.IMAGE.JOINTS_3D = 60.0
_C.TRAIN.IMAGE.SMPL = 60.0
_C.TRAIN.IMAGE.DROPOUT = 0.5
_C.TRAIN.IMAGE.WORKERS = 0  # processes that read and render, beside the one that trains
_C.TRAIN.IMAGE.SCALE = 0.25  # augmentation, see hmrfit.train.augmentation
_C.TRAIN.IMAGE.TRANSLATION = 0.09
_C.TRAIN.IMAGE.ROTATION = 30.0  # degrees
_C.TRAIN.IMAGE.ROTATED = 0.4  # fraction of people that are rotated
_C.TRAIN.IMAGE.FLIPPED = 0.5
_C.TRAIN.IMAGE.COLOUR = 0.4
_C.TRAIN.IMAGE.OCCLUDED = 0.2

_C.TRAIN.HAND = CfgNode()  # TRAIN.ENCODER "hand_image": Boukhayma's network of hands
_C.TRAIN.HAND.VARIANT = "resnet34"  # a name of hmrfit.network.encoders.RESNETS
_C.TRAIN.HAND.RESOLUTION = 256  # pixels of a crop
_C.TRAIN.HAND.HEATMAPS = False  # heat maps of 21 detected keypoints go in beside the image
_C.TRAIN.HAND.COMPONENTS = 6  # of the hand's pose space
_C.TRAIN.HAND.BEGIN = ""  # weights to begin with: another run's hmr.npz, or an image encoder's alone; "": random
_C.TRAIN.HAND.DATASETS = []  # {NAME: freihand, ROOT: folder, SPLIT: training, SHARE: 1, MASKS: files} each
_C.TRAIN.HAND.SCENES = 1.0  # weight of synthetic hands beside each dataset's SHARE; 0: none
_C.TRAIN.HAND.SCENE_COUNT = 100_000
_C.TRAIN.HAND.REMEMBER = False  # keep them in memory and augment them anew each time: 4 RESOLUTION² bytes each
_C.TRAIN.HAND.KEYPOINTS_2D = 5.0  # weights of the losses (hmrfit.train.hand_losses)
_C.TRAIN.HAND.POINTS_3D = 100.0
_C.TRAIN.HAND.MASK = 10.0
_C.TRAIN.HAND.MASK_KIND = "published"  # which has no gradient; "distance" has
_C.TRAIN.HAND.POSE = 0.1
_C.TRAIN.HAND.BETAS = 0.1
_C.TRAIN.HAND.PARAMETERS = 0.0  # of the pre-training on synthetic hands
_C.TRAIN.HAND.WORKERS = 0  # processes that read and draw, beside the one that trains
_C.TRAIN.HAND.SCALE = 0.15  # augmentation, see hmrfit.train.augmentation
_C.TRAIN.HAND.TRANSLATION = 0.05
_C.TRAIN.HAND.ROTATION = 45.0  # degrees
_C.TRAIN.HAND.ROTATED = 0.5  # fraction of hands that are rotated
_C.TRAIN.HAND.COLOUR = 0.3
_C.TRAIN.HAND.OCCLUDED = 0.1

_C.TRAIN.LOOP = CfgNode()  # fits of the training's own people that supervise it (hmrfit.train.fit_loop)
_C.TRAIN.LOOP.KIND = ""  # "fits": this library's loop; "spin": SPIN's rules and losses; "": none
_C.TRAIN.LOOP.BEGIN = ""  # a store of fits to begin with (hmrfit fits init); "": empty
_C.TRAIN.LOOP.EVERY = False  # fit a person at every visit; else at visits 1, 2, 4, 8, ...
_C.TRAIN.LOOP.MIRROR = True  # the about-face of the network's answer is a candidate too, at first
_C.TRAIN.LOOP.LIBRARY = 2  # so many poses drawn from the pose prior are, for people without a fit
_C.TRAIN.LOOP.WEIGHTED = True  # by the covariance of the fit; else every accepted fit counts the same
_C.TRAIN.LOOP.DATASETS = []  # the keypoint HMR's: {FILE: people in SPIN's npz format, ROOT: its images, SHARE: 1} each
_C.TRAIN.LOOP.PEOPLE = 20_000  # the keypoint HMR's synthetic people, posed by TRAIN.MOTION; 0: none
_C.TRAIN.LOOP.PEOPLE_SHARE = 1.0  # of the draws, beside each dataset's SHARE
_C.TRAIN.LOOP.KEYPOINT_SET = "coco17"  # that these are seen by; with DATASETS it is spin49

_C.SEED = 0
_C.THREADS = 0  # 0: as many as torch finds

CHOICES = {
    "FIT.DEVICE": ("cpu", "auto", "cuda"),
    "FIT.ANSWER": ("fit", "mean"),
    "FIT.FOCAL": ("assumed", "free"),
    "FIT.START": ("auto", "initial_estimate", "library", "mean_pose"),
    "BODY.KIND": ("smpl", "smplx"),
    "TRAIN.ENCODER": ("keypoints", "image", "hand_image"),
    "TRAIN.HAND.MASK_KIND": ("published", "distance"),
    "TRAIN.LOOP.KIND": ("", "fits", "spin"),
    "TRAIN.DEVICE": ("auto", "cpu", "cuda"),
}
"""The values of keys that take one of a few."""

MOST_BYTES, MOST_VALUES, MOST_BRACKETS = 1 << 16, 20_000, 2000
"""Of a settings file; with every key there is, it has 6 KiB."""


Config = CfgNode | str | PathLike[str] | Mapping[str, Any] | None
"""Settings as users have them: from `load_config`, a YAML file, the name of a shipped one, or a mapping."""


FORMER = {
    "PRIORS.FIRST_GUESS": "it is PRIORS.INITIAL_ESTIMATE now",
    "PRIORS.IMAGE_GUESS": "it is PRIORS.IMAGE_ESTIMATE now",
    "FIT.SILHOUETTE": "it is a measurement now, measurements=[Silhouette(mask, weight=...)]",
}
"""Settings of files that were written for hmrfit before its fit was one route (0.1, November 2026)."""

FORMER_STARTS = {"hypotheses": "auto", "first_guess": "initial_estimate"}


class ConfigError(ValueError):
    """A setting that does not exist, has the wrong type, or cannot be read."""


def load_config(
    path: str | PathLike[str] | Mapping[str, Any] | None = None, overrides: Sequence[str] = (), base: str | None = None
) -> CfgNode:
    """The settings, frozen.

    Args:
        path: a YAML file, or the name of one in configs/ ("fit"); or a mapping as such a file holds it,
            {"FIT": {"SIGMA": 0.05}}, or with dotted keys, {"FIT.SIGMA": 0.05}.
        overrides: "KEY=value" each, with the whole key: "BODY.PATH=smpl_neutral". The last one wins.
        base: a shipped overlay by name, over which `path` comes.
    Raises:
        ConfigError: an unknown key (with the nearest known one), a value of another type, or no YAML.
        FileNotFoundError: no such file.
    """
    config = _C.clone()
    if base is not None:
        file = _find(base)
        _merge(config, dict(_leaves(_read(file), config)), str(file))
    if isinstance(path, Mapping):
        _merge(config, dict(_leaves(path, config)), "config")
    elif path is not None:
        file = _find(Path(path))
        _merge(config, _beside(file, dict(_leaves(_read(file), config))), str(file))
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"An override is written KEY=value, not '{brief(override)}'.")
        _merge(config, {key.strip(): value.strip()}, f"'{brief(override)}'")
    for key, allowed in {**CHOICES, "RENDER.BACKEND": RENDERERS.names()}.items():
        if (value := _at(config, key)) not in allowed:
            if key == "FIT.START" and value in FORMER_STARTS:
                now = FORMER_STARTS[value]
                raise ConfigError(f"FIT.START: '{value}' was written for an earlier hmrfit; it is {now} now.")
            raise ConfigError(
                f"{key} is one of {', '.join(allowed)}, not '{value}'.{did_you_mean(str(value), allowed)}"
            )
    if not 0 <= config.SEED < 1 << 63:
        raise ConfigError(f"SEED should be a whole number from 0 to 2^63 - 1, but is {brief(repr(config.SEED))}.")
    config.freeze()
    return config


def default_of(key: str) -> Any:
    """The default of a dotted key."""
    return _at(_C, key)


def known_keys() -> list[str]:
    """Every key, dotted."""
    return [key for key, _ in _leaves(_C, _C)]


def _find(path: str | Path) -> Path:
    """A file as given, or a shipped overlay by name. Only YAML: a Python file would be run."""
    path = Path(path).expanduser()
    named = shipped("configs") / f"{path}.yaml"
    file = path if path.is_file() or not named.is_file() else named
    if not file.is_file():
        overlays = sorted(f.stem for f in shipped("configs").glob("*.yaml"))
        raise FileNotFoundError(
            f"There is no settings file '{path}'.{did_you_mean(str(path), overlays)} By name: {', '.join(overlays)}."
        )
    if file.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"Settings are written in YAML; '{file}' does not end in .yaml.")
    return file


def _read(file: Path) -> dict[str, Any]:
    if check_regular(file) > MOST_BYTES:
        raise ConfigError(f"'{file}' is larger than {MOST_BYTES >> 10} KiB; settings take a few. Is it another file?")
    try:
        text = read_text(file)
        if text.count("[") + text.count("{") > MOST_BRACKETS:  # PyYAML takes a square of them
            raise ConfigError(f"'{file}' has more than {MOST_BRACKETS} brackets; settings have a few.")
        _check_size(yaml.compose(text, Loader=yaml.SafeLoader), str(file))
        content = yaml.safe_load(text)
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"'{file}' is nested too deeply for settings.") from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ConfigError(f"'{file}' is no YAML: {brief(str(error), 300)}") from None  # its numbers and dates, too
    if not isinstance(content, dict | None):
        raise ConfigError(
            f"'{file}' should hold keys such as {known_keys()[0].replace('.', ': ')}, not {brief(repr(content), 40)}."
        )
    return content or {}


def _beside(file: Path, leaves: dict[str, Any]) -> dict[str, Any]:
    """The settings of a file, where "./NAME" is a file that lies beside it, wherever the program runs."""
    found = dict(leaves)
    for key, value in leaves.items():
        if isinstance(value, str) and value.startswith("./") and (file.parent / value).is_file():
            found[key] = str((file.parent / value).resolve())
    return found


def _check_size(node: yaml.Node | None, where: str) -> None:
    """That references to the same part (`*name`) do not multiply: nine lines can name a billion values.

    Raises:
        ConfigError: more than `MOST_VALUES`, or a part that holds itself.
    """

    def size(node: yaml.Node) -> int:
        if id(node) not in known:
            known[id(node)] = MOST_VALUES + 1  # while it is looked at: a part that holds itself has no end
            inside = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else ()
            parts = [part for pair in inside for part in (pair if isinstance(pair, tuple) else (pair,))]
            known[id(node)] = 1 + sum(map(size, parts))
        return known[id(node)]

    known: dict[int, int] = {}
    if node is not None and size(node) > MOST_VALUES:
        raise ConfigError(f"'{where}' holds more than {MOST_VALUES} values, those that it refers to counted each time.")


def _leaves(tree: Mapping[str, Any], defaults: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a nested dictionary, descending where the defaults do."""
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        inner = defaults.get(key) if isinstance(defaults, CfgNode) else None
        if isinstance(inner, CfgNode) and isinstance(value, Mapping):
            yield from _leaves(value, inner, f"{dotted}.")
        else:
            yield dotted, value


def _at(config: CfgNode, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def _merge(config: CfgNode, changes: dict[str, Any], where: str) -> None:
    """Writes the changes into `config`; `where` they were written is named in the errors."""
    for key, value in changes.items():
        if key in FORMER:
            raise ConfigError(f"{where}: {key} was written for an earlier hmrfit; {FORMER[key]}.")
        if key not in known_keys():
            raise ConfigError(f"{where}: there is no setting {brief(str(key))}.{did_you_mean(str(key), known_keys())}")
        default = _at(_C, key)
        if isinstance(default, str) and isinstance(value, str):
            value = repr(value)  # yacs evaluates strings as literals; a path named 007 is a path
        if isinstance(default, float) and not isinstance(value, bool):
            value = _number(value)
        try:
            config.merge_from_list([key, value])
        except (ValueError, AssertionError, TypeError, RecursionError, MemoryError, OverflowError, SyntaxError):
            kind = f"of type {type(default).__name__} (by default {default!r})"
            raise ConfigError(f"{where}: {key} should be {kind}, not {brief(repr(value))}.") from None


def _number(value: Any) -> Any:
    """A whole number, written as one or as text, as a float; anything else as it is."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return value

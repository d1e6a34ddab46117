"""`hmrfit fits`: a data set is fitted once, goes on where it stopped, and goes to SPIN's file and back."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.training import frames

from hmrfit import cli
from hmrfit.camera import PIXEL_CENTER
from hmrfit.cli import fits as command
from hmrfit.datasets.spin_npz import BOX_UNIT, SpinDataset, write_spin_npz
from hmrfit.io.image import write_image
from hmrfit.keypoints import resolve_set
from hmrfit.synthetic.people import make_people
from hmrfit.train.fit_store import FitStore

QUICK = ["--set", "FIT.LIBRARY=4", "PRIORS.MIXTURE="]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six people of OpenPose's points; of the last one three are seen."""
    folder = tmp_path_factory.mktemp("data")
    poses = torch.as_tensor(frames(6)["poses"])
    people = make_people(free_body(), poses, resolve_set("openpose25"), torch.Generator().manual_seed(0))
    points = torch.cat([people.keypoints.xy - PIXEL_CENTER, people.keypoints.confidence[..., None]], -1).numpy()
    points[5, 3:, 2] = 0
    low, high = people.keypoints.bounds()
    images = np.array([f"{i // 2}.png" for i in range(6)])
    for name in images:
        write_image(folder / name, np.zeros((768, 1024, 3), np.uint8))
    scale = 1.2 * (high - low).amax(1).numpy() / BOX_UNIT
    dataset = SpinDataset(images, ((low + high) / 2).numpy(), scale, openpose=points)
    write_spin_npz(folder / "made.npz", dataset)
    return folder


@pytest.fixture(scope="module")
def store(data):
    assert (
        cli.main(
            ["fits", "init", "--data", str(data / "made.npz"), "--root", str(data), "-o", f"{data}/a.sqlite", *QUICK]
        )
        == 0
    )
    return data / "a.sqlite"


def test_everybody_with_keypoints_enough_is_fitted_and_a_stopped_run_goes_on(store, data, monkeypatch, capsys):
    with FitStore(store) as fits:
        assert len(fits) == 5
        accepted = fits.counts()["accepted"]
        fits._file.execute("DELETE FROM fits WHERE image = '0.png'")
    assert accepted >= 4
    monkeypatch.setattr(command, "build_fitter", counted := Counted(command.build_fitter))
    again = ["fits", "init", "--data", str(data / "made.npz"), "--root", str(data), "-o", str(store), *QUICK]
    assert cli.main(again) == 0
    assert counted.people == 2
    assert "5 people, of 6 in the data set; 1 have too few keypoints" in capsys.readouterr().out


class Counted:
    """Counts who is fitted."""

    def __init__(self, build):
        self.build, self.people = build, 0

    def __call__(self, settings):
        fitter = self.build(settings)
        fit = fitter.fit

        def counting(keypoints, camera):
            self.people += len(keypoints)
            return fit(keypoints, camera)

        fitter.fit = counting
        return fitter


def test_what_a_store_holds_is_said(store, capsys):
    assert cli.main(["fits", "inspect", str(store)]) == 0
    said = capsys.readouterr().out
    assert "5 people" in said and "made" in said and "data energy" in said


def test_spins_file_and_back(store, data, tmp_path):
    about = ["--data", str(data / "made.npz"), "--root", str(data)]
    assert cli.main(["fits", "export", str(store), *about, "-o", str(tmp_path / "made_fits.npy")]) == 0
    rows = np.load(tmp_path / "made_fits.npy")
    assert rows.shape == (6, 82) and not rows[5].any() and rows[:5].any(1).all()
    assert (
        cli.main(["fits", "import", str(tmp_path / "made_fits.npy"), *about, "-o", str(tmp_path / "b.sqlite"), *QUICK])
        == 0
    )
    with FitStore(store) as one, FitStore(tmp_path / "b.sqlite") as other:
        keys = list(one.keys())
        assert keys == list(other.keys())
        a, b = one.get(keys)[0], other.get(keys)[0]
        assert torch.allclose(a.params.rotations, b.params.rotations, atol=1e-9)
        # where they stand is found again from the keypoints: the fit's own place is the robust one
        assert ((a.params.transl - b.params.transl).norm(dim=1) / a.params.transl[:, 2]).max() < 0.05
    assert cli.main(["fits", "export", str(store), *about, "-o", str(tmp_path / "made_fits.npy")]) == cli.USAGE


def test_what_is_missing_is_said(store, capsys):
    assert cli.main(["fits", "export", str(store)]) == cli.USAGE
    assert "--data FILE.npz" in capsys.readouterr().err
    assert cli.main(["fits", "inspect", "nowhere.sqlite"]) == cli.USAGE

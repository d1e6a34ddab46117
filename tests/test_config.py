"""Settings: defaults, overlay, overrides, in this order; what does not exist is answered, never added."""

from pathlib import Path

import pytest

from hmrfit.config import ConfigError, known_keys, load_config


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_the_defaults_stand_and_cannot_be_changed() -> None:
    config = load_config()
    assert config.BODY.PATH == "free_body" and config.SEED == 0
    with pytest.raises(AttributeError):
        config.SEED = 1
    assert load_config().SEED == 0


def test_overrides_win_over_the_overlay_and_the_overlay_over_the_defaults(tmp_path: Path) -> None:
    overlay = write(tmp_path, "SEED: 3\nTHREADS: 2\nBODY:\n  PATH: smpl_male\n")
    config = load_config(overlay, ["THREADS=1", "THREADS = 4", "BODY.KIND=smplx"])
    assert (config.SEED, config.THREADS, config.BODY.PATH, config.BODY.KIND) == (3, 4, "smpl_male", "smplx")
    assert config.PRIORS.GMM == load_config().PRIORS.GMM


def test_text_stays_text(tmp_path: Path) -> None:
    assert load_config(None, ["BODY.PATH=007"]).BODY.PATH == "007"
    assert load_config(write(tmp_path, "BODY: {PATH: 'None'}"), ["PRIORS.GMM='x'"]).BODY.PATH == "None"


def test_an_empty_overlay_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing\n")) == load_config()


@pytest.mark.parametrize(
    "overlay", sorted((Path(__file__).parents[1] / "configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_overlay_loads_by_name_and_by_path(overlay: Path) -> None:
    assert load_config(overlay.stem) == load_config(overlay)


def test_the_fit_overlay_shows_the_defaults() -> None:
    """It is the example people copy: it must not say another thing than the library does."""
    assert load_config("fit") == load_config()


@pytest.mark.parametrize(
    "text, message",
    [
        ("BODY:\n  PAHT: x\n", r"no setting BODY\.PAHT\. Did you mean 'BODY\.PATH'"),
        ("SEEDS: 1\n", "Did you mean 'SEED'"),
        ("SEED:\n  DEEPER: 1\n", "SEED should be of type int"),
        ("BODY: free_body\n", "no setting BODY"),
        ("SEED: seven\n", "SEED should be of type int .*not 'seven'"),
        ("BODY:\n  KIND: smp\n", "BODY.KIND is one of smpl, smplx.*Did you mean"),
        ("1: 2\n", "no setting 1"),
        ("- a\n- b\n", "should hold keys"),
        ("just words", "should hold keys"),
        ("a: [1,\n", "no YAML"),
        ("!!python/object/apply:os.system ['false']\n", "no YAML"),
    ],
)
def test_a_wrong_overlay_is_an_error_that_names_what_is_right(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    "override, message",
    [("SEED", "KEY=value"), ("BODY.PTH=x", r"BODY\.PATH"), ("SEED=x", "of type int"), ("THREADS=0.5", "of type int")],
)
def test_a_wrong_override_is_an_error_too(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_files_that_are_missing_or_would_be_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Did you mean 'fit'"):
        load_config("fitt")
    with pytest.raises(ConfigError, match="YAML"):
        load_config(write(tmp_path, "raise SystemExit('it ran')\n", "mine.py"))


def test_known_keys_are_the_leaves() -> None:
    assert {"BODY.PATH", "FIT.STAGES", "SEED"} <= set(known_keys()) and "BODY" not in known_keys()


@pytest.mark.parametrize("written", ["25", "25.0", "2.5e1"])
def test_a_whole_number_may_be_written_for_a_float(written):
    value = load_config(None, [f"TRAIN.MINUTES={written}"]).TRAIN.MINUTES
    assert isinstance(value, float) and value == 25


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ({"PRIORS.FIRST_GUESS": ""}, "PRIORS.INITIAL_ESTIMATE"),
        ({"PRIORS.IMAGE_GUESS": "a.npz"}, "PRIORS.IMAGE_ESTIMATE"),
        ({"FIT.SILHOUETTE": 30.0}, "Silhouette"),
        ({"FIT.START": "first_guess"}, "initial_estimate"),
        ({"FIT.START": "hypotheses"}, "auto"),
    ],
)
def test_settings_of_an_earlier_version_are_named(former, now):
    with pytest.raises(ConfigError, match=f"earlier hmrfit; it is .*{now}"):
        load_config(former)

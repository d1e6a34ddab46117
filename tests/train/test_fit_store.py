"""The fit store: what is put comes back, the energy never rises, and a kill at any moment loses an interval at most."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.stored_fits import fits_of, keys_of
from torch.testing import assert_close

from hmrfit.train.fit_store import FitKey, FitStore, StoredFits, as_spin, check_store, keys_of_boxes


def assert_same(found: StoredFits, expected: StoredFits) -> None:
    assert_close(found.params.rotations, expected.params.rotations, rtol=0, atol=1e-12)
    assert_close(found.covariance, expected.covariance, rtol=1e-6, atol=0)  # kept as float32
    for name in ("data_energy", "prior_energy", "source", "visits", "accepted", "shape_variance", "joint_variance"):
        assert_close(getattr(found, name), getattr(expected, name), rtol=1e-6, atol=0)
    for name in ("focal", "center", "size", "focal_known"):
        assert torch.equal(getattr(found.camera, name), getattr(expected.camera, name))
    assert torch.equal(found.params.transl, expected.params.transl)


def test_what_is_put_comes_back_from_memory_from_the_disk_and_from_another_process_file(tmp_path):
    keys, fits = keys_of(3), fits_of(3)
    with FitStore(tmp_path / "fits.sqlite", "final") as store:
        store.put(keys, fits)
        assert_same(store.get(keys)[0], fits)
        store.commit(1)
        assert_same(store.get(keys)[0], fits)
    with FitStore(tmp_path / "fits.sqlite", "final", step=1) as again:
        found, there = again.get([keys[2], keys[0], ("other", "x", "0")])
        assert there.tolist() == [True, True, False]
        assert_same(found, fits[[2, 0]])


def test_the_energy_never_rises_and_of_duplicates_the_better_one_stays(tmp_path):
    keys, generator = keys_of(5), torch.Generator().manual_seed(0)
    with FitStore(tmp_path / "fits.sqlite") as store:
        before = torch.full((5,), torch.inf, dtype=torch.float64)
        for step in range(1, 30):
            rows = torch.randint(5, (4,), generator=generator)
            fits = fits_of(4, seed=step)
            lowest = before.scatter_reduce(0, rows, fits.energy, "amin")
            store.put([keys[i] for i in rows], fits)
            if step % 3 == 0:
                store.commit(step)
                store.confirm(step)
            found, there = store.get(keys)
            assert_close(found.energy, lowest[there], rtol=1e-12, atol=0)
            before = lowest


def test_spins_rule_may_replace_a_fit_by_one_of_higher_energy(tmp_path):
    fits = fits_of(1)
    with FitStore(tmp_path / "fits.sqlite") as store:
        store.put(keys_of(1), fits)
        worse = replace(fits, data_energy=fits.data_energy + 5, visits=fits.visits + 1)
        store.put(keys_of(1), worse)
        assert store.get(keys_of(1))[0].energy < worse.energy
        store.visit([*keys_of(1), FitKey("coco", "unknown", "0")])
        assert store.get(keys_of(1))[0].visits == worse.visits + 1
        store.put(keys_of(1), worse, replace=True)
        assert store.get(keys_of(1))[0].energy == worse.energy


def test_a_resumed_checkpoint_finds_the_fits_as_it_knew_them(tmp_path):
    keys, first, second = keys_of(2), fits_of(2, energy=10.0), fits_of(2, seed=1, energy=5.0)
    with FitStore(tmp_path / "fits.sqlite") as store:
        store.put(keys, first)
        store.commit(10)
        store.confirm(10)
        store.put(keys[:1], second[[0]])
        store.commit(20)  # and here the process is killed, before its checkpoint of step 20 is written
    with FitStore(tmp_path / "fits.sqlite") as again:
        again.rollback(10)
        assert_same(again.get(keys)[0], first)
        assert len(again) == 2
    with FitStore(tmp_path / "fits.sqlite", step=99) as again:
        assert_same(again.get(keys)[0], first)  # nothing later is in the file


def test_a_process_does_not_see_what_another_one_commits_until_it_commits_too(tmp_path):
    keys = keys_of(1)
    with FitStore(tmp_path / "fits.sqlite") as one, FitStore(tmp_path / "fits.sqlite") as other:
        one.put(keys, fits_of(1, energy=10.0))
        one.commit(1)
        assert not other.get(keys)[1].any()
        other.put(keys, fits_of(1, seed=1, energy=20.0))
        other.commit(1)
        assert other.get(keys)[0].energy == 10.0  # the better of the two
        assert len(other) == 1


WRITER = """
import sys, torch
sys.path.insert(0, {tests!r})
from helpers.stored_fits import fits_of, keys_of
from hmrfit.io.atomic import atomic_write
from hmrfit.train.fit_store import FitStore
store = FitStore({path!r})
for step in range(1, 10_000):
    store.put(keys_of(20), fits_of(20, energy=1e6 - step))
    store.commit(step)
    with atomic_write({checkpoint!r}) as file:
        file.write_text(str(step))
    store.confirm(step)
    print(step, flush=True)
"""


def test_a_real_process_killed_at_any_moment_leaves_store_and_checkpoint_of_one_step(tmp_path):
    path, checkpoint = tmp_path / "fits.sqlite", tmp_path / "last.txt"
    tests = str(Path(__file__).resolve().parents[1])
    code = WRITER.format(tests=tests, path=str(path), checkpoint=str(checkpoint))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(4)]
    os.kill(process.pid, signal.SIGKILL)
    said += [int(line) for line in process.stdout.read().split()]
    process.wait()
    step = int(checkpoint.read_text())
    assert step >= said[-1]  # at most the interval that was being written is lost
    with FitStore(path) as store:
        store.rollback(step)
        assert_close(store.get(keys_of(20))[0].energy, torch.full((20,), 1e6 - step).double(), rtol=0, atol=1e-6)


def test_a_copy_is_as_of_step_0_for_another_run(tmp_path):
    keys, fits = keys_of(2), fits_of(2)
    with FitStore(tmp_path / "a.sqlite", "final") as store:
        store.put(keys, replace(fits, data_energy=fits.data_energy + 1e5))
        store.commit(3)
        store.put(keys, fits)
        store.commit(7)
        store.copy_to(tmp_path / "b.sqlite")
    with FitStore(tmp_path / "b.sqlite", "final") as other:
        other.rollback(0)
        assert_same(other.get(keys)[0], fits)


def test_fits_of_another_energy_or_another_body_are_not_mixed(tmp_path):
    FitStore(tmp_path / "fits.sqlite", "final").close()
    with pytest.raises(ValueError, match="energy final, not spin"):
        FitStore(tmp_path / "fits.sqlite", "spin")
    with pytest.raises(ValueError, match="joints 24, not 16"):
        FitStore(tmp_path / "fits.sqlite", "final", joints=16)


def test_other_files_are_left_alone(tmp_path):
    text, other, trigger = (tmp_path / name for name in ("a.txt", "b.sqlite", "c.sqlite"))
    text.write_text("mine, and longer than a header")
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE mine (a)")
    FitStore(trigger).close()
    with sqlite3.connect(trigger) as file:
        file.execute("CREATE TRIGGER t AFTER INSERT ON fits BEGIN DELETE FROM about; END")
    for path, message in ((text, "no SQLite file"), (other, "no fit store"), (trigger, "other tables")):
        before = path.read_bytes()
        with pytest.raises(ValueError, match=message):
            FitStore(path)
        assert path.read_bytes() == before


def test_a_damaged_blob_is_named_and_a_huge_one_refused(tmp_path):
    path = tmp_path / "fits.sqlite"
    with FitStore(path) as store:
        store.put(keys_of(1), fits_of(1))
        store.commit(0)
    for blob, kind, message in (
        (b"1234", ValueError, "damaged"),
        (b"\xff" * 680, ValueError, "not finite"),
        (b"0" * (2 << 20), (ValueError, OSError), "big"),
    ):
        with sqlite3.connect(path) as file:
            file.execute("UPDATE fits SET body = ?", (blob,))
        file.close()
        with FitStore(path) as store, pytest.raises(kind, match=message):
            store.get(keys_of(1))
    check_store(path)


def test_spins_array_has_the_rows_of_its_data_set_and_zeros_for_others(tmp_path):
    keys, fits = keys_of(3), fits_of(3)
    with FitStore(tmp_path / "fits.sqlite") as store:
        store.put(keys[:2], fits[[0, 1]])
        store.commit(0)
        rows = as_spin(store, [keys[1], keys[2], keys[0]])
    assert rows.shape == (3, 82)
    assert not rows[1].any()
    orient, pose = fits.params.to_rotvecs()
    expected = torch.cat([orient, pose, fits.params.betas], 1).numpy()
    np.testing.assert_allclose(rows[[2, 0]], expected[:2], atol=1e-12)


def test_people_are_known_by_image_and_box_in_any_order():
    images, centers = ["a", "b", "a", "a"], np.array([[1.0, 2], [1, 2], [3, 4], [1, 2]])
    keys = keys_of_boxes("coco", images, centers)
    assert len(set(keys)) == 4
    assert keys_of_boxes("coco", images[:3][::-1], centers[:3][::-1]) == keys[:3][::-1]

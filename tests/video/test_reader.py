"""Videos written and read back, by PyAV's own reader too: frames, rate, size, rotation, damage."""

from pathlib import Path

import numpy as np
import pytest

import hmrfit
from hmrfit.io.own_files import is_own
from hmrfit.video.reader import is_video, open_video
from hmrfit.video.source import uneven
from hmrfit.video.writer import write_video

av = pytest.importorskip("av")

READERS = ("pyav", "opencv")


def grey(count: int = 24, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Frames whose brightness says their number."""
    return [np.full((size[1], size[0], 3), 8 * i, np.uint8) for i in range(count)]


@pytest.mark.parametrize("by", READERS)
def test_what_was_written_is_read(tmp_path: Path, by: str) -> None:
    path = tmp_path / "a.mp4"
    remark = write_video(path, iter(grey(size=(63, 47))), 29.97, by=by)
    assert ("browsers" in remark) == (by == "opencv") and is_own(path)
    for reader in READERS:
        video = open_video(path, reader=reader)
        frames = list(video.frames())
        assert video.size == (64, 48) and video.fps == pytest.approx(29.97, abs=0.01) and not video.problem
        assert [f.number for f in frames] == list(range(24))
        np.testing.assert_allclose([f.image.mean() for f in frames], 8 * np.arange(24), atol=4)
        np.testing.assert_allclose([f.time for f in frames], np.arange(24) / 29.97, atol=1e-3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.width, stream.height) == (24, 64, 48)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.name == ("h264" if by == "pyav" else "mpeg4")


def test_the_index_is_in_front_so_that_browsers_begin_at_once(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", grey(), 30)
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_a_part_of_it(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", grey(), 10)
    for reader in READERS:
        video = open_video(tmp_path / "a.mp4", reader=reader)
        assert [f.number for f in video.frames(start=0.5, end=1.5, every=2)] == [6, 8, 10, 12, 14]
        bare = list(video.frames(pixels=False))
        assert len(bare) == 24 and bare[0].image.size == 0


def test_both_readers_turn_frames_upright(tmp_path: Path) -> None:
    """The file stores a picture that lies on its side, and a matrix that says so."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24] = 200  # the stored top
    write_video(tmp_path / "a.mp4", [image] * 6, 30)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.find(b"tkhd") + 4 + 40
    quarter = np.array([0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000], ">i4").tobytes()  # 90 degrees clockwise
    data[at : at + 36] = quarter
    (tmp_path / "turned.mp4").write_bytes(data)
    pictures = []
    for reader in READERS:
        video = open_video(tmp_path / "turned.mp4", reader=reader)
        assert video.size == (48, 64) and video.rotation == 90
        pictures.append(next(iter(video.frames())).image)
        assert pictures[-1].shape == (64, 48, 3)
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() < 8
    assert pictures[0][:, 36:].mean() > 150 > 50 > pictures[0][:, :12].mean()  # the stored top is on the right


@pytest.mark.parametrize("reader", READERS)
def test_a_video_that_breaks_off_gives_what_came_before(tmp_path: Path, reader: str) -> None:
    rng = np.random.default_rng(0)
    write_video(tmp_path / "a.mp4", [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(40)], 30)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    video = open_video(tmp_path / "half.mp4", reader=reader)
    count = len(list(video.frames()))
    assert 5 < count < 40 and "breaks off after" in video.problem and "of 40 frames" in video.problem


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_video_is_refused(tmp_path: Path, reader: str) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(ValueError, match="cannot be read as a video"):
        open_video(tmp_path / "a.mp4", reader=reader)
    (tmp_path / "b.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        open_video(tmp_path / "b.mp4", reader=reader)
    write_video(tmp_path / "c.mp4", grey(), 30)
    with hmrfit.file_limits(megapixels=0.001), pytest.raises(ValueError, match="megapixels"):
        open_video(tmp_path / "c.mp4", reader=reader)


def test_nothing_of_the_users_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_video(tmp_path / "a.mp4", grey(), 30)
    assert (tmp_path / "a.mp4").read_bytes() == b"mine"


def test_a_folder_of_frames_stands_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11):
        hmrfit.write_image(tmp_path / f"{number}.png", np.full((8, 8, 3), number, np.uint8))
    with pytest.raises(ValueError, match="--fps"):
        open_video(tmp_path)
    frames = list(open_video(tmp_path, fps=10).frames())
    assert [(f.number, int(f.image.max())) for f in frames] == [(n, n) for n in (1, 2, 10, 11)]
    assert [f.time for f in frames] == pytest.approx([0, 0.1, 0.9, 1.0])
    (tmp_path / "2.png").write_bytes(b"broken")
    video = open_video(tmp_path, fps=10)
    assert len(list(video.frames())) == 3 and "'2.png'" in video.problem


def test_variable_rates_are_noticed() -> None:
    assert uneven(np.cumsum([0.033, 0.066, 0.033, 0.1, 0.033, 0.033])) and not uneven(np.arange(20) / 30)
    assert is_video("A.MOV") and not is_video("a.jpg")

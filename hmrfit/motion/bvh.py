"""BVH text: a tree of joints with offsets, then rows of channel values.

For joint j with channels c1 c2 c3 (in the order of the file) the local rotation is R_c1 R_c2 R_c3, degrees,
intrinsic, and G_j = G_parent R_j. Which SMPL joint a bone is, and how its rest differs from the ideal T-pose, is a
matter of the dialect: see `bvh_dialects`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hmrfit.io.bounded import words
from hmrfit.io.budget import check_bytes

_ROTATIONS = {"xrotation": "X", "yrotation": "Y", "zrotation": "Z"}
_POSITIONS = {"xposition": 0, "yposition": 1, "zposition": 2}
_MAX_JOINTS = 1000
MATRIX = 72
"""Bytes of a rotation matrix."""


@dataclass(frozen=True)
class Bvh:
    """A parsed file. J joints without the end sites, T frames."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of each joint's parent, -1 at the root."""
    offsets: np.ndarray
    """(J, 3) in the unit of the file."""
    channels: tuple[tuple[str, ...], ...]
    """Lower-case channel names of each joint."""
    values: np.ndarray
    """(T, C) all channels, joints in order."""
    frame_time: float

    def columns(self, joint: int) -> slice:
        start = sum(len(c) for c in self.channels[:joint])
        return slice(start, start + len(self.channels[joint]))

    def local_rotation(self, joint: int) -> np.ndarray:
        """(T, 3, 3)."""
        block = self.values[:, self.columns(joint)]
        turns = [i for i, c in enumerate(self.channels[joint]) if c in _ROTATIONS]
        if not turns:
            return np.broadcast_to(np.eye(3), (len(block), 3, 3))
        order = "".join(_ROTATIONS[self.channels[joint][i]] for i in turns)
        return Rotation.from_euler(order, block[:, turns], degrees=True).as_matrix()

    def global_rotations(self, wanted: set[str] | None = None) -> dict[str, np.ndarray]:
        """name -> (T, 3, 3), for the wanted joints (all without `wanted`) and those above them."""
        glob: dict[str, np.ndarray] = {}
        needed = self._with_ancestors(set(self.names) if wanted is None else wanted)
        check_bytes(3 * MATRIX * len(self.values) * len(needed), "BVH: its skeleton")
        for j, (name, parent) in enumerate(zip(self.names, self.parents, strict=True)):
            if name in needed:
                local = self.local_rotation(j)
                glob[name] = local if parent < 0 else glob[self.names[parent]] @ local
        return glob

    def _with_ancestors(self, wanted: set[str]) -> set[str]:
        needed = set()
        for name in wanted:
            j = self.names.index(name)
            while j >= 0:
                needed.add(self.names[j])
                j = self.parents[j]
        return needed

    def root_position(self) -> np.ndarray:
        """(T, 3) in the unit of the file: the offset of the root plus its position channels."""
        position = np.tile(self.offsets[0], (len(self.values), 1))
        block = self.values[:, self.columns(0)]
        for i, channel in enumerate(self.channels[0]):
            if channel in _POSITIONS:
                position[:, _POSITIONS[channel]] += block[:, i]
        return position

    def joint_positions(self) -> np.ndarray:
        """(T, J, 3) by the file's own forward kinematics, in its unit."""
        glob = self.global_rotations()
        positions = np.empty((len(self.values), len(self.names), 3))
        for j, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, j] = self.root_position()
            else:
                positions[:, j] = positions[:, parent] + glob[self.names[parent]] @ self.offsets[j]
        return positions


class _Tokens:
    """The words of the hierarchy, handed out one by one; the end of the text is a letter, not an IndexError."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.at = words, 0

    def next(self) -> str:
        if self.at >= len(self.words):
            raise ValueError("BVH: the hierarchy ends in the middle. The file is truncated; copy it again.")
        self.at += 1
        return self.words[self.at - 1]

    def expect(self, word: str) -> None:
        got = self.next()
        if got.lower() != word.lower():
            raise ValueError(f"BVH: expected '{word}', found '{got[:40]}' (word {self.at} of the file).")

    def number(self) -> float:
        word = self.next()
        try:
            return float(word)
        except ValueError:
            raise ValueError(f"BVH: expected a number, found '{word[:40]}' (word {self.at} of the file).") from None


def parse_bvh(text: str) -> Bvh:
    """Parse a BVH file's text.

    Raises:
        ValueError: the text is no BVH, is truncated, or its motion does not have the frames and channels it announces.
    """
    if "HIERARCHY" not in text[:1000].upper():
        raise ValueError("This is no BVH: it does not open with HIERARCHY.")
    head, found, tail = text.partition("MOTION")
    if not found:
        raise ValueError("BVH: there is no MOTION section. The file is truncated; copy it again.")
    names, parents, offsets, channels = _parse_hierarchy(_Tokens(words(head, "BVH: its hierarchy")))
    values, frame_time = _parse_motion(tail, sum(len(c) for c in channels))
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(channels), values, frame_time)


def _parse_hierarchy(tokens: _Tokens) -> tuple[list[str], list[int], list[list[float]], list[tuple[str, ...]]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    stack: list[int] = []  # joints that are open; -1 stands for an end site
    tokens.expect("HIERARCHY")
    while tokens.at < len(tokens.words):
        word = tokens.next().upper()
        if word in ("ROOT", "JOINT"):
            if (word == "ROOT") != (not names):
                raise ValueError("BVH: expected exactly one ROOT, before every JOINT (one person a file).")
            parents.append(stack[-1] if stack else -1)
            names.append(tokens.next())
            offsets.append([0.0, 0.0, 0.0])
            channels.append(())
            tokens.expect("{")
            stack.append(len(names) - 1)
        elif word == "END":
            tokens.expect("Site")
            tokens.expect("{")
            stack.append(-1)
        elif word == "OFFSET":
            offset = [tokens.number() for _ in range(3)]
            if stack and stack[-1] >= 0:
                offsets[stack[-1]] = offset
        elif word == "CHANNELS":
            channels[_open_joint(stack)] = _parse_channels(tokens)
        elif word == "}" and stack:
            stack.pop()
        else:
            raise ValueError(f"BVH: unexpected word '{word[:40]}' in the hierarchy (word {tokens.at}).")
        if len(names) > _MAX_JOINTS:
            raise ValueError(f"BVH: more than {_MAX_JOINTS} joints; that is no human skeleton.")
    _check_tree(names, stack)
    return names, parents, offsets, channels


def _open_joint(stack: list[int]) -> int:
    if not stack or stack[-1] < 0:
        raise ValueError("BVH: CHANNELS outside a joint.")
    return stack[-1]


def _parse_channels(tokens: _Tokens) -> tuple[str, ...]:
    count = tokens.number()
    if count not in range(13):
        raise ValueError(f"BVH: a joint has {count:g} channels; expected 0 to 12.")
    channels = tuple(tokens.next().lower() for _ in range(int(count)))
    unknown = [c for c in channels if c not in _ROTATIONS and c not in _POSITIONS]
    if unknown:
        raise ValueError(f"BVH: unknown channel '{unknown[0][:40]}'. Known: X, Y, Z position and rotation.")
    return channels


def _check_tree(names: list[str], stack: list[int]) -> None:
    if not names:
        raise ValueError("BVH: there is no ROOT in the hierarchy.")
    if stack:
        raise ValueError("BVH: the hierarchy has unclosed braces. The file is truncated; copy it again.")
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise ValueError(f"BVH: the joint name '{min(twice)}' stands twice in the hierarchy.")


def _parse_motion(text: str, n_channels: int) -> tuple[np.ndarray, float]:
    found = words(text, "BVH: its motion")
    try:
        start = found.index("Time:")
        n_frames, frame_time = int(found[found.index("Frames:") + 1]), float(found[start + 1])
        values = np.array(found[start + 2 :], dtype=float)
    except (ValueError, IndexError) as error:
        raise ValueError(f"BVH: the MOTION section cannot be read ({str(error)[:80]}).") from None
    if n_frames < 1 or not frame_time > 0:
        raise ValueError(f"BVH: {n_frames} frames of {frame_time} s announced; expected at least one, of a time > 0.")
    if not n_channels:
        raise ValueError("BVH: no joint has a channel, so nothing moves.")
    if len(values) != n_frames * n_channels:
        raise ValueError(
            f"BVH: {n_frames} frames of {n_channels} channels announced, that is {n_frames * n_channels} numbers; "
            f"{len(values)} found. The file is truncated or damaged; copy it again."
        )
    if not np.isfinite(values).all():
        raise ValueError("BVH: the motion holds NaN or infinite numbers.")
    return values.reshape(n_frames, n_channels), frame_time

"""A picture in square tiles, for rasterisers that hold every face against every pixel.

    pixels × faces        of the whole picture,        Σ_tiles (pixels of a tile × faces that meet it)        in tiles

A body of 14,000 faces in a picture of 224² pixels: 7e8 pairs, and 1e6 in tiles of 8² pixels. A pixel keeps its centre,
and a tile the order of its faces. Shapes: B pictures, F faces, N tiles that a face meets, P pairs (tile, face).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.ops.ragged import flat_steps

TILE = 8
"""Pixels across. 16 take as long, 32 half as much again."""


@dataclass(frozen=True)
class Tiles:
    """The tiles of B pictures that a face meets, and the faces of each."""

    size: tuple[int, int]  # width and height of a picture, pixels
    pictures: int
    tile: Tensor  # (N,) picture * tiles of a picture + row * columns + column
    counts: Tensor  # (N,) faces of each
    picture: Tensor  # (P,) of each pair, those of one tile in succession
    face: Tensor  # (P,) rows of `faces`, ascending within a tile

    @classmethod
    def of(cls, screen: Tensor, faces: Tensor, drawn: Tensor, size: tuple[int, int], reach: float) -> "Tiles":
        """The tiles that faces meet.

        Args:
            screen: (B, V, 2) pixels. faces: (F, 3) rows of the vertices. drawn: (B, F) whether a face is drawn.
            size: (width, height) in pixels. reach: pixels, how far outside of itself a face counts.
        """
        picture, face = drawn.nonzero().unbind(1)
        corners = screen.detach()[picture[:, None], faces[face]]
        columns, rows = _across(size)
        most = torch.tensor([columns, rows], device=screen.device)
        first = ((corners.amin(1) - reach) / TILE).floor().clamp_min(0).minimum(most).long()
        last = ((corners.amax(1) + reach) / TILE).floor().clamp_min(-1).minimum(most - 1).long()
        wide, high = (last - first + 1).clamp_min(0).unbind(1)
        of, step = flat_steps(wide * high)
        row = step // wide[of]
        column = step - row * wide[of] + first[of, 0]
        place = (picture[of] * rows + row + first[of, 1]) * columns + column
        place, order = place.sort(stable=True)
        tile, counts = place.unique_consecutive(return_counts=True)
        return cls(size, len(screen), tile, counts, picture[of][order], face[of][order])

    def __len__(self) -> int:
        return len(self.tile)

    @property
    def corners(self) -> Tensor:
        """(N, 2) pixels, the top left corner of each."""
        columns, rows = _across(self.size)
        place = self.tile % (columns * rows)
        return TILE * torch.stack([place % columns, place // columns], 1)

    def together(self, drawn: Tensor, rest: float) -> Tensor:
        """Pictures (B, H, W) of what was drawn in the tiles (N, TILE, TILE); `rest` where no face is near."""
        columns, rows = _across(self.size)
        whole = drawn.new_full((self.pictures * rows * columns, TILE, TILE), rest).index_copy(0, self.tile, drawn)
        whole = whole.view(-1, rows, columns, TILE, TILE).transpose(2, 3)
        width, height = self.size
        return whole.reshape(self.pictures, rows * TILE, columns * TILE)[:, :height, :width]


def _across(size: tuple[int, int]) -> tuple[int, int]:
    """(columns, rows) of tiles that cover a picture."""
    width, height = size
    return -(-width // TILE), -(-height // TILE)

"""Random numbers by row: each is a function of a seed, a row, a name and a place, whichever other rows are drawn.

    x_i = mix(key(seed, row, name) + i γ),      u_i = (⌊x_i / 2¹¹⌋ + ½) / 2⁵³

mix is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), γ its increment, and a sequence of such x is
that generator. Normal numbers are Box and Muller's, of two uniform ones each. Rows are people; names are what a number
is for ("lens"), so that one draw more moves no other. It runs wherever the rows are.
"""

import math
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The lowest 64 bits of a number as torch's int64 holds them."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


INCREMENT = _signed(0x9E3779B97F4A7C15)
FIRST, SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser; torch's products of int64 keep the lowest 64 bits."""
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, zeros coming in: torch's own shift copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


@dataclass(frozen=True)
class RowRandom:
    """Numbers of some rows.

    Args:
        seed: any whole number. rows: (B,) int64, which rows these are, on the device where the numbers are wanted.
    """

    seed: int
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float64 between low and high, both excluded. The same name gives the same numbers."""
        seed = _mix(torch.tensor(_signed(self.seed), device=self.rows.device))
        place = torch.arange(1, math.prod(shape) + 1, device=self.rows.device) * INCREMENT
        key = _mix(_mix(seed + self.rows * INCREMENT) + _signed(crc32(name.encode()) * INCREMENT))
        bits = _shifted(_mix(key[:, None] + place), 11)
        return (low + (high - low) * ((bits.double() + 0.5) * 2.0**-53)).view(-1, *shape)

    def normal(self, name: str, *shape: int) -> Tensor:
        """(B, *shape) float64 of mean 0 and variance 1."""
        count = math.prod(shape)
        one, other = self.uniform(name, 2, (count + 1) // 2).unbind(1)
        length, angle = (-2 * one.log()).sqrt(), 2 * math.pi * other
        return torch.cat([length * angle.cos(), length * angle.sin()], 1)[:, :count].reshape(-1, *shape)

    def student(self, name: str, *shape: int) -> Tensor:
        """(B, *shape) float64 of Student's t with four degrees of freedom, scaled to variance 1.

        χ² of four degrees is −2 log(u v); t₄ has the variance 2.
        """
        heavy = -2 * self.uniform(f"{name}, tails", 2, *shape).log().sum(1)
        return self.normal(name, *shape) * (2.0 / heavy).sqrt()

    def chance(self, name: str, probability: float | Tensor, *shape: int) -> Tensor:
        """(B, *shape) bool, true with this probability."""
        return self.uniform(name, *shape) < probability

    def integer(self, name: str, count: int) -> Tensor:
        """(B,) int64 from 0 to count − 1."""
        return (self.uniform(name) * count).long()

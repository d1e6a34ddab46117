"""Published numbers for the quantities that the protocols measure, each with its source.

A number is listed only under the protocol whose joints, alignment and mean it shares as far as its source says; `note`
names what the source leaves open. Numbers that were recalled from memory of a paper are marked `checked=False`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HMR = "Kanazawa et al., CVPR 2018"
SPIN = "Kolotouros et al., ICCV 2019"
VIBE_README = "README of mkocabas/VIBE"
MMHUMAN3D = "README of open-mmlab/mmhuman3d"
CLIFF_README = "README of huawei-noah/noah-research, CLIFF"
SCOREHMR = "Stathopoulos et al., CVPR 2024 (ScoreHMR), table 2"


@dataclass(frozen=True)
class Published:
    """One row of a published table."""

    method: str
    values: Mapping[str, float]  # by the protocol's measures, in their units
    source: str
    note: str = ""
    checked: bool = True  # whether the number was read at the source; else it was recalled


def published_numbers(protocol: str) -> tuple[Published, ...]:
    """The rows of a protocol by its name, in the order of the page; none where no published number is comparable."""
    return _TABLES.get(protocol, ())


def _h36m(pa: float, plain: float | None = None) -> dict[str, float]:
    return {"PA-MPJPE": pa} | ({} if plain is None else {"MPJPE": plain})


def _dhp(absolute: tuple[float, float, float], aligned: tuple[float, float, float] | None = None) -> dict[str, float]:
    """PCK, AUC and MPJPE, without and with alignment."""
    row = dict(zip(("PCK@150", "AUC", "MPJPE"), absolute, strict=True))
    return row | dict(zip(("PA-PCK@150", "PA-AUC", "PA-MPJPE"), aligned or (), strict=False))


def _lsp(fg: float, fg_f1: float, parts: float, parts_f1: float) -> dict[str, float]:
    """Accuracies in per cent, as papers print them."""
    return {"FG accuracy": fg / 100, "FG F1": fg_f1, "parts accuracy": parts / 100, "parts F1": parts_f1}


_JOINTS = "the source does not name the joints"

_TABLES: dict[str, tuple[Published, ...]] = {
    "h36m-p1-hmr": (
        Published("HMR", _h36m(58.1, 87.97), HMR),
        Published("HMR, unpaired", _h36m(67.45, 106.84), HMR),
    ),
    "h36m-p2-hmr": (
        Published("forest on 91 keypoints", {"PA-MPJPE": 93.9}, HMR),
        Published("SMPLify", {"PA-MPJPE": 82.3}, HMR),
        Published("SMPLify on 91 keypoints", {"PA-MPJPE": 80.7}, HMR),
        Published("HMR, unpaired", {"PA-MPJPE": 66.5}, HMR),
        Published("HMR", {"PA-MPJPE": 56.8}, HMR),
    ),
    "h36m-p2-spin": (Published("SPIN", {"PA-MPJPE": 41.1}, VIBE_README),),
    "3dhp-spin": (Published("SPIN", {"PA-MPJPE": 67.5}, VIBE_README),),
    "3dhp-official": (
        Published("Mehta et al.", _dhp((75.7, 39.3, 117.6)), HMR, _JOINTS),
        Published("VNect", _dhp((76.6, 40.4, 124.7), (83.9, 47.3, 98.0)), HMR, _JOINTS),
        Published("HMR", _dhp((72.9, 36.5, 124.2), (86.3, 47.8, 89.8)), HMR, _JOINTS),
        Published("HMR, unpaired", _dhp((59.6, 27.9, 169.5), (77.1, 40.7, 113.2)), HMR, _JOINTS),
        Published(
            "SPIN",
            {"PCK@150": 76.4, "AUC": 37.1, "MPJPE": 105.2, "PA-PCK@150": 92.5, "PA-AUC": 55.6},
            SPIN,
            _JOINTS,
            checked=False,
        ),
    ),
    "3dpw": (
        Published("temporal HMR", {"PA-MPJPE": 76.7}, VIBE_README),
        Published("SPIN", {"PA-MPJPE": 59.2}, VIBE_README),
        Published("SPIN", {"MPJPE": 96.9, "PVE": 116.4}, SPIN, checked=False),
        Published("VIBE", {"PA-MPJPE": 56.5}, VIBE_README),
        Published("HMR, ResNet-50", {"MPJPE": 112.34, "PA-MPJPE": 67.53}, MMHUMAN3D),
        Published("SPIN, ResNet-50", {"MPJPE": 94.11, "PA-MPJPE": 57.54}, MMHUMAN3D),
        Published("CLIFF, ResNet-50", {"MPJPE": 72.0, "PA-MPJPE": 45.7, "PVE": 85.3}, CLIFF_README, _JOINTS),
        Published("HMR2.0b", {"PA-MPJPE": 54.3}, SCOREHMR, "another set of 14 joints"),
        Published("HMR2.0b + SMPLify", {"PA-MPJPE": 60.1}, SCOREHMR, "another set of 14 joints"),
    ),
    "lsp-spin": (
        Published("SMPLify oracle (with the true masks)", _lsp(92.17, 0.88, 88.82, 0.67), HMR),
        Published("SMPLify", _lsp(91.89, 0.88, 87.71, 0.64), HMR),
        Published("decision forests", _lsp(86.60, 0.80, 82.32, 0.51), HMR),
        Published("HMR", _lsp(91.67, 0.87, 87.12, 0.60), HMR),
        Published("HMR, unpaired", _lsp(91.30, 0.86, 87.00, 0.59), HMR),
        Published("GraphCMR", _lsp(91.46, 0.87, 88.69, 0.66), SPIN, checked=False),
        Published("SPIN", _lsp(91.83, 0.87, 89.41, 0.68), SPIN, checked=False),
    ),
}

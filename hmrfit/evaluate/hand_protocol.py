"""What a protocol of hands is: named numbers from predicted hands and a data set's truth.

    protocol = make_hand_protocol("freihand")
    data = protocol.load(root)                                              # a HandDataset
    protocol.update(predictions, data)                                      # HandPredictions, row by row
    protocol.summary()                                                      # -> Summary

Adding one is one class in one file of `protocols`, under `@register_hands`. Bodies' protocols score parameters of a
body about their pelvis; those of hands score points and vertices as their data sets' own code does, and each has that
code's file of predictions.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np

from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.evaluate.hand_predictions import HandPredictions, PublicFormat
from hmrfit.evaluate.hand_scores import Points
from hmrfit.evaluate.protocol import Measure, Summary
from hmrfit.ops.how_many import how_many
from hmrfit.ops.registry import Registry

BOX = "none: predictions are of the whole picture"


class HandProtocol(ABC):
    """One way of measuring; an instance adds up its updates."""

    name: ClassVar[str]
    title: ClassVar[str]  # one line, for listings
    order: ClassVar[str]  # of the points that are compared, one of hand_keypoints.HAND_SETS
    public_format: ClassVar[PublicFormat | None] = None  # of predictions
    tips: ClassVar[str | None] = None  # whose definition of the tips its truth has, on MANO's mesh
    two_hands: ClassVar[bool] = False  # whether pictures with two hands of one person belong to it
    meshes: ClassVar[bool] = False  # whether vertices are compared

    @abstractmethod
    def load(self, root: Path) -> HandDataset:
        """The hands with their truth, below a download's folder.

        Raises:
            FileNotFoundError, ValueError: missing or damaged, with the expected tree.
        """

    @abstractmethod
    def update(self, predictions: HandPredictions, data: HandDataset) -> None:
        """Adds N hands. One without a prediction is left out alone, and counted as missing."""

    @abstractmethod
    def summary(self) -> Summary:
        """The numbers so far.

        Raises:
            ValueError: no hand was scored.
        """


HAND_PROTOCOLS: Registry[type[HandProtocol]] = Registry("protocol of hands", "hmrfit.evaluate.protocols")
"""Those of `hmrfit.evaluate.protocols`, and a user's own."""

H = TypeVar("H", bound=type[HandProtocol])


def register_hands(protocol: H) -> H:
    """Class decorator: the protocol can be asked for by its `name`.

    Raises:
        ValueError: the name is another protocol's.
    """
    HAND_PROTOCOLS.register(protocol.name)(protocol)
    return protocol


def make_hand_protocol(name: str) -> HandProtocol:
    """A protocol, ready to be updated.

    Raises:
        ValueError: there is no such protocol; with the nearest name, and all of them.
    """
    return HAND_PROTOCOLS.find(name)()


def check_rows(predictions: HandPredictions, data: HandDataset) -> None:
    """That there is a prediction for each hand, done or not."""
    if len(predictions) != len(data):
        raise ValueError(
            f"There are predictions for {how_many(len(predictions), 'hands')}, but {len(data)} are to be scored."
        )


def millimetres(name: str, value: float) -> Measure:
    """An error."""
    return Measure(name, value, "mm", "lower", 0.0)


def fraction(name: str, value: float) -> Measure:
    """An AUC or F-score."""
    better: Literal["higher"] = "higher"
    return Measure(name, value, "of 1", better, 1.0)


def vertices_of(predictions: HandPredictions, row: int) -> Points | None:
    """One hand's, if it has any."""
    if predictions.vertices is None:
        return None
    own: Points = predictions.vertices[row]
    return own if np.isfinite(own).all() else None

"""Who belongs to whom: rows and columns of a table of costs in pairs that cost least together.

scipy.optimize takes 70 ms to import, and a fit needs none of it: it is loaded with the first table.
"""

import numpy as np
from numpy.typing import NDArray


def least_cost_pairs(cost: NDArray[np.float64] | NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(rows, columns) of a table (R, C), as many pairs as the shorter side has (`linear_sum_assignment`)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    return rows, columns

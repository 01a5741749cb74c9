"""A sweep's images compared by numbers: with converged solutions of the equation that their sampler solves.

`compare` measures and draws; `comparison_problems` says beforehand what is missing. docs/comparison.md says what the
numbers mean.
"""

from runner.sweep.compare.comparison import Comparison, compare, comparison_problems
from runner.sweep.compare.images import Measured

__all__ = ["Comparison", "Measured", "compare", "comparison_problems"]

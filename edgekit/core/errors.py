"""The errors edgekit raises, and the exit code the command line gives each.

    EdgekitError            1   base of everything below
    |- InputError           2   what the user gave is wrong: an argument, a file, a folder
    |- Infeasible           3   no candidate fits the limits; names the binding one
    |- TooNoisy             4   a number could not be had with the interval that was asked for
    |- VerificationFailed   5   an artifact is not what its manifest or its limits say
    |- MissingExtra         6   an optional dependency is not installed; names the extra
    |- EvaluationFailed     7   no candidate of a search can be evaluated

A message states the rule, the value received and the next step, in one sentence.
"""

from __future__ import annotations

from typing import ClassVar


class EdgekitError(Exception):
    """Base of all errors edgekit raises on purpose."""

    exit_code: ClassVar[int] = 1


class InputError(EdgekitError):
    """An argument, a file or a folder given by the user cannot be used."""

    exit_code: ClassVar[int] = 2


class Infeasible(EdgekitError):
    """Nothing fits the limits.

    Attributes:
        binding: name of the limit that binds, ``"latency"`` or ``"size"``.
        nearest: the nearest feasible pair, as text: ``"latency 1.9 ms with size 0.4 MB"``.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, binding: str, nearest: str) -> None:
        super().__init__(message)
        self.binding = binding
        self.nearest = nearest


class TooNoisy(EdgekitError):
    """The machine did not allow a measurement with the required interval."""

    exit_code: ClassVar[int] = 4


class VerificationFailed(EdgekitError):
    """An artifact does not hold what its manifest, its parity bound or its limits promise."""

    exit_code: ClassVar[int] = 5


class MissingExtra(EdgekitError):
    """An optional dependency is missing; the message names the extra that brings it."""

    exit_code: ClassVar[int] = 6


class EvaluationFailed(EdgekitError):
    """A candidate has no figures: the runtime refuses it, or its answers are no numbers."""

    exit_code: ClassVar[int] = 7

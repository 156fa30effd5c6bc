"""The reference kernels are what they say, and always the same."""

from __future__ import annotations

from edgekit.devices.measuring.reference import KERNELS, ReferenceKernels, reference_models


def test_models_are_the_same_every_time():
    first, again = reference_models(), reference_models()
    assert len(first) == len(KERNELS)
    assert [m.SerializeToString() for m in first] == [m.SerializeToString() for m in again]


def test_each_kernel_is_timed():
    times_s = ReferenceKernels(n_threads=1).time_s()
    assert len(times_s) == len(KERNELS)
    assert all(1e-7 < time_s < 1.0 for time_s in times_s)

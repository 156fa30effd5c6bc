from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import InputError
from edgekit.core.target import Target


def test_the_default_is_this_machine_with_one_thread() -> None:
    assert (Target().text, Target().n_threads, Target().ep) == ("local", 1, "cpu")


def test_threads_and_provider_are_read_from_the_query() -> None:
    n_cores = os.cpu_count() or 1
    assert Target(f"local?ep=qnn&threads={n_cores}").n_threads == n_cores
    assert Target("local?ep=qnn").ep == "qnn"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "local"),
        ("ssh://pi@host", "local"),
        ("//[", "local"),
        ("local#x", "local"),
        ("local?speed=2", "speed"),
        ("local?ep=CUDA", "CUDA"),
        ("local?ep=", "short name"),
        ("local?threads=0", "whole number from 1"),
        ("local?threads=two", "whole number from 1"),
        ("local?threads=", "whole number from 1"),
        ("local?threads=" + "9" * 5000, "whole number from 1"),
    ],
)
def test_a_wrong_target_is_refused_with_the_rule(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Target(text)


@given(st.text(max_size=30).flatmap(lambda text: st.sampled_from([text, f"local?{text}"])))
def test_any_text_is_a_target_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert 1 <= Target(text).n_threads <= (os.cpu_count() or 1)

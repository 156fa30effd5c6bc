from __future__ import annotations

import itertools

import edgekit.core.errors as errors_module
from edgekit.core.errors import EdgekitError, Infeasible


def _all_errors() -> list[type[EdgekitError]]:
    members = vars(errors_module).values()
    return [item for item in members if isinstance(item, type) and issubclass(item, EdgekitError)]


def test_each_error_has_an_exit_code_of_its_own() -> None:
    codes = [error.exit_code for error in _all_errors()]
    assert sorted(codes) == list(range(1, len(codes) + 1))


def test_the_tree_at_the_top_of_the_file_names_every_error_and_its_code() -> None:
    tree = [line.split() for line in (errors_module.__doc__ or "").splitlines()]
    drawn = {
        (word, code)
        for words in tree
        for word, code in itertools.pairwise(words)
        if code.isdigit()
    }
    assert drawn == {(error.__name__, str(error.exit_code)) for error in _all_errors()}


def test_infeasible_carries_the_binding_limit_and_the_nearest_pair() -> None:
    error = Infeasible("nothing fits", binding="latency", nearest="latency 2 ms with size 1 MB")
    assert (error.binding, error.nearest) == ("latency", "latency 2 ms with size 1 MB")
    assert str(error) == "nothing fits"

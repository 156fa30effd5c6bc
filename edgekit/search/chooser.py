"""Which measured candidate becomes the artifact, when measuring again may say otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.costs import CostTable
from edgekit.search.evaluated import Evaluated
from edgekit.search.run import Run, cost_table, infeasible
from edgekit.search.store import load_table_networks, save_table_networks


class Chooser:
    """Candidates best first; what broke a limit corrects the predictor for the rest.

    Args:
        run: a finished search.
        predictor: of the device profile, before any correction.
        limits: what the artifact must keep.

    Attributes:
        table: the cost table, corrected by everything that was measured again.
    """

    def __init__(self, run: Run, predictor: KernelPredictor, limits: Limits) -> None:
        self._run, self._predictor, self._limits = run, predictor, limits
        self._rejected: dict[Candidate, Evaluated] = {}
        self.table: CostTable = run.table

    def next(self) -> Evaluated:
        """The best candidate that measured inside, those still predicted inside first.

        Raises:
            Infeasible: none is left; names the binding limit and the nearest pair.
        """
        known = [self._rejected.get(e.candidate, e) for e in self._run.measured]
        inside = [entry for entry in known if entry.meets(self._limits)]
        if not inside:
            raise infeasible(known, self._limits)
        limit_s = self._limits.latency_s or math.inf
        return min(
            inside,
            key=lambda e: (self._expected_s(e) > limit_s, *self._run.rank(e)),
        )

    def reject(self, chosen: Candidate, found: Evaluated) -> str:
        """Take a candidate out and correct the table with what was found.

        Args:
            chosen: what ``next`` returned.
            found: what was measured in its place, other in precision where int8 was not faster.

        Returns:
            The verdict, for people.
        """
        self._rejected[chosen] = found
        run, before = self._run, self.table
        known = [pair for pair in load_table_networks(run.folder) if pair[0] != found.candidate]
        save_table_networks(run.folder, [*known, (found.candidate, found.latency)])
        quiet = Progress(quiet=True)
        self.table = cost_table(
            run.folder, run.networks, run.settings, self._predictor, progress=quiet
        )
        genes = np.array([found.candidate.genes])
        ratio = self.table.latencies_s(genes) / before.latencies_s(genes)
        broken = found.broken(self._limits)
        return f"breaks {' and '.join(broken)}; its prediction was corrected by {ratio[0]:.3f}"

    def corrected_run(self) -> Run:
        """The run with the corrected table."""
        return replace(self._run, table=self.table)

    def _expected_s(self, entry: Evaluated) -> float:
        """The limited quantile as the corrected table sees it: its label times the usual ratio."""
        if not self._rejected:
            return entry.latency.quantile_s(self._limits.quantile)
        figures = [found.latency for found in self._rejected.values()]
        ratios = [figure.quantile_s(self._limits.quantile) / figure.label_s for figure in figures]
        genes = np.array([entry.candidate.genes])
        label_s = float(self.table.latencies_s(genes)[0])
        return float(np.median(ratios)) * label_s

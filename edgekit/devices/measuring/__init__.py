"""Sessions, timing, estimators and placement: figures with intervals, or a refusal."""

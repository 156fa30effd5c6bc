"""Programs that lie in the two halves."""

"""Spaces, supernets, cost tables, strategies, and the run that ties them together."""

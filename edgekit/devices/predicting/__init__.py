"""From kernels to latency: features, fits, corrections, and how far off they are."""

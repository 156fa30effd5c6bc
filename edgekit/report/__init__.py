"""Self-contained HTML pages: what a stage returned, for people."""

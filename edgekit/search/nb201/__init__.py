"""NAS-Bench-201: a space whose every network was trained by others, to judge strategies by."""

"""Room: devices."""

"""Networks in two halves: a device encodes, a server finishes."""

"""What every implementation of a protocol must do, as checks that a test of it calls."""

"""Values every room speaks."""

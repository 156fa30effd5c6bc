"""Training-free metrics: how good a network looks before it is trained."""

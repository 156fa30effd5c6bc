"""One training loop for supernets, fine-tuning and distillation."""

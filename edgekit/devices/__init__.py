"""What a device is and what networks cost on it: probing, measuring, predicting, profiles."""

"""From a study to a model in use: the winner's weights, calibrated, on new images."""

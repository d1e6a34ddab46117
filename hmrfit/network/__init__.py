"""HMR: an encoder of images or keypoints, the iterative regressor, the discriminators, and their weights on disk."""

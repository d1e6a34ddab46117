"""Detectors of people's keypoints behind one protocol; `hmrfit.detect` is their face."""

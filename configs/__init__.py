"""Overlays of hmrfit's settings (hmrfit/config.py has the defaults). In the wheel this folder is `hmrfit/_configs`."""

"""OpenCV, imported here and nowhere else: `from hmrfit.io.opencv import cv2`.

The wheel `opencv-python` needs two system libraries (libGL, GLib) that a bare server or container lacks; its own error
names a file, this one says what to install.
"""

try:
    import cv2
except ImportError as error:
    raise ImportError(
        f"OpenCV cannot be loaded ({error}). On Debian or Ubuntu: apt-get install libgl1 libglib2.0-0. "
        "Without those rights: pip uninstall opencv-python, then pip install opencv-python-headless."
    ) from error

__all__ = ["cv2"]

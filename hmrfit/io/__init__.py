"""What comes in and goes out: files, read within a budget and without running them, images, photographs, keypoints."""

"""What the library learns from and is measured on: motion, datasets, synthetic people, augmentation."""

"""The evaluation protocols, a file for each data set."""

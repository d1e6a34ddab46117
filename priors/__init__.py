"""Parameter files that hmrfit ships, a card beside each. In the wheel this folder is `hmrfit/_priors`."""

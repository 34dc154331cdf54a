"""zerosearch on verl: its agent loop, data, configuration, metrics and checkpoints. Nothing else imports verl."""

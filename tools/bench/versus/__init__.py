"""Octavo and llama.cpp beside each other: how the peer is made, how each side is run, what is measured, what is printed."""

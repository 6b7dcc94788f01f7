"""The data plane's Python half: weights are placed, the persistent batch kept, steps executed, tokens drawn."""

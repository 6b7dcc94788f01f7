"""Ollama's API (github.com/ollama/ollama/blob/main/docs/api.md), which editors and Open WebUI speak, over the same engine."""

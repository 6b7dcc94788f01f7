"""Vectors of texts over HTTP: embeddings as OpenAI has them, scores and ranks as Jina and Cohere do, classes, and bare vectors."""

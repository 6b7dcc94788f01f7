"""What every API shares: bodies, errors, middlewares, the merged streams of a request, server-sent events."""

"""What the server says of itself: /openapi.json, made from the bodies of the endpoints, and a page made from that."""

"""Components that find the points of faces."""

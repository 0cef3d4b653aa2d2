"""The pictures of the documentation, a module a page."""

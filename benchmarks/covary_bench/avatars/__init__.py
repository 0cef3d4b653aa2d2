"""How the bundled avatars generator was made and checked: training, export and the mixing check."""

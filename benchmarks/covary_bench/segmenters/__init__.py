"""How the segmenters of the rendered worlds were made and checked: data, training, skill."""

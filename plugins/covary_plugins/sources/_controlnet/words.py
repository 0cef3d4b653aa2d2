"""Words that change how things look."""

from __future__ import annotations

__all__ = ["APPEARANCES"]

APPEARANCES = {
    "materials": (
        "made of polished bronze", "made of white marble", "made of blue and white porcelain",
        "made of carved dark wood", "made of clear glass", "made of rusty iron",
        "made of red clay", "made of green jade", "made of knitted wool", "made of folded paper",
        "made of black obsidian", "made of ice", "made of shiny gold", "made of brushed steel",
        "made of colourful plastic bricks", "made of chocolate", "covered in moss",
        "covered in flowers", "made of patchwork fabric", "made of mosaic tiles",
    ),
    "colours": (
        "in crimson red and black", "in deep blue and silver", "in emerald green and gold",
        "in lemon yellow and grey", "in violet and orange", "in turquoise and coral",
        "in pink and mint", "in sepia brown", "in black and white", "in pastel colours",
        "in neon colours", "in earthy colours", "in navy blue and cream", "in lavender and lime",
        "in rainbow colours", "in burgundy and teal",
    ),
    "light": (
        "at golden sunset", "at blue dawn", "at noon under a bright sky", "under moonlight",
        "by candlelight", "under red stage light", "under green neon light", "under the aurora",
        "in soft studio light", "against a bright window", "in deep shadow", "lit by a campfire",
        "under blacklight", "in dusty sunbeams",
    ),
    "weather and season": (
        "in thick fog", "in heavy rain", "in falling snow", "in a sandstorm",
        "before a thunderstorm", "in spring blossom", "in high summer", "among autumn leaves",
        "in a frosty winter", "under water", "in a desert", "in a jungle",
    ),
    "styles": (
        "as an oil painting", "as a watercolour", "as a charcoal drawing", "as a comic",
        "as an old faded photograph", "as a stained glass window", "as a woodblock print",
        "as pop art", "as a pastel drawing", "as a pixel art sprite", "as an infrared photograph",
        "as a fresco", "as an embroidery", "as a cyanotype", "as a clay animation",
        "as a risograph poster",
    ),
}  # fmt: skip
"""Words that change an image's colours and hardly its outlines, in groups."""

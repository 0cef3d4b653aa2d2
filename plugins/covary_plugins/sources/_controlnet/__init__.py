"""What the source ``controlnet`` is made of: folders, structure, prompts, diffusion."""

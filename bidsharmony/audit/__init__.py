"""The audit of the group level: how much scanner was in the images, and how much is left."""

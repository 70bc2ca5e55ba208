"""The owner: the one task that decides, and all that it decides by. Nothing here is public."""

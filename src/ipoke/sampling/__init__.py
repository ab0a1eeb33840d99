"""From a picture and pokes to clips: the model that users hold, and all that it takes to ask it."""

"""The songs of a dataset as their owners have them: layouts, excerpts of them, what is wrong with them."""

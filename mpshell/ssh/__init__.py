"""The user's configuration of ssh."""

"""Shared machinery below every layer: event loop, light stand-ins for slow modules, hooks for forks."""

"""Shared machinery below every layer: event loop, light replacements of slow modules, hooks for forks."""

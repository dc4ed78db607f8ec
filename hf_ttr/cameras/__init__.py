"""Cameras: a service that says when the state of what a camera sees changes, to those who wait for it."""

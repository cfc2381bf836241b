"""Objectives, steps and loops over devices."""

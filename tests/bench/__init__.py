"""Measurements on the real SIF, as an ordinary user. Ratios count; absolute figures depend on the machine."""

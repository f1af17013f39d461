"""The gate's waist on a virtual clock, against origins that a seed invents."""

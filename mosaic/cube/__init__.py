"""The mosaic as xarray: lazy, one variable a band, (time, y, x)."""

"""The mosaic as arrays: what users give, opened by columns; windows of it."""

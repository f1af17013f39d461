"""A mosaic's pixels as files of their own: a COG or a Zarr store, window by window."""

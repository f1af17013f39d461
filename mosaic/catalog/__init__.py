"""What a mosaic is, on disk: STAC JSON, ``items.parquet``, tile indexes."""

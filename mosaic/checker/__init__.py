"""Is a mosaic whole and true? What it declares, held against its files, PROJ and STAC's schemas."""

"""The gate for everybody: mosaics served over HTTP, their files read under one budget."""

# Reads a band of Zarr stores with terra, and with stars as a cube that knows its times.
#
#   Rscript zarr.R BAND OUT STORE...
#
# Of each store writes, as little-endian doubles, layer after layer and row after row, OUT1.terra and
# OUT1.stars (OUT2 ...); prints what terra knows of the raster, then stars' times and corners.
suppressMessages({library(terra); library(stars)})

keep <- function(values, path) {
  con <- file(path, "wb")
  writeBin(as.double(values), con, size = 8, endian = "little")
  close(con)
}

told <- commandArgs(trailingOnly = TRUE)
stores <- told[-(1:2)]
for (number in seq_along(stores)) {
  r <- rast(paste0(stores[number], ":/", told[1]))
  keep(values(r), paste0(told[2], number, ".terra"))  # a column for each layer
  cat(nrow(r), ncol(r), nlyr(r), crs(r, describe = TRUE)$code, as.vector(ext(r)), "\n")
  s <- read_mdim(stores[number], variable = told[1])
  keep(s[[1]], paste0(told[2], number, ".stars"))  # x runs first, then y, then time
  cat(format(st_get_dimension_values(s, "time"), "%Y-%m-%dT%H:%M:%S", tz = "UTC"), "\n")
  cat(st_crs(s)$epsg, unlist(st_bbox(s)), "\n")
}

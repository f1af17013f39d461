# Reads windows of rasters with terra and with stars, and the footprints of indexes with sf.
#
#   Rscript read.R JOBS
#
# JOBS is a table, tab-separated, with the columns file, column, row, width, height, out. Each line
# writes, as little-endian doubles, band after band and row after row: OUT.terra (as terra gives
# them), OUT.stored (as stored, without scale and offset) and OUT.stars; and prints what terra knows
# of the raster, and how many footprints there are.
suppressMessages({library(terra); library(stars)})

keep <- function(values, path) {
  con <- file(path, "wb")
  writeBin(as.double(values), con, size = 8, endian = "little")
  close(con)
}

window_of <- function(r, job) {
  left <- xmin(r) + job$column * xres(r)
  top <- ymax(r) - job$row * yres(r)
  values(crop(r, ext(left, left + job$width * xres(r), top - job$height * yres(r), top)))
}

jobs <- read.delim(commandArgs(trailingOnly = TRUE)[1])
for (number in seq_len(nrow(jobs))) {
  job <- jobs[number, ]
  r <- rast(job$file)
  keep(window_of(r, job), paste0(job$out, ".terra"))  # a column for each band
  tiles <- if (endsWith(job$file, ".gpkg")) nrow(sf::st_read(job$file, "tiles", quiet = TRUE)) else 0
  cat(nrow(r), ncol(r), nlyr(r), crs(r, describe = TRUE)$code, tiles, as.vector(ext(r)), "\n")
  scoff(r) <- NULL
  keep(window_of(r, job), paste0(job$out, ".stored"))
  s <- read_stars(job$file, proxy = FALSE, RasterIO = list(
    nXOff = job$column + 1, nYOff = job$row + 1, nXSize = job$width, nYSize = job$height))
  keep(s[[1]], paste0(job$out, ".stars"))  # x runs first, then y, then the band
}

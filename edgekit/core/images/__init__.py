"""Reading labelled images from folders, parquet files and data sets, for ``edgekit.core.task``."""

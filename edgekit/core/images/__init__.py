"""Reading labelled images from folders, parquet files and datasets; what ``edgekit.core.task`` is made of."""

"""Files that are copied into bundles as they are."""

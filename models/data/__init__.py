"""Images and labels: layouts of data sets, reading of images, training batches."""

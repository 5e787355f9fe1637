"""Images with boxes: readers of the usual annotations, and the source that they come to."""

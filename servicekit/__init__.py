"""What every process of the platform needs, without a word of its business."""

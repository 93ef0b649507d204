"""What the model is taught, a subject a file. Every text here was written for this project."""

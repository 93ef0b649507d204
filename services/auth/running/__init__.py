"""What runs beside the calls: the streams of edges, the writing of their heartbeats, the pulse."""

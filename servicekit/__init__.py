"""What every process of the platform needs, without a word of its business."""

import os

# Read by gRPC when it starts, so set before anything imports it. Its fork handlers run in every process that we start,
# between fork and exec, and crash some of them when calls are under way: seen, one of ten (SIGSEGV, SIGABRT). What we
# start executes another program at once and needs no gRPC of ours.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

"""What every process of the platform needs, without a word of its business."""

import os
import sys

from servicekit.process.standard_streams import ensure_open

ensure_open()  # before anything opens a file or a socket, which would take the number of a stream that is closed

IMPORTED_BEFORE_GRPC = "grpc" not in sys.modules

# Read by gRPC when it starts, so set before anything imports it. Its fork handlers run in every process that we start,
# between fork and exec, and crash some of them when calls are under way: seen, one of ten (SIGSEGV, SIGABRT). What we
# start executes another program at once and needs no gRPC of ours.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# TLS 1.3 only. grpcio takes no lowest version; this list is of ciphers up to TLS 1.2 (those of 1.3 are not chosen by
# it), and the one that it names needs a pre-shared key, which nobody has: so 1.2 finds no cipher, as client and server.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-PSK-AES128-CBC-SHA"

# C core writes lines of its own form to stderr, past our log. What it has to say of a call is in the call's status.
# To look for a fault in gRPC itself, set the variable.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

"""Programs that ask the kernel itself, by bpf(2), each one file that a bare python3 runs on the node."""

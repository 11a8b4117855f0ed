"""The built-in checks, one module per topic; builtin.py and builtin_node.py list them."""

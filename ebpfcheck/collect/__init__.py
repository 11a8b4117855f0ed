"""Everything that looks: the node survey and its parser, transports, snapshot files. Nothing here concludes."""

"""What the RPC endpoints of a cell are made of, one module for each subject."""

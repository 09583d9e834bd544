"""Serial mic boards: the protocol they speak (PROTOCOL.md beside this file), a source of blocks, and a board in software."""

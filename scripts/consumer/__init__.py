"""A consumer of plans in C++, and what compares it with trtqat."""

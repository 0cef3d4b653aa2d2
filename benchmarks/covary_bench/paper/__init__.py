"""The paper's tables on data that anyone can make again: ``covary bench paper``."""

"""textback hears what recipients text back. Start reading at README.md, in this folder."""

__version__ = "0.1.0"

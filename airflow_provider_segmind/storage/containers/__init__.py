"""Image containers (PNG, JPEG, WebP): which parts of a file decide about its pixels, and whether they are all there."""

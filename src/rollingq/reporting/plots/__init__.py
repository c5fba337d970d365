"""One file a figure: the drawing, the numbers behind it and its words, each a pure function of a comparison."""

"""The files of a contest of the user's own: tables whose columns a definition names.

One file of rows is enough, with a query, the text of a product and a label. Products may lie in a
file of their own, test rows in another; ids are integers, text, or none. Begin at `reader`.
"""

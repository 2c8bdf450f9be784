"""Images from files: by class, listed with their classes, or with boxes.

``options.py`` reads what stands behind the folder in a SPEC. ``listing.py`` finds the files and
their classes, ``coco_file.py`` those of COCO with their boxes. ``placing.py`` says where the pixels
of an image go, ``decoding.py`` puts them there, ``ahead.py`` does that in threads before they are
asked for, and ``values.py`` makes of them what the input takes. ``dataset.py`` and ``coco.py`` are
the data sets made of all that.
"""

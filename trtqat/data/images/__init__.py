"""Images from files: by class, listed with their classes, or with the objects in them.

``options.py`` reads what stands behind the folder in a SPEC. ``listing.py`` finds the files and
their classes, ``coco_file.py`` those of COCO with their boxes. ``placing.py`` says where the pixels
of an image go, ``decoding.py`` puts them there, ``ahead.py`` does that in threads before they are
asked for, and ``values.py`` makes of them what the input takes. ``broken.py`` finds images that
cannot be decoded. ``dataset.py`` and ``coco.py`` (with ``coco_masks.py``) are the data sets.
"""

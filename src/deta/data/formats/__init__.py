"""Data sets of other formats, read whole to become a folder in COCO's layout.

The formats are parsed here, since the libraries that read them lose what is in them (supervision 0.31, datumaro 1.13):

- supervision keeps names and boxes of VOC alone (no ``difficult``, ``truncated``, ``occluded``, ``pose``, parts), turns
  polygons into masks of whole pixels and back, drops key points of YOLO, circles and flags of LabelMe,
  follows neither the splits of ``data.yaml`` nor ``ImageSets``, and does not see a label without an image.
- datumaro refuses rows of YOLO that are polygons, reads another LabelMe (the XML of the web tool), takes VOC's
  coordinates as counted from 0 unless told otherwise, and needs a Pillow older than the one this project runs with.
"""

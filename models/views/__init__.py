"""Views that agree: poses refined, odd views left out, masks mended, and what they show told from their content.

It may import ``capture``, ``contract``, ``formats``, ``raster`` and ``surface``. It is the step between a capture and a
surface, and makes no mesh of its own.
"""

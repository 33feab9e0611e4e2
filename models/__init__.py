"""Reconstruction: captures, geometry, models, meshes, figures. Knows nothing of jobs or of folders on a share."""

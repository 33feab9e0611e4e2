"""The versions of the record, brought from one to the next by Alembic."""

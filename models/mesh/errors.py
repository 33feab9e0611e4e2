"""What can be wrong with a mesh or with a mesh file, in words that a person can act on."""

from __future__ import annotations


class MeshError(ValueError):
    """A mesh or a mesh file is not what it must be; ``message`` says what and where, ``fix`` what to do next."""

    code = "mesh_invalid"

    def __init__(self, message: str, fix: str = "run the model again; if it repeats, report it with its log") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def to_json(self) -> dict[str, str]:
        """``{code, message, fix}`` for the report."""
        return {"code": self.code, "message": self.message, "fix": self.fix}

"""What two identities have in common: JSON both ways, and plain words on where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ssfr.components.errors import InputError


class Identity(BaseModel):
    """What data are, as far as it decides whether two sets of them can be used together.

    Immutable, compared by value. `model_dump_json` and `parse` are each other's inverse.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    noun: ClassVar[str]
    """What an identity is of, in messages."""

    @classmethod
    def parse(cls, stored: str | bytes | Mapping[str, Any] | None, where: object, way_out: str) -> Self:
        """Return an identity that was stored as JSON.

        Parameters
        ----------
        stored
            JSON text, or what JSON text was read into; None: nothing was stored.
        where
            File that holds it, and its name in there; the message of an error begins with it.
        way_out
            What to do if it can't be read.

        Raises
        ------
        InputError
            There is none, or it is not of this version's format.
        """
        if stored is None:
            raise InputError(f"{where}: does not say what its {cls.noun} are; {way_out}")
        try:
            if isinstance(stored, str | bytes):
                return cls.model_validate_json(stored)
            return cls.model_validate(stored)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ": ".join([str(where), ".".join(map(str, problem["loc"]))]).removesuffix(": ")
            raise InputError(f"{place}: {problem['msg'].lower()}; {way_out}") from None

    def stated(self) -> dict[str, str]:
        """Return every property in words, with its unit; those that one of two lacks are not compared."""
        raise NotImplementedError

    def differences(self, other: Self) -> tuple[str, ...]:
        """Return one line for every property that differs, for example ``width: 90 kpc, not 45 kpc``.

        Parameters
        ----------
        other
            What comes after "not" in the lines.
        """
        own, expected = self.stated(), other.stated()
        return tuple(
            f"{name}: {own[name]}, not {expected[name]}"
            for name in own
            if name in expected and own[name] != expected[name]
        )

    def require_same(self, other: Self, where: object, owner: str, way_out: str) -> None:
        """Refuse data that are not the same as others.

        Parameters
        ----------
        other
            What is expected.
        where
            File or folder of these data.
        owner
            Whose the others are, for example "the model's".
        way_out
            What to do.

        Raises
        ------
        InputError
            There are differences; the message is one line that names all of them.
        """
        found = self.differences(other)
        if found:
            raise InputError(f"{where}: other {self.noun} than {owner}: {'; '.join(found)}; {way_out}")


def number(value: float, unit: str | None = None) -> str:
    """Return a number with all its digits and its unit: numbers that differ are never shown alike."""
    text = repr(float(value)).removesuffix(".0")
    return f"{text} {unit}" if unit else text

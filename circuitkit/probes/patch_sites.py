"""What of a model can be patched: blocks, heads, MLPs, and the parts of a head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from circuitkit.core.component import Component, Site, Stream
from circuitkit.core.errors import OptionError
from circuitkit.models.hooked_model import HookedModel

Part = Literal["block", "head", "mlp", "q", "k", "v", "pattern"]
WHOLE: tuple[Part, ...] = ("block", "head", "mlp")


@dataclass(frozen=True, slots=True)
class PatchSite:
    """One thing that is patched.

    Attributes:
        site: The component or stream.
        part: What of it.
    """

    site: Site
    part: Part

    def __str__(self) -> str:
        return str(self.site) if self.part in WHOLE else f"{self.site}.{self.part}"


def parse_parts(parts: Sequence[str]) -> tuple[Part, ...]:
    """Read the names of parts, each once; `z`, a head's values, is the head itself.

    Raises:
        OptionError: There is no such part, or none was given.
    """
    known = get_args(Part)
    named = ["head" if part == "z" else part for part in parts]
    if wrong := [part for part in named if part not in known]:
        raise OptionError(f"Part {wrong[0]!r} unknown; choose among {', '.join(known)}, z.")
    if not named:
        raise OptionError(f"No part of the model to patch was given; choose among {', '.join(known)}, z.")
    for part in named:
        same = [given for given, name in zip(parts, named, strict=True) if name == part]
        if len(same) > 1:
            why = " (a head's values z are the head itself)" if len(set(same)) > 1 else ""
            raise OptionError(f"Parts {' and '.join(same)} are the same{why}; give one of them.")
    return cast(tuple[Part, ...], tuple(named))


def default_parts(components: Sequence[Component | str] | None) -> tuple[Part, ...]:
    """What is patched where no parts are named: blocks, and heads and MLPs of which there are any among components.

    Args:
        components: Heads and MLPs that are patched; None is all.

    Raises:
        OptionError: A component cannot be read.
    """
    kinds = {(Component.parse(c) if isinstance(c, str) else c).kind for c in components or ()}
    return tuple(part for part in WHOLE if part == "block" or part in kinds) if kinds else WHOLE


def patch_sites(
    model: HookedModel, parts: Sequence[Part], components: Sequence[Component | str] | None
) -> list[PatchSite]:
    """What is patched, part by part.

    Args:
        model: The model.
        parts: Which parts.
        components: Heads and MLPs that are patched; None is all. Blocks do not depend on it.

    Raises:
        OptionError: A component is not in the model, or there is none for a part.
    """
    chosen = [
        Component.parse(c) if isinstance(c, str) else c
        for c in (model.components if components is None else components)
    ]
    if missing := [c for c in chosen if c not in model.components]:
        raise OptionError(
            f"Component {missing[0]} is not in {model.info.name!r}, the last of whose components is "
            f"{model.components[-1]}; layers and heads count from 0."
        )
    found: list[PatchSite] = []
    for part in parts:
        if part == "block":
            found += [PatchSite(Stream(layer), part) for layer in range(-1, model.info.n_layers)]
            continue
        kind = "mlp" if part == "mlp" else "head"
        some = [PatchSite(c, part) for c in dict.fromkeys(chosen) if c.kind == kind]
        if not some:
            raise OptionError(
                f"There is nothing to patch for part {part!r}: none of the components given is "
                f"{'an MLP' if kind == 'mlp' else 'a head'}; leave the part out or name one."
            )
        found += some
    return found

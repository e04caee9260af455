"""Reads how a configuration's profile handler splits requests into prefill and decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from llmatrix.sim.incoming import BYTES_PER_TOKEN
from llmatrix.sim.node_reader import NodeReader, nearest
from llmatrix.sim.plugin_types import Plugin, Role
from llmatrix.sim.profiles import Disaggregation, ProfileConfig, Used


@dataclass(slots=True)
class Declared:
    """A plugin as it stands under ``plugins``, and where."""

    plugin: Plugin
    used: Used
    node: yaml.Node


def disaggregation(
    reader: NodeReader,
    declared: Mapping[str, Declared],
    profiles: Sequence[ProfileConfig],
    at: yaml.Node,
) -> Disaggregation | None:
    """Tell how prompts are split; None when one profile handles all. What is wrong is noted.

    Args:
        reader: takes the problems.
        declared: all plugins, by name.
        profiles: all profiles.
        at: where the profiles stand.
    """
    handlers = [d for d in declared.values() if d.plugin.role is Role.HANDLER]
    if len(handlers) > 1:
        first, second = (handler.used.name for handler in handlers[:2])
        reader.wrong(
            handlers[1].node,
            f"only one profile handler is allowed; '{first}' and '{second}' both are",
        )
        return None
    kind = handlers[0].used.type if handlers else "single-profile-handler"
    if kind == "single-profile-handler":
        if len(profiles) > 1:
            reader.wrong(
                at,
                "several scheduling profiles need a profile handler that chooses between them, "
                "such as pd-profile-handler; single-profile-handler takes one profile",
            )
        return None
    split = _of_pd(reader, handlers[0], declared) if kind == "pd-profile-handler" else None
    if kind == "disagg-profile-handler":
        split = _of_disagg(reader, handlers[0], declared)
    if split is not None:
        _check_profiles(reader, handlers[0], split, profiles)
    return split


def _of_pd(
    reader: NodeReader, handler: Declared, declared: Mapping[str, Declared]
) -> Disaggregation:
    given = handler.used.parameters
    if given["primaryPort"]:
        reader.wrong(handler.node, "data-parallel ranks (primaryPort) are not simulated")
    headers = [d for d in declared.values() if d.plugin.role is Role.HEADERS]
    if not headers:
        reader.wrong(
            handler.node,
            "without a prefill-header-handler no decode replica learns of its prefill replica; "
            "declare one under plugins",
        )
    for found in headers:
        if found.used.parameters["prefillProfile"] != given["prefillProfile"]:
            reader.wrong(
                found.node,
                f"its prefillProfile is '{found.used.parameters['prefillProfile']}', but "
                f"'{handler.used.name}' prefills by '{given['prefillProfile']}'",
            )
    least: int | None = given["threshold"]
    if not least:
        least = _by_decider(reader, handler, declared, given["deciderPluginName"])
    name = given["prefixPluginName"]
    return Disaggregation(given["decodeProfile"], given["prefillProfile"], name, least)


def _of_disagg(
    reader: NodeReader, handler: Declared, declared: Mapping[str, Declared]
) -> Disaggregation:
    profiles = dict(handler.used.parameters["profiles"])
    deciders = dict(handler.used.parameters["deciders"])
    for names, known, what in (
        (profiles, ("decode", "prefill", "encode"), "profiles"),
        (deciders, ("prefill", "encode"), "deciders"),
    ):
        for name in names:
            if name not in known:
                reader.wrong(handler.node, f"{what} has no '{name}'{nearest(name, known)}")
    if "encode" in deciders:
        reader.wrong(handler.node, "prompts have text only: nothing is encoded elsewhere")
    least = None
    if "prefill" in deciders:
        least = _by_decider(reader, handler, declared, deciders["prefill"])
    return Disaggregation(
        profiles.get("decode", "decode"), profiles.get("prefill", "prefill"), least=least
    )


def _by_decider(
    reader: NodeReader, handler: Declared, declared: Mapping[str, Declared], name: str
) -> int | None:
    """Give the least uncached bytes from which on a decider has prompts prefilled elsewhere."""
    decider = declared.get(name)
    if decider is None and name == "always-disagg-pd-decider":
        return 0  # up to v0.4 there were no deciders to declare
    if decider is None or decider.plugin.role is not Role.DECIDER:
        reader.wrong(handler.node, f"'{name}' is no declared decider{nearest(name, declared)}")
        return None
    if decider.used.type == "always-disagg-pd-decider":
        return 0
    tokens: int = decider.used.parameters["nonCachedTokens"]
    if tokens < 0:
        reader.wrong(decider.node, "nonCachedTokens cannot be negative")
    return tokens * BYTES_PER_TOKEN or None


def _check_profiles(
    reader: NodeReader,
    handler: Declared,
    split: Disaggregation,
    profiles: Sequence[ProfileConfig],
) -> None:
    names = [profile.name for profile in profiles]
    wanted = (split.decode, split.prefill) if split.least is not None else (split.decode,)
    for name in wanted:
        if name not in names:
            reader.wrong(
                handler.node,
                f"'{handler.used.name}' uses the profile '{name}', which is not there"
                f"{nearest(name, names)}",
            )

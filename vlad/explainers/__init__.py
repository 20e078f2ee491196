"""Segments to explanations: an engine (a model in this process, or behind a server), and what it is asked."""

from __future__ import annotations

from vlad.config import Settings
from vlad.explainers.engine import Engine
from vlad.explainers.explain import PromptedExplainer
from vlad.prompting import load_prompt
from vlad.weights import nano_part


def load_engine(settings: Settings) -> Engine:
    """The language model that the settings name. Raises WeightsError for weights that are not here, SettingsError for a wrong address."""
    if settings.server:
        from vlad.explainers.server import load_server

        return load_server(settings)
    from vlad.explainers.llava import load_llava

    folder, adapter = settings.explainer, settings.adapter
    if folder == "nano":
        folder, adapter = str(nano_part("llava")), adapter or str(nano_part("adapter"))
    return load_llava(folder, "" if adapter == "none" else adapter, settings, name=settings.explainer)


def load_explainer(settings: Settings) -> PromptedExplainer:
    """The explainer that the settings name, with its template. Raises as load_engine does, and TemplateError."""
    prompt = load_prompt(settings.prompt, settings.prompts)
    return PromptedExplainer(load_engine(settings), prompt, settings)

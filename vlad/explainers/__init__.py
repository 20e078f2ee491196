"""Segments to explanations: one way a file."""

from __future__ import annotations

from vlad.config import Settings
from vlad.prompting import load_prompt
from vlad.types import Explainer
from vlad.weights import nano_part


def load_explainer(settings: Settings) -> Explainer:
    """The explainer that the settings name. Raises WeightsError for weights that are not here, TemplateError for its template."""
    from vlad.explainers.llava import load_llava

    prompt = load_prompt(settings.prompt, settings.prompts)
    if settings.explainer == "nano":
        adapter = settings.adapter or str(nano_part("adapter"))
        return load_llava(str(nano_part("llava")), adapter, prompt, settings, name="nano")
    return load_llava(settings.explainer, settings.adapter, prompt, settings, name=settings.explainer)

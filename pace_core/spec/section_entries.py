"""The sections of a spec that every run has, as the catalogue lists them: what a form or a help text is made from."""

from functools import cache

from pace_core.spec.catalogue import Entry
from pace_core.spec.run_spec import Backbone, Optimizer, Resources, Task, Training


@cache
def load_sections() -> dict[str, Entry]:
    """Returns the sections by name, each with the JSON Schema of its fields.

    The section `task` has the fields that tasks of all sources share; those of a source are the source's own.
    """
    models = {"task": Task, "backbone": Backbone, "optimizer": Optimizer, "training": Training, "resources": Resources}
    found: dict[str, Entry] = {}
    for name, model in models.items():
        schema = model.model_json_schema(by_alias=True)
        summary = " ".join((model.__doc__ or "").split())
        found[name] = Entry(name=name, title=name.capitalize(), summary=summary, params=schema)
    return found

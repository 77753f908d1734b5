"""Endpoints of what a spec can name, with JSON Schemas, and of the tables behind it."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from pace_core.spec import Catalogue, load_benchmarks, load_published, load_recipes
from pace_core.spec.section_entries import load_sections
from service.catalogue.schemas import Kind
from service.keys.auth import AnyCaller

router = APIRouter(prefix="/v1/catalogue", tags=["catalogue"])


@router.get("/{kind}", summary="Everything of one kind that can be named")
async def get_catalogue(request: Request, _: AnyCaller, kind: Kind) -> dict[str, list[dict[str, Any]]]:
    """Lists the entries of one kind. Methods, regularizers, sources and sections carry their JSON Schema."""
    catalogue: Catalogue = request.app.state.catalogue()
    entries: dict[Kind, dict[str, Any]] = {
        Kind.METHODS: dict(catalogue.methods),
        Kind.REGULARIZERS: dict(catalogue.regularizers),
        Kind.SOURCES: dict(catalogue.sources),
        Kind.BACKBONES: dict(catalogue.backbones),
        Kind.SECTIONS: load_sections(),
        Kind.BENCHMARKS: dict(load_benchmarks()),
        Kind.RECIPES: dict(load_recipes()),
        Kind.PUBLISHED: dict(load_published()),
    }
    models: list[BaseModel] = list(entries[kind].values())
    return {"data": [model.model_dump(mode="json") for model in models]}

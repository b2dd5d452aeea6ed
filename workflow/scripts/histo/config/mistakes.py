"""Mistakes in settings, one line each: the setting, what is allowed, what was found, the nearest known name."""

import difflib
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from histo.config.network import TOO_COARSE

Schema = dict[str, Any]
TYPES = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
TYPES |= {"object": "a mapping", "array": "a list", "null": "null"}
BOUNDS = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
MOST_SHOWN = 12  # names in a message


def explain(error: ValidationError, kind: Any, where: str = "") -> list[str]:
    """Return one line for each mistake that pydantic found in settings of type `kind`; where: their dotted name."""
    root = TypeAdapter(kind).json_schema()
    return list(dict.fromkeys(_line(details, root, where) for details in error.errors(include_url=False)))


def allowed(schema: Schema, root: Schema) -> str:
    """Say which values a JSON schema allows; root: holds its definitions."""
    schema = resolved(schema, root)
    if "enum" in schema or "const" in schema:
        values = [repr(value) for value in schema.get("enum", [schema.get("const")])]
        return " or ".join(values if len(values) <= MOST_SHOWN else [*values[:3], f"one of {len(values) - 3} others"])
    if "anyOf" in schema:
        return " or ".join(allowed(part, root) for part in schema["anyOf"])
    text = TYPES.get(schema.get("type", ""), "a mapping")
    text += "".join(f" {word} {schema[key]}" for key, word in BOUNDS if key in schema)
    text += f", a multiple of {schema['multipleOf']}" if "multipleOf" in schema else ""
    text += f" of the form {schema['pattern']}" if "pattern" in schema else ""
    least = schema.get("minItems", schema.get("minProperties"))
    return text + (f" with at least {least} entries" if least else "")


def resolved(schema: Schema, root: Schema) -> Schema:
    """Return the schema that a reference leads to, with what is said beside the reference."""
    if "$ref" not in schema:
        return schema
    return {**root["$defs"][schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}


def _inner(schema: Schema, root: Schema, part: str | int) -> tuple[Schema, bool]:
    """Return the schema one level down, and whether `part` is a name that the user wrote: pydantic also names the
    member of a union."""
    if "discriminator" in schema:
        return resolved({"$ref": schema["discriminator"]["mapping"][part]}, root), False
    if "anyOf" in schema:
        return _inner(resolved(next(one for one in schema["anyOf"] if one.get("type") != "null"), root), root, part)
    named = schema.get("properties", {}).get(part)
    other = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties"), schema.get("items")]
    found = named or next((one for one in other if isinstance(one, dict)), {})
    return resolved(found, root), True


def _line(details: ErrorDetails, root: Schema, where: str) -> str:
    names, schema, holder, found = [where] if where else [], root, root, details["input"]
    location = details["loc"]
    is_name = "[key]" in location
    for part in location[:-2] if is_name else location:
        inner, named = _inner(schema, root, part)
        holder, schema = (schema, inner) if named else (holder, inner)
        names += [str(part)] if named else []
    name, kind = ".".join(names) or "the configuration", details["type"]
    sense = f" {schema['description']}." if "description" in schema else ""
    if is_name:
        pattern = next(iter(schema.get("patternProperties", ())), None)
        return f"{name}: expected names of the form {pattern}, found {location[-2]!r}."
    if kind == "value_error":
        return ": ".join([*([name] if names else []), str(details["ctx"]["error"])])
    if kind == "extra_forbidden":
        # A section that may be null is a choice of two schemas.
        section = next((resolved(one, root) for one in holder.get("anyOf", ()) if "$ref" in one), holder)
        if source := _source_of(str(location[-1]), section, root):
            found_source = section["properties"]["source"]["const"]
            return (
                f"{name}: expected with source: {source}, found source: {found_source}. Set dataset.source: {source}."
            )
        return f"{name}: no such setting; {_nearest(str(location[-1]), list(section['properties']))}"
    if kind.startswith("union_tag"):
        key = schema["discriminator"]["propertyName"]
        members = [resolved(one, root)["properties"][key] for one in schema["oneOf"]]
        known = [name for one in members for name in one.get("enum", [one.get("const")])]
        return f"{name}.{key}: {_wrong_choice(found.get(key) if isinstance(found, dict) else found, known)}"
    if kind == "missing":
        return f"{name}: missing; expected {allowed(schema, root)}.{sense}"
    return f"{name}: expected {allowed(schema, root)}, found {found!r}.{sense}"


def _source_of(name: str, section: Schema, root: Schema) -> str | None:
    """Return the source of tiles that has a setting, if `section` is that of another source."""
    if "const" not in section["properties"].get("source", ()):
        return None
    sections = (one["properties"] for one in root["$defs"].values() if "source" in one.get("properties", ()))
    return next((one["source"]["const"] for one in sections if name in one and "const" in one["source"]), None)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"Known here: {', '.join(known)}."


def _wrong_choice(value: Any, known: list[str]) -> str:
    if isinstance(value, str) and value in TOO_COARSE:
        return f"{value} cannot be built for tiles of 96 pixels: {TOO_COARSE[value]}. Choose another."
    near = difflib.get_close_matches(str(value), known, n=3) if len(known) > MOST_SHOWN else []
    more = ["a classification network of torchvision such as 'densenet121'"] if len(known) > MOST_SHOWN else []
    choices = " or ".join([*map(repr, known[: MOST_SHOWN - 4]), *more])
    return f"expected {choices}, found {value!r}" + (f"; did you mean {' or '.join(near)}?" if near else ".")

"""Write what is generated from the types of the settings: the JSON schema and the tables of config/README.md.

PYTHONPATH=workflow/scripts python -m histo.config
"""

import json
import re
from pathlib import Path

from histo.config.configuration import Configuration
from histo.config.mistakes import Schema, allowed, resolved
from histo.config.train import TrainSettings

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
README = ROOT / "config" / "README.md"
Row = tuple[str, str, str, str]  # setting, default, allowed values, description
BLOCK = re.compile(r"(?<=<!-- settings: begin -->\n).*?(?=<!-- settings: end -->)", re.DOTALL)


def schema() -> Schema:
    """Return the JSON schema of a configuration file. Any part of one may be missing, since files are merged."""
    root = Configuration.model_json_schema()
    model = TrainSettings.model_json_schema(ref_template="#/$defs/{model}")
    root["$defs"] |= model.pop("$defs") | {"Model": model}
    model["properties"]["search"] = {"type": "string", "description": "Search whose best settings the model takes"}
    for holder, key in (("models", "patternProperties"), ("search", "patternProperties")):
        patterns = root["properties"][holder][key]
        if holder == "models":
            root["properties"][holder][key] = {pattern: {"$ref": "#/$defs/Model"} for pattern in patterns}
    root["$defs"]["Search"]["properties"]["settings"] = {"$ref": "#/$defs/Model"}
    for part in (root, *root["$defs"].values()):
        part.pop("required", None)
        for setting in part.get("properties", {}).values():
            if "oneOf" in setting:
                setting["anyOf"] = setting.pop("oneOf")
                setting.pop("discriminator")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def tables() -> str:
    """Return a Markdown table for each section: setting, default, allowed values, description."""
    root = Configuration.model_json_schema()
    parts = []
    for section, part in root["properties"].items():
        rows = [
            f"| `{name}` | {default} | {values} | {text} |"
            for name, default, values, text in _rows(section, part, root)
        ]
        head = [f"### `{section}`", "", f"{part['description']}.", ""]
        parts.append(
            "\n".join([*head, "| setting | default | allowed | description |", "|---|---|---|---|", *rows, ""])
        )
    return "\n" + "\n".join(parts)


def _rows(name: str, schema: Schema, root: Schema) -> list[Row]:
    """Return the rows of a setting, or of all settings below it."""
    schema = resolved(schema, root)
    inner = next(iter(schema.get("patternProperties", {}).values()), None)
    members = schema.get("oneOf") or [one for one in schema.get("anyOf", ()) if "$ref" in one]
    if inner is not None:
        inner = resolved(inner, root)
        below = inner if "properties" in inner or "oneOf" in inner else None
        if below:
            return _rows(f"{name}.<name>", below, root)
        return [(f"{name}.<name>", "", "settings of `train`", "Settings that differ from `train`, or `search`")]
    if members:
        return _union_rows(name, schema, [_rows(name, one, root) for one in members])
    if "properties" in schema:
        return [row for key, part in schema["properties"].items() for row in _rows(f"{name}.{key}", part, root)]
    default = f"`{json.dumps(schema['default'], ensure_ascii=False)}`" if "default" in schema else ""
    values = allowed(schema, root).replace("|", "\\|")
    return [(name, default, values, f"{schema.get('description', '')}")]


def _union_rows(name: str, schema: Schema, members: list[list[Row]]) -> list[Row]:
    """Return the rows of a setting that is one of several kinds: one row for the choice, then those of each kind."""
    if "discriminator" not in schema:
        return [row for rows in members for row in rows]
    choice = f"{name}.{schema['discriminator']['propertyName']}"
    kinds = [next(row for row in rows if row[0] == choice) for rows in members]
    labels = [text if " or " in values else f"`{values.strip(chr(39))}`" for _, _, values, text in kinds]
    default = next((default for _, default, _, _ in kinds if default), "")
    text = "; ".join(f"{values.replace(' or ', ', ')}: {text}" for _, _, values, text in kinds)
    found = [(choice, default, " or ".join(values for _, _, values, _ in kinds), text)]
    for label, rows in zip(labels, members, strict=True):
        for key, default, values, description in rows:
            shared = all(any(other[0] == key for other in rows) for rows in members)
            found.append((key, default, values, description if shared else f"{description} ({label})"))
    return list(dict.fromkeys(row for k, row in enumerate(found) if k == 0 or row[0] != choice))


def main() -> None:
    SCHEMA.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
    README.write_text(BLOCK.sub(lambda _: tables(), README.read_text()))


if __name__ == "__main__":
    main()

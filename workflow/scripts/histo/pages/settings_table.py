"""The settings of models side by side, with a mark where they differ from the default."""

from typing import Any

from markupsafe import Markup

MISSING = "–"  # in the table


def settings_table(
    models: dict[str, dict[str, Any]], defaults: dict[str, dict[str, Any]]
) -> list[tuple[str, list[str]]]:
    """Return (setting, its value in each model) without settings that are off in all models.

    A mapping becomes one line of text. A setting that a model does not have is MISSING there. Values that differ from
    those of the model in `defaults` are marked; settings without a default are not.
    """

    def as_text(value: Any, usual: Any) -> str:
        if isinstance(value, dict):
            known = usual if isinstance(usual, dict) and usual.get("name") == value.get("name") else {}
            shown = [
                Markup("{}{}").format("" if k == "name" else f"{k} ", as_text(v, known.get(k, v)))
                for k, v in value.items()
                if v or (k in known and v != known[k])
            ]
            text: str = Markup(", ").join(shown) or "off"
            differs = isinstance(usual, dict) and not known
        else:
            text = (
                {True: "on", False: "off"}[value] if isinstance(value, bool) else str("off" if value is None else value)
            )
            differs = value != usual
        return Markup('<mark title="differs from the default">{}</mark>').format(text) if differs else text

    keys = dict.fromkeys(key for settings in models.values() for key in settings)
    table = []
    for key in keys:
        values = {name: settings[key] for name, settings in models.items() if key in settings}
        usual = {name: defaults.get(name, {}).get(key, value) for name, value in values.items()}
        if any(value or value != usual[name] for name, value in values.items()):
            shown = {name: as_text(value, usual[name]) for name, value in values.items()}
            table.append((key, [shown.get(name, MISSING) for name in models]))
    return table

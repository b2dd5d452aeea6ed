"""Where the kaggle client looks for credentials, what lies there, and texts from which they are removed."""

import base64
import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

TOKENS = "https://www.kaggle.com/settings/api"


@dataclass(frozen=True)
class Place:
    """A place where the client looks for credentials, what is there, and the secrets that no text may show."""

    name: str
    found: bool
    state: str
    secrets: tuple[str, ...] = ()
    is_token: bool = False


def _file_place(path: Path, keys: tuple[str, ...] | None, is_token: bool = False) -> Place:
    """A file with a bare token (`keys` None) or with JSON that holds `keys`."""
    name = str(path)
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return Place(name, False, "not there")
    except (OSError, UnicodeDecodeError) as error:
        return Place(name, False, f"cannot be read ({type(error).__name__})")
    if keys is None:
        return Place(name, bool(text), "there" if text else "empty", (text,), is_token)
    try:
        values = json.loads(text)
        secrets = tuple(values[key] for key in keys)
    except (json.JSONDecodeError, KeyError, TypeError):
        wanted = " and ".join(f'"{key}"' for key in keys)
        return Place(name, False, f"there, but not JSON with {wanted}")
    if keys == ("username", "key"):
        secrets = (secrets[1], base64.b64encode(":".join(secrets).encode()).decode())
    elif values.get("access_token"):
        secrets += (values["access_token"],)
    return Place(name, True, "there", secrets)


def places() -> list[Place]:
    """All places of credentials in the order in which the client tries them."""
    home = Path("~/.kaggle").expanduser()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    folder = os.environ.get("KAGGLE_CONFIG_DIR") or (home if home.exists() else config / "kaggle")

    token = os.environ.get("KAGGLE_API_TOKEN", "")
    named = [token]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        named.append(Path(token).read_text().strip())  # the variable may also name a file that holds the token
    result = []
    if "KAGGLE_API_V1_TOKEN" in os.environ and "KAGGLE_KERNEL_RUN_TYPE" in os.environ:  # in a notebook of Kaggle's
        result.append(_file_place(Path(os.environ["KAGGLE_API_V1_TOKEN"]), None, is_token=True))
    result.append(Place("KAGGLE_API_TOKEN", bool(token), "set" if token else "not set", tuple(named), is_token=True))
    result += [_file_place(home / name, None, is_token=True) for name in ("access_token", "access_token.txt")]

    user, key = os.environ.get("KAGGLE_USERNAME", ""), os.environ.get("KAGGLE_KEY", "")
    state = "set" if user and key else "not both set" if user or key else "not set"
    basic = base64.b64encode(f"{user}:{key}".encode()).decode() if key else ""
    result.append(Place("KAGGLE_USERNAME and KAGGLE_KEY", bool(user and key), state, (key, basic)))
    result.append(_file_place(Path(folder) / "kaggle.json", ("username", "key")))
    result.append(_file_place(home / "credentials.json", ("refresh_token",)))
    return result


def scrub(text: str) -> str:
    """`text` without any credential, a proxy's included, and without the query of addresses, often a signature."""
    for secret in sorted({secret for place in places() for secret in place.secrets if secret}, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"//[^/\s@]+@", "//***@", text)  # a proxy's
    return re.sub(r"(/[^\s?'\"]*)\?[^\s'\"<>)]+", r"\1?***", text)


def how_to_sign_in() -> str:
    """What to do for somebody without usable credentials."""
    return (
        f'Make a token at {TOKENS} ("Generate New Token") and save it as ~/.kaggle/access_token (then chmod 600), or '
        "set KAGGLE_API_TOKEN to it. Without an account: `make demo`. With an archive downloaded in the browser: "
        "dataset.source: archive."
    )

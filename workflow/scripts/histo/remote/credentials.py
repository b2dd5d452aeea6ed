"""The sources of Kaggle credentials, and the removal of credentials from text."""

import base64
import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

TOKEN_PAGE = "https://www.kaggle.com/settings/api"


@dataclass(frozen=True)
class CredentialSource:
    """An environment variable or file in which the kaggle client looks for credentials.

    name: the variable or path. found: whether it holds credentials. state: its content in words, without secrets.
    secrets: the values that no text may show. is_token: whether it holds an access token rather than a key.
    """

    name: str
    found: bool
    state: str
    secrets: tuple[str, ...] = ()
    is_token: bool = False


def _file_source(path: Path, keys: tuple[str, ...] | None, is_token: bool = False) -> CredentialSource:
    """A file that should hold JSON with `keys`, or a bare token where `keys` is None."""
    name = str(path)
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return CredentialSource(name, False, "not found")
    except (OSError, UnicodeDecodeError) as error:
        return CredentialSource(name, False, f"cannot be read ({type(error).__name__})")
    if keys is None:
        return CredentialSource(name, bool(text), "found" if text else "empty", (text,), is_token)
    try:
        values = json.loads(text)
        secrets = tuple(values[key] for key in keys)
    except (json.JSONDecodeError, KeyError, TypeError):
        expected = " and ".join(f'"{key}"' for key in keys)
        return CredentialSource(name, False, f"found, but it is not JSON with {expected}")
    if keys == ("username", "key"):
        secrets = (secrets[1], base64.b64encode(":".join(secrets).encode()).decode())
    elif values.get("access_token"):
        secrets += (values["access_token"],)
    return CredentialSource(name, True, "found", secrets)


def credential_sources() -> list[CredentialSource]:
    """All sources of credentials in the order in which the kaggle client tries them."""
    # Path.expanduser raises an error for a user without a home folder.
    home = Path(os.path.expanduser("~/.kaggle"))
    config = Path(os.path.expanduser(os.environ.get("XDG_CONFIG_HOME") or "~/.config"))
    folder = os.environ.get("KAGGLE_CONFIG_DIR") or (home if home.exists() else config / "kaggle")

    token = os.environ.get("KAGGLE_API_TOKEN", "")
    secrets = [token]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        secrets.append(Path(token).read_text().strip())  # the variable may also hold the path of a file with the token
    sources = []
    if "KAGGLE_API_V1_TOKEN" in os.environ and "KAGGLE_KERNEL_RUN_TYPE" in os.environ:  # in a Kaggle notebook
        sources.append(_file_source(Path(os.environ["KAGGLE_API_V1_TOKEN"]), None, is_token=True))
    state = "set" if token else "not set"
    sources.append(CredentialSource("KAGGLE_API_TOKEN", bool(token), state, tuple(secrets), is_token=True))
    sources += [_file_source(home / name, None, is_token=True) for name in ("access_token", "access_token.txt")]

    user, key = os.environ.get("KAGGLE_USERNAME", ""), os.environ.get("KAGGLE_KEY", "")
    state = "set" if user and key else "only one is set" if user or key else "not set"
    basic = base64.b64encode(f"{user}:{key}".encode()).decode() if key else ""
    sources.append(CredentialSource("KAGGLE_USERNAME and KAGGLE_KEY", bool(user and key), state, (key, basic)))
    sources.append(_file_source(Path(folder) / "kaggle.json", ("username", "key")))
    sources.append(_file_source(home / "credentials.json", ("refresh_token",)))
    return sources


def scrub(text: str) -> str:
    """Replace all credentials in `text` by ***: those of Kaggle, those of a proxy, and the query of each address.

    The query of an address is often a signature that grants access.
    """
    secrets = {secret for source in credential_sources() for secret in source.secrets if secret}
    # Of a secret with a line break a message shows single lines, or escapes as `repr` writes them.
    secrets |= {repr(secret)[1:-1] for secret in secrets}
    secrets |= {line for secret in secrets for line in secret.splitlines() if len(line) >= 8}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"//[^/\s@]+@", "//***@", text)  # user and password of a proxy
    return re.sub(r"(/[^\s?'\"]*)\?[^\s'\"<>)]+", r"\1?***", text)


def sign_in_help() -> str:
    """Tell a user without valid credentials what to do."""
    return (
        f'Create a token at {TOKEN_PAGE} ("Generate New Token") and save it as ~/.kaggle/access_token (then chmod '
        "600), or set KAGGLE_API_TOKEN to it. Without an account, run `make demo`. With an archive that you downloaded "
        "in a browser, set dataset.source: archive."
    )

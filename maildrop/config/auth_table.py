"""What a person writes about who we are to a relay: ``[relays.NAME.auth]`` and the ``oauth`` table in it.

Which keys belong together is `maildrop.config.credentials`'s and `tokens`'s to judge.
"""

from __future__ import annotations

from typing import Annotated

from maildrop.config.values import Command, Loose, Path, PlainText, Texts
from maildrop.schema import Field, Model
from maildrop.smtp import ClientAuthentication, Flow

_CREDENTIAL = Field(description="name of a systemd credential")
_FILE = Field(description="file, readable by the daemon alone")
_COMMAND = Field(description="program that prints it; no shell")
_VARIABLE = Field(description="environment variable")


class OAuthTable(Model):
    """``[relays.NAME.auth.oauth]``: how to get the token that stands for a password (extra oauth)."""

    flow: Annotated[Flow, Loose, Field(description="client_credentials, refresh_token or jwt_bearer")]
    tenant: Annotated[PlainText | None, Field(description="of Microsoft 365, for token_url: id or domain")] = None
    token_url: Annotated[PlainText | None, Field(description="where tokens are issued; https")] = None
    client_id: Annotated[PlainText | None, Field(description="of the registered application")] = None
    client_secret_credential: Annotated[Path | None, _CREDENTIAL] = None
    client_secret_file: Annotated[Path | None, _FILE] = None
    client_secret_command: Annotated[Command | None, _COMMAND] = None
    client_secret_env: Annotated[str | None, _VARIABLE] = None
    client_authentication: Annotated[
        ClientAuthentication, Loose, Field(description="the client secret goes by post (form) or basic (header)")
    ] = ClientAuthentication.POST
    scope: Annotated[Texts, Field(description="what the token shall allow")] = []
    refresh_token_credential: Annotated[Path | None, _CREDENTIAL] = None
    refresh_token_file: Annotated[
        Path | None, Field(description="file of the daemon alone; a new token replaces the one in it")
    ] = None
    refresh_token_command: Annotated[Command | None, _COMMAND] = None
    refresh_token_env: Annotated[str | None, _VARIABLE] = None
    private_key_credential: Annotated[Path | None, _CREDENTIAL] = None
    private_key_file: Annotated[Path | None, Field(description="JSON of a service account, or PEM")] = None
    private_key_command: Annotated[Command | None, _COMMAND] = None
    private_key_env: Annotated[str | None, _VARIABLE] = None
    subject: Annotated[PlainText | None, Field(description="for whom the service account acts; else user")] = None
    ca_file: Annotated[Path | None, Field(description="certificates to trust instead of the system's")] = None


class AuthTable(Model):
    """``[relays.NAME.auth]``: who we are there; the password comes from exactly one place, or a token stands for it."""

    user: Annotated[PlainText, Field(description="user name; with oauth the mailbox")] = ""
    password_credential: Annotated[Path | None, _CREDENTIAL] = None
    password_file: Annotated[Path | None, _FILE] = None
    password_command: Annotated[Command | None, _COMMAND] = None
    password_env: Annotated[str | None, _VARIABLE] = None
    mechanisms: Annotated[Texts, Field(description="only these, e.g. PLAIN, LOGIN")] = []
    plaintext: Annotated[bool, Field(description="allow AUTH without TLS; only for a loopback host")] = False
    oauth: OAuthTable | None = None

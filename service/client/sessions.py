"""Sessions: how a browser asks without holding the key."""

from service.client.connection import Connection
from service.keys.schemas import KeyView
from service.sessions.schemas import NewSession


class AsyncSessions:
    """Sessions of the key; a session's secret takes the place of a key in every call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin(self) -> NewSession:
        """Begins a session of thirty days."""
        return NewSession.model_validate(await self._connection.json("POST", "/v1/sessions"))

    async def link(self) -> NewSession:
        """Makes a link: a secret that `exchange` takes once, within the hour."""
        return NewSession.model_validate(await self._connection.json("POST", "/v1/sessions/links"))

    async def exchange(self, link: str) -> NewSession:
        """Begins a session by a link, whoever asks. Raises ProblemError where it is used up or too old."""
        return NewSession.model_validate(
            await self._connection.json("POST", "/v1/sessions/exchange", body={"link": link})
        )

    async def end(self) -> None:
        """Makes the session that asks useless."""
        await self._connection.json("DELETE", "/v1/sessions")

    async def own_key(self) -> KeyView:
        """Returns the key that asks, or that the session stands for."""
        return KeyView.model_validate(await self._connection.json("GET", "/v1/keys/own"))

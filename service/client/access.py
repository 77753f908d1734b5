"""Keys, projects and the audit: who may do what, and who did."""

from service.audit.schemas import AuditPage, AuditView
from service.client.connection import Connection
from service.keys.roles import Role
from service.keys.schemas import DAY_S, KeyRequest, KeyView, NewKey, Rotation
from service.projects.schemas import ProjectPatch, ProjectView


class AsyncKeys:
    """API keys. Admins manage all of them; a user lists, rotates and revokes their own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        name: str,
        role: Role = Role.USER,
        *,
        owner: str | None = None,
        project: str | None = None,
        cluster: str | None = None,
        expires_in_s: float | None = None,
    ) -> NewKey:
        """Creates a key; its secret is in the answer and is not shown again."""
        asked = KeyRequest(
            name=name, role=role, owner=owner, project=project, cluster=cluster, expires_in_s=expires_in_s
        )
        body = asked.model_dump(mode="json", exclude_defaults=True)
        return NewKey.model_validate(await self._connection.json("POST", "/v1/keys", body=body))

    async def list(
        self, *, owner: str | None = None, role: Role | None = None, project: str | None = None, all: bool = False
    ) -> list[KeyView]:
        """Keys that work, newest first; with `all` also those that do no longer."""
        query = {"owner": owner, "role": role, "project": project, "all": all or None}
        answer = await self._connection.json("GET", "/v1/keys", query=query)
        return [KeyView.model_validate(key) for key in answer["data"]]

    async def revoke(self, key_id: str) -> KeyView:
        """Makes the key useless at once."""
        return KeyView.model_validate(await self._connection.json("DELETE", f"/v1/keys/{key_id}"))

    async def revoke_owner(self, owner: str) -> "list[str]":
        """Makes every key of that owner useless; the keys' ids."""
        answer = await self._connection.json("DELETE", "/v1/keys", query={"owner": owner})
        return answer["revoked"]

    async def rotate(self, key_id: str, overlap_s: float = DAY_S, expires_in_s: float | None = None) -> NewKey:
        """Creates a key in the place of that one, which works for `overlap_s` more."""
        body = Rotation(overlap_s=overlap_s, expires_in_s=expires_in_s).model_dump(mode="json", exclude_defaults=True)
        return NewKey.model_validate(await self._connection.json("POST", f"/v1/keys/{key_id}/rotate", body=body))


class AsyncProjects:
    """Projects: what jobs and keys belong to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, name: str) -> ProjectView:
        """Creates a project."""
        return ProjectView.model_validate(await self._connection.json("POST", "/v1/projects", body={"name": name}))

    async def list(self) -> list[ProjectView]:
        """Lists the projects that the key sees."""
        answer = await self._connection.json("GET", "/v1/projects")
        return [ProjectView.model_validate(project) for project in answer["data"]]

    async def limit(self, name: str, **limits: float | None) -> ProjectView:
        """Gives the project limits of its own (see `ProjectPatch`); None goes back to the settings'."""
        body = ProjectPatch.model_validate(limits).model_dump(mode="json", exclude_unset=True)
        return ProjectView.model_validate(await self._connection.json("PATCH", f"/v1/projects/{name}", body=body))

    async def archive(self, name: str) -> ProjectView:
        """Lets the project take no more jobs and keys; what it has stays."""
        return await self._act(name, "archive")

    async def restore(self, name: str) -> ProjectView:
        """Lets an archived project take jobs and keys again."""
        return await self._act(name, "restore")

    async def _act(self, name: str, verb: str) -> ProjectView:
        answer = await self._connection.json("POST", f"/v1/projects/{name}/{verb}", safe=True)
        return ProjectView.model_validate(answer)


class AsyncAudit:
    """The record of who changed what; for admins."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def page(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        project: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> AuditPage:
        """Returns one page of changes, newest first; the next one begins `before` its `next_cursor`.

        `action`: a noun (`key`) or noun and verb (`key.revoke`).
        """
        query = {"actor": actor, "action": action, "target": target, "project": project, "before": before}
        return AuditPage.model_validate(
            await self._connection.json("GET", "/v1/audit", query={**query, "limit": limit})
        )

    async def list(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        project: str | None = None,
        limit: int = 100,
    ) -> list[AuditView]:
        """Lists the newest `limit` changes, newest first; filters as in `page`."""
        found: list[AuditView] = []
        before: int | None = None
        while len(found) < limit:
            most = min(1000, limit - len(found))
            page = await self.page(
                actor=actor, action=action, target=target, project=project, before=before, limit=most
            )
            found += page.data
            before = page.next_cursor
            if not page.has_more:
                break
        return found

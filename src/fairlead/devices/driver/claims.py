"""ResourceClaims as the API has them at the moment of a call."""

from __future__ import annotations

import asyncio
from typing import Final

from fairlead.devices.errors import ClaimError
from fairlead.devices.vendor import ClaimReference
from fairlead.kube import ApiError, Client, CredentialsError, NotFound, Unreachable
from fairlead.kube.kinds import RESOURCE_CLAIMS
from fairlead.kube.objects import ResourceClaim

READ_LIMIT_S: Final = 10.0


class ClaimUnreadable(ClaimError):
    """The API did not answer, which says nothing about the claim."""


class ClaimReader:
    """Reads claims one by one. No copy is kept: what a claim has been allocated must be what it has now, and one read
    costs a millisecond or two."""

    def __init__(self, client: Client, *, limit_s: float = READ_LIMIT_S) -> None:
        self._client = client
        self._limit_s = limit_s

    async def read(self, claim: ClaimReference) -> ResourceClaim | None:
        """The object of that name, whatever its UID; None where there is none. Raises ClaimUnreadable."""
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._client.get(RESOURCE_CLAIMS, claim.name, claim.namespace)
        except NotFound:
            return None
        except TimeoutError:
            raise ClaimUnreadable(
                f"claim {claim}: the API server did not answer within {self._limit_s:g} s; try again later"
            ) from None
        except (ApiError, Unreachable, CredentialsError) as error:
            raise ClaimUnreadable(f"claim {claim} cannot be read: {error}") from error

    async def is_ours(self, claim: ClaimReference, driver: str, pool: str) -> bool:
        """Whether the claim exists and holds a device of this driver here. Raises ClaimUnreadable."""
        found = await self.read(claim)
        if found is None or found.metadata.uid != claim.uid:
            return False
        return is_allocated_from(found, driver, pool)

    async def allocated_from(self, driver: str, pool: str) -> list[ResourceClaim]:
        """All claims that hold a device of this driver in this pool. Raises ClaimUnreadable."""
        try:
            found = await self._client.list(RESOURCE_CLAIMS)
        except (ApiError, Unreachable, CredentialsError, TimeoutError) as error:
            raise ClaimUnreadable(f"claims cannot be listed: {error}") from error
        return [claim for claim in found.items if is_allocated_from(claim, driver, pool)]


def is_allocated_from(claim: ResourceClaim, driver: str, pool: str) -> bool:
    allocation = claim.status.allocation
    if allocation is None or allocation.devices is None:
        return False
    return any(result.driver == driver and result.pool == pool for result in allocation.devices.results)

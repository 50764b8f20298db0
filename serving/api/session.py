"""A browser's way in: a key given once becomes a cookie that scripts cannot read."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from serving.api import problems
from serving.api.authentication import COOKIE, authenticated, brought_key
from serving.api.problems import documented


def routes() -> APIRouter:
    """Return the routes that begin and end a browser's session."""
    router = APIRouter(prefix="/session", tags=["session"])

    @router.post(
        "",
        status_code=204,
        responses=documented(problems.UNAUTHENTICATED, problems.RATE_LIMITED),
    )
    async def begin(request: Request, _key: Annotated[None, Depends(authenticated)]) -> Response:
        """Keep the key of this request in a cookie, with which this site's pages may read."""
        answer = Response(status_code=204)
        key = brought_key(request.scope) or ""
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    @router.delete("", status_code=204, responses=documented(problems.RATE_LIMITED))
    async def end() -> Response:
        """Forget the cookie."""
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
        return answer

    return router

"""Two thousand jobs at once."""

from __future__ import annotations

import asyncio

import aiohttp

JOBS = 2000


def test_two_thousand_jobs(emulator, photos):
    emulator.reset(latency="uniform:1:3", credits=1000)
    image, key = emulator.add_image(photos / "cat.jpg"), emulator.api_key

    async def main() -> list[str]:
        connector = aiohttp.TCPConnector(limit=16)  # aiohttp: the client must use less CPU than the emulator
        async with aiohttp.ClientSession(emulator.url, headers={"x-api-key": key}, connector=connector) as http:

            async def submit(number: int) -> str:
                async with http.post("/v2/esrgan", json={"image": image, "scale": (2, 4)[number % 2]}) as response:
                    assert response.status == 200, await response.text()
                    return str((await response.json())["request_id"])

            async def status(request_id: str) -> str:
                async with http.get(f"/v2/requests/{request_id}/status") as response:
                    return str((await response.json())["status"])

            ids = await asyncio.gather(*map(submit, range(JOBS)))
            emulator.advance(3)
            await asyncio.to_thread(lambda: emulator.stats)  # waits for the pixel work
            return await asyncio.gather(*map(status, ids))

    assert asyncio.run(main()) == ["COMPLETED"] * JOBS
    stats = emulator.stats
    assert (stats.submits_accepted, stats.billed, stats.polls) == (JOBS, JOBS, JOBS)
    assert stats.credits_spent == JOBS * 0.005
    assert len({request.request_id for request in emulator.requests}) == JOBS

"""Two thousand jobs at once."""

from __future__ import annotations

import asyncio

import httpx

JOBS = 2000


def test_two_thousand_jobs(emulator, photos):
    emulator.reset(latency="uniform:1:3", credits=1000)
    image = emulator.add_picture(photos / "cat.jpg")

    async def main() -> list[str]:
        limits = httpx.Limits(max_connections=16)
        async with httpx.AsyncClient(
            base_url=emulator.url, headers={"x-api-key": emulator.api_key}, limits=limits, verify=False
        ) as http:
            gate = asyncio.Semaphore(16)

            async def submit(number: int) -> str:
                async with gate:
                    body = {"image": image, "scale": (2, 4)[number % 2]}
                    answer = await http.post("/v2/esrgan", json=body)
                assert answer.status_code == 200, answer.text
                return str(answer.json()["request_id"])

            async def status(request_id: str) -> str:
                async with gate:
                    answer = await http.get(f"/v2/requests/{request_id}/status")
                return str(answer.json()["status"])

            ids = await asyncio.gather(*map(submit, range(JOBS)))
            emulator.advance(3)
            await asyncio.to_thread(lambda: emulator.stats)  # lets the pixel work end
            return await asyncio.gather(*map(status, ids))

    assert asyncio.run(main()) == ["COMPLETED"] * JOBS
    stats = emulator.stats
    assert (stats.submits_accepted, stats.billed, stats.polls) == (JOBS, JOBS, JOBS)
    assert stats.credits_spent == JOBS * 0.005
    assert len({request.request_id for request in emulator.requests}) == JOBS

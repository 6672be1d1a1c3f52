"""
Make thumbnails and a contact sheet of upscaled images as soon as they are stored.

The DAG is scheduled on the asset alias ``segmind_upscaled``. The example ``segmind_daily_folder`` emits one event of
this alias for each image that it stores. A run receives all events since the previous run, so it can get one image or
a hundred. It writes a thumbnail of each image to ``thumbnails/`` beside the image, and a sheet of all thumbnails of
the folder to ``contact-sheet.jpg``. A run that you start by hand takes the images of the last day (Airflow 3.2 and
later).

``extra["uri"]`` of an event is the URI of the image, with its Airflow connection, so ``ObjectStoragePath`` opens it.

Set up: enable ``segmind_daily_folder``. This DAG needs no connection to Segmind, only Pillow in the workers.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import AssetAlias, ObjectStoragePath, Param, dag, task

UPSCALED = AssetAlias("segmind_upscaled")


@dag(
    schedule=[UPSCALED],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    max_active_runs=1,  # two runs at once would write the same sheet
    params={
        "width": Param(240, type="integer", minimum=16, description="Pixels of a thumbnail's longer side"),
        "columns": Param(4, type="integer", minimum=1, description="Thumbnails in a row of the sheet"),
    },
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_contact_sheet() -> None:
    @task(inlets=[UPSCALED])
    def list_new(triggering_asset_events: Any = None, inlet_events: Any = None) -> list[str]:
        """Return the URIs of the images whose events started this run."""
        events = [event for found in triggering_asset_events.values() for event in found]
        if not events:
            events = list(inlet_events[UPSCALED].after(pendulum.now("UTC").subtract(days=1).isoformat()))
        return sorted({str(event.extra["uri"]) for event in events})

    @task(retries=3)
    def make_thumbnail(uri: str, params: Any = None) -> str:
        """Write a thumbnail of an image, and return its folder."""
        import io

        from PIL import Image

        path, small = ObjectStoragePath(uri), io.BytesIO()
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.thumbnail((params["width"], params["width"]))
            image.convert("RGB").save(small, "JPEG")
        folder = path.parent / "thumbnails"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{path.stem}.jpg").write_bytes(small.getvalue())
        return str(folder)

    @task(retries=3)
    def make_sheets(folders: Any, params: Any = None) -> list[str]:
        """Write one sheet of all thumbnails of each folder, and return the URIs of the sheets."""
        import io

        from PIL import Image

        side, columns, sheets = params["width"], params["columns"], []
        for folder in map(ObjectStoragePath, sorted(set(folders))):
            files = sorted((file for file in folder.iterdir() if file.suffix == ".jpg"), key=str)
            rows = -(-len(files) // columns)
            sheet = Image.new("RGB", (side * min(columns, len(files)), side * rows), "white")
            for number, file in enumerate(files):
                row, column = divmod(number, columns)
                with Image.open(io.BytesIO(file.read_bytes())) as small:
                    room = (side - small.width) // 2, (side - small.height) // 2
                    sheet.paste(small, (column * side + room[0], row * side + room[1]))
            content = io.BytesIO()
            sheet.save(content, "JPEG")
            target = folder.parent / "contact-sheet.jpg"
            target.write_bytes(content.getvalue())
            sheets.append(str(target))
        return sheets

    make_sheets(make_thumbnail.expand(uri=list_new()))


segmind_contact_sheet()

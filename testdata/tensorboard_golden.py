"""An event file written by TensorBoard's own classes, for the tests of selfie-report.

    python testdata/tensorboard_golden.py crates/selfie-report/tests/golden

Needs tensorboard and pillow. Writes events.tfevents and pixel.png.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (1, 1), (255, 0, 0)).save(folder / "pixel.png")
    pixel = (folder / "pixel.png").read_bytes()
    table = "| a |\n|---|\n| ± |"
    text = TensorProto(
        dtype=7, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]), string_val=[table.encode()]
    )
    plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    image = Summary.Image(height=1, width=1, colorspace=3, encoded_image_string=pixel)
    scalars = [Summary.Value(tag="loss", simple_value=1.5), Summary.Value(tag="time/images_per_s", simple_value=1e3)]
    events = [
        Event(wall_time=1.5, file_version="brain.Event:2"),
        Event(wall_time=1.5, step=1, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=2.5, step=300, summary=Summary(value=scalars)),
        Event(wall_time=3.5, step=300, summary=Summary(value=[Summary.Value(tag="pictures/pixel", image=image)])),
        Event(
            wall_time=4.5,
            step=0,
            summary=Summary(value=[Summary.Value(tag="study/text_summary", tensor=text, metadata=plugin)]),
        ),
    ]
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    (folder / "events.tfevents").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()

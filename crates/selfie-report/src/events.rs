//! TensorBoard's event files: framed records, each a protocol buffer `Event`.
//!
//! Written by hand: a framed record is two lengths and two checksums, and of `Event` we need six fields. The formats are those
//! of tensorflow/core/lib/io/record_writer.cc, util/event.proto and framework/summary.proto; `testdata/tensorboard_check.py`
//! reads the result with TensorBoard itself.

use crate::png;
use crate::series::numbers;

mod wire;

#[cfg(test)]
mod tests;

use wire::Message;

/// What every event file begins with.
///
/// - `wall_time`: seconds since 1970
#[must_use]
pub fn header(wall_time: f64) -> Vec<u8> {
    event(wall_time, 0, |event| event.text(3, "brain.Event:2"))
}

/// Tells a TensorBoard that has read another file of the run to forget steps from `step` on.
#[must_use]
pub fn start(wall_time: f64, step: u64) -> Vec<u8> {
    let mut session = Message::default();
    session.number(1, 1); // SessionLog.START
    event(wall_time, step, |event| event.message(7, &session))
}

/// The numbers of a line of `metrics.jsonl`, and the seconds that its step took; `None` for a line without numbers.
#[must_use]
pub fn metrics_line(wall_time: f64, line: &str) -> Option<Vec<u8>> {
    let (step, numbers) = numbers(line)?;
    if numbers.is_empty() {
        return None;
    }
    let mut summary = Message::default();
    for (name, number) in numbers {
        let mut value = Message::default();
        value.text(1, &name);
        value.float(2, number as f32);
        summary.message(1, &value);
    }
    Some(event(wall_time, step, |event| event.message(5, &summary)))
}

/// A picture. `None` if `bytes` are no PNG file.
#[must_use]
pub fn picture(wall_time: f64, step: u64, tag: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let (width, height) = png::size(bytes)?;
    let mut image = Message::default();
    image.number(1, u64::from(height));
    image.number(2, u64::from(width));
    image.number(3, 3); // RGB
    image.bytes(4, bytes);
    let mut value = Message::default();
    value.text(1, tag);
    value.message(4, &image);
    Some(summary_event(wall_time, step, &value))
}

/// Markdown, which TensorBoard's text tab shows.
#[must_use]
pub fn markdown(wall_time: f64, step: u64, tag: &str, text: &str) -> Vec<u8> {
    let mut plugin = Message::default();
    plugin.text(1, "text");
    let mut metadata = Message::default();
    metadata.message(1, &plugin);
    let mut dimension = Message::default();
    dimension.number(1, 1);
    let mut shape = Message::default();
    shape.message(2, &dimension);
    let mut tensor = Message::default();
    tensor.number(1, 7); // DT_STRING
    tensor.message(2, &shape);
    tensor.text(8, text);
    let mut value = Message::default();
    value.text(1, tag);
    value.message(8, &tensor);
    value.message(9, &metadata);
    summary_event(wall_time, step, &value)
}

fn summary_event(wall_time: f64, step: u64, value: &Message) -> Vec<u8> {
    let mut summary = Message::default();
    summary.message(1, value);
    event(wall_time, step, |event| event.message(5, &summary))
}

fn event(wall_time: f64, step: u64, what: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, wall_time);
    // A number that is 0 is left out, as in every protocol buffer.
    if step > 0 {
        event.number(2, step);
    }
    what(&mut event);
    wire::record(&event)
}

//! The size that a PNG file says it has: TensorBoard and the page ask for it beside the bytes.

/// Width and height in pixels; `None` if the bytes do not begin as a PNG file does.
pub(crate) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    // The first chunk: its length, its name, width, height.
    let (_, header) = header.split_at_checked(4)?;
    let header = header.strip_prefix(b"IHDR")?;
    let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some((number(0)?, number(4)?))
}

//! Whether a JPEG file goes on to its end.

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

/// Walks the segments and scans to the end marker: a file that was cut off has none. A thumbnail's own end, inside of a
/// segment, does not count.
pub(super) fn require_end(bytes: &[u8]) -> Result<(), String> {
    let cut_off = || "a JPEG that is cut off".to_owned();
    if !bytes.starts_with(&[0xff, START]) {
        return Err("a JPEG without a beginning".to_owned());
    }
    let mut at = 2;
    loop {
        let (marker, after) = next_marker(bytes, at).ok_or_else(cut_off)?;
        if marker == END {
            return Ok(());
        }
        at = after;
        if has_no_length(marker) {
            continue;
        }
        let length = bytes.get(at..at + 2).ok_or_else(cut_off)?;
        at += usize::from(u16::from_be_bytes([length[0], length[1]]));
        if marker == SCAN {
            at = end_of_scan(bytes, at).ok_or_else(cut_off)?;
        }
    }
}

fn has_no_length(marker: u8) -> bool {
    // Restarts, start, and the one reserved for arithmetic coding.
    matches!(marker, 0xd0..=START | 0x01)
}

/// The next marker and the place behind it; decoders pass over bytes that stand between segments, and so does this.
fn next_marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(from..)?;
    let at = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
    Some((rest[at + 1], from + at + 2))
}

/// Where the next marker stands that does not belong to the scan.
fn end_of_scan(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let ends = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff | 0xd0..=0xd7);
    rest.windows(2).position(ends).map(|at| from + at)
}

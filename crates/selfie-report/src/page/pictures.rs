//! Pictures of runs, inside the page.

use maud::{Markup, html};

use super::RunView;
use crate::png;

/// A picture of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its file's name, without the ending.
    pub name: String,
    /// The PNG file.
    pub bytes: Vec<u8>,
}

/// What the pictures of `selfie show` are, by their names.
const WORDS: [(&str, &str); 7] = [
    ("masked", "hidden patches, and which was chosen for each place"),
    ("mistakes", "the surest mistakes"),
    ("attention", "what the pool token attends to"),
    ("positions", "likeness of the position embeddings"),
    ("filters", "filters of the first convolution"),
    ("neighbours", "images and those nearest to them"),
    ("map", "a map of the embeddings"),
];

/// The pictures of some runs; `part` tells the sections of a page apart.
pub(super) fn section(part: usize, runs: &[&RunView]) -> Markup {
    let with: Vec<&&RunView> = runs.iter().filter(|run| !run.pictures.is_empty()).collect();
    if with.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Pictures" }
            p.quiet { "A click shows a picture in full size." }
            @for (run_idx, run) in with.iter().enumerate() {
                @let of_run = format!("pictures-{part}-{run_idx}");
                h3 id=(of_run) { (run.name) }
                div.pictures {
                    @for (idx, picture) in run.pictures.iter().enumerate() { (figure(&of_run, idx, picture)) }
                }
            }
        }
    }
}

/// Nothing for bytes that are no PNG file. The link shows the same image over the page in full size: a browser opens no
/// `data:` address, and a second copy would double the file.
fn figure(of_run: &str, idx: usize, picture: &Picture) -> Markup {
    let Some((width, height)) = png::size(&picture.bytes) else { return html! {} };
    let words = WORDS.iter().find(|(name, _)| *name == picture.name).map_or(picture.name.as_str(), |(_, words)| *words);
    let id = format!("{of_run}-{idx}");
    html! {
        figure id=(id) style=(format!("--ratio: {:.3}", f64::from(width) / f64::from(height.max(1)))) {
            a href=(format!("#{id}")) title="full size" {
                img src=(format!("data:image/png;base64,{}", base64(&picture.bytes))) alt=(words) width=(width) height=(height);
            }
            figcaption { (words) a.back href=(format!("#{of_run}")) { "back" } }
        }
    }
}

/// Base 64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0u32, |number, i| number << 8 | u32::from(three.get(i).copied().unwrap_or(0)));
        for digit in 0..4 {
            let shown = digit <= three.len();
            text.push(if shown { char::from(DIGITS[(number >> (18 - 6 * digit) & 63) as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_standard() {
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(cases, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }
}

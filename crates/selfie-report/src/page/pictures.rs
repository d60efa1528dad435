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

pub(super) fn section(runs: &[&RunView]) -> Markup {
    let with: Vec<&&RunView> = runs.iter().filter(|run| !run.pictures.is_empty()).collect();
    if with.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Pictures" }
            @for run in with {
                h3 { (run.name) }
                div.pictures { @for picture in &run.pictures { (figure(picture)) } }
            }
        }
    }
}

/// Nothing for bytes that are no PNG file.
fn figure(picture: &Picture) -> Markup {
    let Some((width, height)) = png::size(&picture.bytes) else { return html! {} };
    html! {
        figure {
            img src=(format!("data:image/png;base64,{}", base64(&picture.bytes))) alt=(picture.name) width=(width) height=(height);
            figcaption { (picture.name) }
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

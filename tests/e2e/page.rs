//! The report's page in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::Folder;
use crate::study::STUDY;

/// A function that returns what a browser has to complain of in a page.
const LOOK: &str = include_str!("../../testdata/report_look.js");

/// A Chromium, where there is one.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: no Chromium in PATH");
    }
    found
}

/// What Chromium makes of a page, which may log nothing. Its window is never narrower than 500 pixels.
fn shown(chromium: &Path, folder: &Folder, page: &str) -> String {
    fs::write(folder.path("probed.html"), page).unwrap();
    let shown = Command::new(chromium)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .args(["--virtual-time-budget=3000", "--window-size=500,900", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path("chromium").display()))
        .arg(format!("file://{}", folder.path("probed.html").display()))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(dom.contains("</html>"), "Chromium showed nothing: {log}");
    assert!(!log.contains("CONSOLE"), "the page logs: {log}");
    dom.into_owned()
}

/// A frame as wide as a screen, for a reader who asked for a light or a dark ground.
struct Frame<'a> {
    width: u32,
    scheme: &'a str,
    page: &'a str,
    /// A function of the page: its words, or a list of them.
    script: &'a str,
}

/// What the scripts of the frames say, in no particular order: `390 dark: …`.
fn told(chromium: &Path, folder: &Folder, frames: &[Frame<'_>]) -> Vec<String> {
    let mut page = String::from("<!DOCTYPE html><html><meta charset=\"utf-8\"><body>");
    for Frame { width, scheme, page: framed, script } in frames {
        let script = format!(
            "<script>addEventListener('load', () => {{ const script = {script};
                const told = top.document.createElement('output');
                told.textContent = `{width} {scheme}: ${{[].concat(script()).join('; ')}}`;
                top.document.body.append(told); }});</script></body>"
        );
        let framed = framed.replace("</body>", &script).replace('&', "&amp;").replace('"', "&quot;");
        // A frame's own colour scheme is what its page takes for the reader's wish.
        let style = format!("width: {width}px; height: 900px; border: 0; color-scheme: {scheme}");
        page += &format!("<iframe style=\"{style}\" srcdoc=\"{framed}\"></iframe>");
    }
    let dom = shown(chromium, folder, &(page + "</body></html>"));
    dom.split("<output>").skip(1).filter_map(|told| Some(told.split_once("</output>")?.0.to_owned())).collect()
}

/// Moves the pointer over the first chart, then writes down what only a browser knows.
const PROBE: &str = "<script>
    const svg = document.querySelector('figure.chart svg'); const box = svg.getBoundingClientRect();
    svg.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + box.width / 2, clientY: box.top + 20 }));
    const root = document.documentElement;
    root.dataset.requests = performance.getEntriesByType('resource').filter((entry) => !entry.name.startsWith('data:')).length;
</script></body>";

#[test]
fn report_writes_one_page_that_chromium_shows_without_an_error() {
    let folder = Folder::new();
    folder.run(&format!("{STUDY} --out study")).ends_with(0);
    fs::create_dir(folder.path("study/pretrain-s1/pictures")).unwrap();
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../selfie-report/tests/golden/pixel.png"),
        folder.path("study/pretrain-s1/pictures/<img src=x onerror=alert(1)>.png"),
    )
    .unwrap();
    folder.run("report study --csv --tensorboard").ends_with(0).prints(&[
        "study/pretrain-s1/metrics.csv",
        "study/0.3-scratch-s1/metrics.csv",
        "study/pretrain-s1/pictures/",
    ]);
    folder.run("report study --title <b>Ours</b>").ends_with(0).prints(&["study/report.html"]);
    folder.run("report study study/pretrain-s1 --csv --tensorboard").ends_with(0).prints(&[
        "metrics.csv",
        "tfevents",
        "report.html",
    ]);
    folder.run("report nothing").ends_with(66).says(&["expected a run folder"]);

    let Some(chromium) = chromium() else { return };
    let page = String::from_utf8(folder.bytes("study/report.html")).unwrap();
    let dom = shown(&chromium, &folder, &page.replace("</body>", PROBE));
    assert!(dom.contains("data-requests=\"0\""), "the page asks for other files");
    let tooltip = dom.split("id=\"tooltip\"").nth(1).unwrap();
    assert!(
        tooltip.contains("<div>step ") && !tooltip.starts_with(" role=\"status\" hidden"),
        "no values under the pointer"
    );
    assert!(dom.contains("&lt;b&gt;Ours&lt;/b&gt;") && !dom.contains("<b>Ours"), "the title is text");
    assert!(!dom.contains("<img src=\"x\""), "a picture's name is text");
    assert_eq!(dom.matches("class=\"catch\"").count(), 6, "two fractions × two arms, and two differences");

    // At a desk and on a phone, light and dark.
    let screens = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")];
    let frames = screens.map(|(width, scheme)| Frame { width, scheme, page: &page, script: LOOK });
    let mut told = told(&chromium, &folder, &frames);
    told.sort();
    assert_eq!(told, ["1280 dark: ", "1280 light: ", "390 dark: ", "390 light: "], "complaints");
}

/// The names that two charts show under the pointer at their left and right ends.
const NAMES_AT_THE_ENDS: &str = "() => {
    const names = (title, side) => {
        const figures = [...document.querySelectorAll('figure.chart')];
        const svg = figures.find((one) => one.querySelector('figcaption').textContent === title).querySelector('svg');
        const box = svg.getBoundingClientRect();
        svg.dispatchEvent(new PointerEvent('pointermove', { clientX: box[side], clientY: box.top + 20 }));
        return [...document.querySelectorAll('#tooltip div, #tooltip li')].map((line) => line.textContent.split(':')[0]).join(' ');
    };
    const titles = ['loss, nats', 'spread of held-out embeddings (0: all alike)'];
    return titles.flatMap((title) => ['left', 'right'].map((side) => names(title, side)));
}";

#[test]
fn a_run_has_a_value_under_the_pointer_only_at_steps_that_it_has() {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --set probe.every_steps=10 --out long").ends_with(0);
    folder.run("pretrain tiny.toml --data cifar --set probe.every_steps=5 --steps 8 --out short").ends_with(0);
    folder.run("report long short --out report.html").ends_with(0);
    let Some(chromium) = chromium() else { return };
    let page = String::from_utf8(folder.bytes("report.html")).unwrap();
    let frame = Frame { width: 1280, scheme: "light", page: &page, script: NAMES_AT_THE_ENDS };
    assert_eq!(
        told(&chromium, &folder, &[frame]),
        ["1280 light: step 1 long short; step 20 long; step 5 short; step 20 long"]
    );
}

//! Studies: by several processes at once, killed, watched, reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::program::Folder;

/// Ten runs of twelve steps or fewer.
const STUDY: &str = "study tiny.toml --data cifar --fractions 0.3,0.5 --seeds 2 --learning-rates 0.05";

/// The rows of a study's table.
fn fractions(folder: &Folder, study: &str) -> Value {
    let table: Value = serde_json::from_slice(&folder.bytes(&format!("{study}/table.json"))).unwrap();
    table["fractions"].clone()
}

/// The cells of a study's folder, with how often each was begun.
fn begun(folder: &Folder, study: &str) -> BTreeMap<String, usize> {
    let cells = folder.names(study).into_iter().filter(|name| folder.exists(&format!("{study}/{name}/train.log")));
    let begun = |cell: String| {
        let log = String::from_utf8(folder.bytes(&format!("{study}/{cell}/train.log"))).unwrap();
        (cell, log.lines().filter(|line| line.contains("run folder")).count())
    };
    cells.map(begun).collect()
}

#[test]
fn a_study_prints_its_table_and_prints_it_again() {
    let folder = Folder::new();
    let first = folder.run(&format!("{STUDY} --out study")).ends_with(0);
    let first =
        first.prints(&["| pretrained |", "| from scratch |", "paired t", "30 % of the labels", "(n = 2)", "in study"]);
    let first = first.says(&["cell 1 of 9: pretrain-s1", "cell 9 of 9: 0.5-scratch-s2"]);
    let again = folder.run(&format!("{STUDY} --out study")).ends_with(0);
    assert_eq!(again.stdout, first.stdout);
    assert!(!again.stderr.contains("cell "), "nothing is computed again: {}", again.stderr);
    for name in ["table.md", "table.csv", "table.json", "study.json"] {
        assert!(folder.exists(&format!("study/{name}")), "{name} is missing");
    }
    assert_eq!(folder.names("study/claims"), Vec::<String>::new());
    for command in ["evaluate study", "predict study tiny.toml"] {
        let study = folder.run(command).ends_with(66);
        study.says(&["this is a study; give one of the runs in it, such as study/0.", "-s2"]);
    }
    folder.run("embed study tiny.toml --out e.npy").ends_with(66).says(&["such as study/pretrain-s1"]);
    folder.run("study tiny.toml --data cifar --fractions 0.3 --arms best").ends_with(2).says(&["attention-pooling"]);
    let planned = folder.run(&format!("{STUDY} --dry-run --out planned --json")).ends_with(0).json();
    assert_eq!(
        (&planned["n_pretrainings"], &planned["n_trials"], &planned["n_tests"]),
        (&1.into(), &0.into(), &8.into())
    );
    assert!(!folder.exists("planned"));
    let done = folder.run(&format!("{STUDY} --dry-run --out study")).ends_with(0);
    done.prints(&["study: 9 of 9 runs are finished"]);
    let other = folder.run(&format!("{STUDY} --dry-run --out study --set batch=4")).ends_with(78);
    other.prints(&["refused: study is a study with other settings", "finetune.batch: was 8, now 4"]);
    folder.run("study --fractions 0.3").ends_with(2).says(&["RECIPE: expected a recipe, a folder of images as --data"]);
    folder.run("study tiny.toml --data cifar --fractions 0.95 --out other").ends_with(78);
    let of_a_classifier = folder.run("study --from study/0.3-scratch-s1 --data cifar --fractions 0.3 --out other");
    of_a_classifier.ends_with(65).says(&["holds a classifier, expected a pretraining network"]);
    assert!(!folder.exists("other"), "a study that cannot be leaves no folder");
    folder.run("show study").ends_with(66).says(&["this is a study", "pretrain-s1"]);
}

#[test]
fn two_processes_share_a_study_and_compute_every_cell_once() {
    let folder = Folder::new();
    folder.run(&format!("{STUDY} --out twin")).ends_with(0);
    let both = [0, 1].map(|_| folder.start(&format!("{STUDY} --out study")));
    let tables = both.map(|process| process.wait().ends_with(0).stdout);
    assert_eq!(tables[0], tables[1]);
    assert_eq!(fractions(&folder, "study"), fractions(&folder, "twin"));
    let begun = begun(&folder, "study");
    assert_eq!(begun.len(), 9);
    assert!(begun.values().all(|times| *times == 1), "{begun:?}");
}

#[test]
fn a_study_that_was_killed_goes_on_and_ends_with_the_same_table() {
    let folder = Folder::new();
    folder.run(&format!("{STUDY} --out twin")).ends_with(0);
    let mut first = folder.start(&format!("{STUDY} --out study"));
    first.wait_for_steps(&folder.path("study/pretrain-s1"), 1);
    drop(first);
    folder.run("report study --out early.html").ends_with(0);
    let early = String::from_utf8(folder.bytes("early.html")).unwrap();
    assert!(early.contains(" of 8 runs are finished") && early.contains("loss, nats"), "{early}");
    for cell in ["pretrain-s1", "0.3-scratch-s1", "0.5-pretrained-s2"] {
        let mut started = folder.start(&format!("{STUDY} --out study"));
        started.wait_for_steps(&folder.path(&format!("study/{cell}")), 3);
        // Dropping kills it.
        drop(started);
    }
    folder.run(&format!("{STUDY} --out study")).ends_with(0);
    assert_eq!(fractions(&folder, "study"), fractions(&folder, "twin"));
    folder.require_same("study/0.3-scratch-s1", "twin/0.3-scratch-s1");
    folder.require_same("study/0.5-pretrained-s2", "twin/0.5-pretrained-s2");
}

#[test]
fn a_study_starts_from_a_pretraining_that_is_there() {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --out run").ends_with(0);
    let arguments =
        "--fractions 0.3 --seeds 1 --steps 4 --arms linear-probe,attention-pooling --learning-rates 0.01,0.05";
    let study = folder.run(&format!("study --from run {arguments} --out study --json")).ends_with(0).json();
    assert_eq!(study["n_runs"], 2);
    assert!(study["pretrained_from"][0]["path"].as_str().unwrap().ends_with("run/weights.safetensors"));
    assert_eq!(study["fractions"][0]["arms"][0]["trials"].as_array().unwrap().len(), 2);
    assert!(!folder.exists("study/pretrain-s1"));
}

#[test]
fn watch_needs_a_terminal_and_a_run() {
    let folder = Folder::new();
    folder.run("watch nothing").ends_with(2).says(&["expected a terminal", "report"]);
}

/// The dashboard in a real terminal: tmux's.
#[test]
fn watch_draws_in_tmux_and_quits_by_q() {
    let folder = Folder::new();
    let tmux = |arguments: &[&str]| {
        Command::new("tmux").args(["-L", "selfie-test", "-f", "/dev/null"]).args(arguments).output()
    };
    if tmux(&["-V"]).is_err() {
        println!("skipped: tmux is not installed");
        return;
    }
    folder.run("pretrain tiny.toml --data cifar --out run").ends_with(0);
    let session = format!("watch-{}", std::process::id());
    let watch = format!(
        "cd {} && {} watch run; echo ended with $?; sleep 60",
        folder.path(".").display(),
        env!("CARGO_BIN_EXE_selfie")
    );
    let started = tmux(&["new-session", "-d", "-s", &session, "-x", "100", "-y", "30", &watch]).unwrap();
    assert!(started.status.success(), "{started:?}");
    let screen = || String::from_utf8(tmux(&["capture-pane", "-p", "-t", &session]).unwrap().stdout).unwrap();
    let wait_for = |part: &str| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !screen().contains(part) {
            assert!(std::time::Instant::now() < deadline, "no `{part}` in\n{}", screen());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait_for("step 20 of 20");
    wait_for("finished: pretext accuracy");
    tmux(&["send-keys", "-t", &session, "q"]).unwrap();
    wait_for("ended with 0");
    tmux(&["kill-session", "-t", &session]).unwrap();
}

/// A Chromium, where there is one.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// Moves the pointer over the first chart, then writes down what only a browser knows.
const PROBE: &str = "<script>
    const svg = document.querySelector('figure.chart svg'); const box = svg.getBoundingClientRect();
    svg.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + box.width / 2, clientY: box.top + 20 }));
    const root = document.documentElement;
    root.dataset.overflow = root.scrollWidth - root.clientWidth;
    root.dataset.broken = [...document.images].filter((image) => !image.naturalWidth).length;
    const outside = (text) => {
        const [box, frame] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
        return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
    };
    root.dataset.cut = [...document.querySelectorAll('svg text')].filter(outside).length;
    const figures = [...document.querySelectorAll('table.cards td')].filter((cell) => cell.textContent);
    root.dataset.figures = figures.length > 20;
    root.dataset.beside = figures.filter((cell) => cell.getBoundingClientRect().right > innerWidth).length;
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

    let Some(chromium) = chromium() else {
        println!("skipped: no Chromium in PATH");
        return;
    };
    let page = String::from_utf8(folder.bytes("study/report.html")).unwrap().replace("</body>", PROBE);
    fs::write(folder.path("probed.html"), page).unwrap();
    let shown = Command::new(chromium)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
        ])
        .args(["--window-size=500,900", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path("chromium").display()))
        .arg(format!("file://{}", folder.path("probed.html").display()))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(dom.contains("</html>"), "Chromium showed nothing: {log}");
    assert!(!log.contains("CONSOLE"), "the page logs: {log}");
    let root = dom.split('>').find(|part| part.contains("data-overflow")).unwrap();
    for part in [
        "data-overflow=\"0\"",
        "data-broken=\"0\"",
        "data-cut=\"0\"",
        "data-figures=\"true\"",
        "data-beside=\"0\"",
        "data-requests=\"0\"",
    ] {
        assert!(root.contains(part), "no {part} in {root}");
    }
    let tooltip = dom.split("id=\"tooltip\"").nth(1).unwrap();
    assert!(
        tooltip.contains("<div>step ") && !tooltip.starts_with(" role=\"status\" hidden"),
        "no values under the pointer"
    );
    assert!(dom.contains("&lt;b&gt;Ours&lt;/b&gt;") && !dom.contains("<b>Ours"), "the title is text");
    assert!(!dom.contains("<img src=\"x\""), "a picture's name is text");
    assert_eq!(dom.matches("class=\"catch\"").count(), 6, "two fractions × two arms, and two differences");
}

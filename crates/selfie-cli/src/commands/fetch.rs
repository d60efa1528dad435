//! `selfie data fetch`

#[cfg(feature = "fetch")]
pub(crate) use with_network::run;

#[cfg(not(feature = "fetch"))]
pub(crate) fn run(_: &crate::arguments::DataFetch) -> anyhow::Result<u8> {
    Err(crate::output::data(selfie_data::DataError::MissingFeature { feature: "fetch" }))
}

#[cfg(feature = "fetch")]
mod with_network {
    use std::io::IsTerminal as _;
    use std::time::{Duration, Instant};

    use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
    use selfie_data::SetName;
    use selfie_data::fetch::{FetchEvent, Fetched, Remote, fetch};

    use crate::arguments::DataFetch;
    use crate::output;

    /// Time between two lines of progress.
    const INTERVAL: Duration = Duration::from_secs(10);

    pub(crate) fn run(asked: &DataFetch) -> anyhow::Result<u8> {
        let set = crate::choice::set_name("SET", &asked.set)?;
        let is_imagenet = [SetName::Imagenet32, SetName::Imagenet224].contains(&set);
        if asked.hub || (is_imagenet && asked.url.is_none()) {
            return from_hub(asked, set);
        }
        let remote = match &asked.url {
            Some(url) => {
                let checksum = asked.checksum.as_ref().map(|checksum| checksum.parse()).transpose();
                checksum.and_then(|checksum| Remote::new(url, checksum))
            }
            None => Remote::published(set),
        };
        let remote = remote.map_err(output::data)?;
        let folder = asked.out.clone().unwrap_or_else(|| selfie_data::default_folder(set));
        let mut shown = Shown::new(asked.quiet);
        if !asked.quiet {
            output::note(&format!("{} to {}", remote.url(), folder.display()));
        }
        let fetched = fetch(&remote, &folder, |event| shown.show(event)).map_err(output::data)?;
        shown.finish();
        output::print(&if asked.json { serde_json::to_string_pretty(&fetched)? } else { sentence(&fetched) })?;
        Ok(0)
    }

    fn sentence(fetched: &Fetched) -> String {
        let Fetched { path, n_bytes, checksum, was_there } = fetched;
        let was = if *was_there { "was there already" } else { "fetched" };
        format!("{}: {was}, {n_bytes} bytes, {checksum} as expected", path.display())
    }

    #[cfg(not(feature = "hub"))]
    fn from_hub(_: &DataFetch, _: SetName) -> anyhow::Result<u8> {
        Err(output::data(selfie_data::DataError::MissingFeature { feature: "hub" }))
    }

    #[cfg(feature = "hub")]
    fn from_hub(asked: &DataFetch, set: SetName) -> anyhow::Result<u8> {
        let mut shown = Shown::new(asked.quiet);
        let folder = selfie_data::hub::fetch(set, move |event| shown.show(event)).map_err(output::data)?;
        let next =
            format!("selfie data import hub: --data-set {set} --out {}", selfie_data::default_folder(set).display());
        let text = format!(
            "{set} is in the hub's cache: {}\ntrain from it with --data hub:, or make the prepared form:\n  {next}",
            folder.display()
        );
        output::print(&if asked.json { serde_json::json!({ "path": folder }).to_string() } else { text })?;
        Ok(0)
    }

    /// A bar on a terminal, a line now and then elsewhere.
    struct Shown {
        quiet: bool,
        bar: Option<ProgressBar>,
        start: Instant,
        /// What was there when this process began.
        n_before: Option<u64>,
        last_line: Instant,
    }

    impl Shown {
        fn new(quiet: bool) -> Self {
            let bar = (!quiet && std::io::stderr().is_terminal()).then(ProgressBar::no_length);
            let template = "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} ETA {eta}";
            if let (Some(bar), Ok(style)) = (&bar, ProgressStyle::with_template(template)) {
                bar.set_style(style);
            }
            let now = Instant::now();
            Self { quiet, bar, start: now, n_before: None, last_line: now }
        }

        fn show(&mut self, event: FetchEvent) {
            match event {
                FetchEvent::Progress { n_done, n_total } => self.progress(n_done, n_total),
                FetchEvent::Retry { reason, pause } => {
                    self.say(&format!("{reason}; again in {:.0} s", pause.as_secs_f64()));
                }
            }
        }

        fn progress(&mut self, n_done: u64, n_total: Option<u64>) {
            let n_before = *self.n_before.get_or_insert(n_done);
            if let Some(bar) = &self.bar {
                if let Some(n_total) = n_total {
                    bar.set_length(n_total);
                }
                if n_before == n_done {
                    // What was there already says nothing about the speed.
                    bar.reset_eta();
                }
                bar.set_position(n_done);
            } else if self.last_line.elapsed() >= INTERVAL {
                self.last_line = Instant::now();
                let per_s = n_done.saturating_sub(n_before) as f64 / self.start.elapsed().as_secs_f64();
                let rest = n_total.map_or_else(String::new, |n_total| {
                    let left = n_total.saturating_sub(n_done) as f64 / per_s.max(1.0);
                    format!(" of {}, {} left", HumanBytes(n_total), HumanDuration(Duration::from_secs_f64(left)))
                });
                self.say(&format!("{}{rest}, {}/s", HumanBytes(n_done), HumanBytes(per_s as u64)));
            }
        }

        fn say(&self, text: &str) {
            match &self.bar {
                _ if self.quiet => {}
                Some(bar) => bar.suspend(|| output::note(text)),
                None => output::note(text),
            }
        }

        fn finish(&self) {
            if let Some(bar) = &self.bar {
                bar.finish_and_clear();
            }
        }
    }
}

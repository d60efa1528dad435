//! `selfie watch`

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::output::Usage;
use state::State;

mod state;
mod view;

#[cfg(test)]
mod tests;

/// Time between two looks at the run folder.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// A run folder, finished or not, or a study's folder: then the run of it that was written to last
    pub(crate) run: PathBuf,
}

pub(crate) fn run(arguments: &Watch) -> anyhow::Result<u8> {
    if !io::stdout().is_terminal() {
        return Err(
            Usage("watch: expected a terminal as stdout, got none; `selfie report` makes a page".to_owned()).into()
        );
    }
    // Before the screen is taken: an error must be readable.
    let mut state = State::open(&arguments.run)?;
    let mut terminal = ratatui::try_init()?;
    let watched = (|| -> anyhow::Result<()> {
        loop {
            terminal.draw(|frame| view::draw(frame, &state))?;
            if event::poll(LOOK)? && quits(&event::read()?) {
                return Ok(());
            }
            state.refresh()?;
        }
    })();
    ratatui::try_restore()?;
    watched.map(|()| 0)
}

/// `q`, Escape and Ctrl-C.
fn quits(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

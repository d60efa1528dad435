//! Signals that end a run after a saved checkpoint.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

#[cfg(test)]
mod tests;

/// Time between two looks for a signal to answer.
const LOOK: Duration = Duration::from_millis(50);

/// A signal that asks the run to save and stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// Ctrl-C.
    Interrupt,
    /// A polite kill, or a shutdown.
    Terminate,
    /// A scheduler that is about to take the machine away: the run wants to be started again.
    User1,
    /// The terminal is gone.
    Hangup,
}

impl StopSignal {
    const ALL: [Self; 4] = [Self::Interrupt, Self::Terminate, Self::User1, Self::Hangup];

    /// The signal's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::User1 => "SIGUSR1",
            Self::Hangup => "SIGHUP",
        }
    }

    /// The exit code after the checkpoint is saved.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::User1 => 75,
            Self::Hangup => 129,
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::Interrupt => SIGINT,
            Self::Terminate => SIGTERM,
            Self::User1 => SIGUSR1,
            Self::Hangup => SIGHUP,
        }
    }
}

/// The installed handlers. They stay for the life of the process.
#[derive(Clone, Debug)]
pub struct Signals {
    /// The number of the last signal; 0 before the first.
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Installs the handlers. A second SIGINT ends the process at once. SIGHUP stays ignored where it is (`nohup`).
    ///
    /// # Errors
    ///
    /// If the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let interrupted = Arc::new(AtomicBool::new(false));
        // In this order: the first SIGINT finds the flag unset and sets it, the second finds it set.
        let code = i32::from(StopSignal::Interrupt.exit_code());
        flag::register_conditional_shutdown(SIGINT, code, Arc::clone(&interrupted))?;
        flag::register(SIGINT, interrupted)?;
        for signal in StopSignal::ALL {
            if signal == StopSignal::Hangup && ignores_hangup() {
                continue;
            }
            flag::register_usize(signal.number(), Arc::clone(&received), signal.number() as usize)?;
        }
        let signals = Self { received };
        answer(signals.clone())?;
        Ok(signals)
    }

    /// As if the signal had been received: for what asks this process to stop without being able to signal it.
    pub fn request(&self, signal: StopSignal) {
        self.received.store(signal.number() as usize, Ordering::Relaxed);
    }

    /// The last signal received, if any. Cheap: the loops ask after every step.
    #[must_use]
    pub fn received(&self) -> Option<StopSignal> {
        let number = self.received.load(Ordering::Relaxed);
        StopSignal::ALL.into_iter().find(|signal| signal.number() as usize == number)
    }
}

/// Says on stderr that a signal was heard: a step may take minutes. It looks now and then, because what wakes a thread from
/// a handler takes a socket.
fn answer(signals: Signals) -> io::Result<()> {
    let say = move || {
        let signal = loop {
            match signals.received() {
                Some(signal) => break signal,
                None => std::thread::sleep(LOOK),
            }
        };
        let again = match signal {
            StopSignal::Interrupt => "; a second SIGINT leaves at once, and loses the steps since the last checkpoint",
            _ => "",
        };
        let _ = writeln!(io::stderr(), "\n{}: ending after this step, with a checkpoint{again}", signal.name());
    };
    std::thread::Builder::new().name("selfie-signals".to_owned()).spawn(say).map(drop)
}

/// Whether this process was started with SIGHUP ignored. Known on Linux only.
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored_mask(&status) & (1 << (SIGHUP - 1)) != 0)
}

fn ignored_mask(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
